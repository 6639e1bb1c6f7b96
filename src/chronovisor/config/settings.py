"""What every model of settings and of shipped data has in common."""

from pydantic import BaseModel, ConfigDict


class Settings(BaseModel):
    """A model of settings: frozen, and every name that it does not know is refused.

    A field is described by the docstring below it, or by its `Field(description=...)`.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)
