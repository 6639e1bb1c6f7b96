"""Whether all is well with this host, and if not, why: the answer of `visorctl host health`."""

from enum import StrEnum

from pydantic import BaseModel, ConfigDict


class Condition(StrEnum):
    """How a part, or the whole, is. `degraded` works, but not as it should."""

    OK = "ok"
    DEGRADED = "degraded"
    FAILED = "failed"


class Part(BaseModel):
    """One part of visord with its reason, which is empty while it is well."""

    model_config = ConfigDict(frozen=True)

    name: str
    condition: Condition
    reason: str = ""


class Health(BaseModel):
    """The worst condition of all parts, and the parts."""

    model_config = ConfigDict(frozen=True)

    condition: Condition
    version: str
    pid: int
    uptime_s: float
    store_revision: int
    parts: tuple[Part, ...]


def worst(parts: tuple[Part, ...]) -> Condition:
    """Return the worst condition among the parts, `ok` when there are none."""
    order = list(Condition)
    return max((part.condition for part in parts), key=order.index, default=Condition.OK)
