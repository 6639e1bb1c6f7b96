"""Secrets in settings: stored as they are, masked wherever they are shown.

A model marks a field `token: Secret`. Whatever leaves the store for a person goes through `mask`.
Writing the mask back keeps the secret that is stored in the same place, so that reading a
setting, changing another field and writing it again works. Where nothing is stored in that place
the mask is refused: eight asterisks must never become a password by accident.

Inside a list an item has no name to go by. The stored item that is equal in all but its secrets is
its counterpart; when none or several different ones are, the mask is refused and the secret has
to be given again. So reordering a list can never hand one peer's secret to another.
"""

import copy
from collections.abc import Callable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from typing import Annotated, Any, get_args, get_origin

from pydantic import BaseModel, GetJsonSchemaHandler
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema

from chronovisor.config.fields import Place, place_text, same
from chronovisor.config.words import arms, unwrapped
from chronovisor.errors import Problem

MASK = "********"
"""What stands for a secret; never a secret itself."""


@dataclass(frozen=True, slots=True)
class SecretMarker:
    """Says that a text field holds a secret; use `Secret`."""

    def __get_pydantic_json_schema__(
        self, schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> JsonSchemaValue:
        """Mark the field in the JSON Schema as one that is written and not read back."""
        return {**handler(schema), "format": "password", "writeOnly": True}


Secret = Annotated[str, SecretMarker()]
"""Text that is masked wherever it is shown."""

_Visit = Callable[[Place, Any], Any]


def mask(model: type[BaseModel], value: Any) -> Any:
    """Return a copy of `value` with every secret that is not empty replaced by `MASK`."""
    return _secrets_replaced(model, value, lambda _, secret: MASK if secret else secret)


def secret_places(model: type[BaseModel], value: Any) -> list[Place]:
    """Return the places in `value` that hold a secret."""
    found: list[Place] = []

    def note(place: Place, secret: Any) -> Any:
        found.append(place)
        return secret

    _secrets_replaced(model, value, note)
    return found


def unmask(model: type[BaseModel], value: Any, stored: Any) -> Any:
    """Return a copy of `value` in which each `MASK` is the secret `stored` has in that place.

    A mask without a counterpart stays; `mask_problems` then refuses it.
    """

    def restore(place: Place, secret: Any) -> Any:
        if secret != MASK:
            return secret
        counterpart = _counterpart(model, value, stored, place)
        return secret if counterpart is None else counterpart

    return _secrets_replaced(model, value, restore)


def mask_problems(model: type[BaseModel], value: Any) -> Iterator[Problem]:
    """Yield a problem for each mask that stands where a secret belongs."""
    found: list[Place] = []
    _secrets_replaced(model, value, lambda p, s: found.append(p) if s == MASK else None)
    for place in found:
        yield Problem(
            place_text(place),
            "the mask stands for a secret, but none is stored in this place",
            MASK,
            "the secret itself",
        )


def _counterpart(model: type[BaseModel], value: Any, stored: Any, place: Place) -> str | None:
    here, there = mask(model, value), mask(model, stored)
    for step in place:
        step_there: str | int | None = None
        if isinstance(step, int):
            step_there = _twin(here[step], there, stored)
        elif isinstance(there, Mapping) and step in there:
            step_there = step
        if step_there is None:
            return None
        here, there, stored = here[step], there[step_there], stored[step_there]
    return stored if isinstance(stored, str) else None


def _twin(item: Any, masked_items: Any, items: Any) -> int | None:
    if not isinstance(masked_items, list | tuple):
        return None
    twins = [index for index, other in enumerate(masked_items) if same(item, other)]
    if twins and all(same(items[index], items[twins[0]]) for index in twins):
        return twins[0]
    return None


def _secrets_replaced(model: type[BaseModel], value: Any, visit: _Visit) -> Any:
    return _walk(model, (), copy.deepcopy(value), (), visit)


def _walk(annotation: Any, metadata: Sequence[Any], value: Any, place: Place, visit: _Visit) -> Any:
    """Return `value` with what `visit` makes of each secret; containers change in place."""
    plain, collected = unwrapped(annotation, metadata)
    if any(isinstance(item, SecretMarker) for item in collected):
        return visit(place, value) if isinstance(value, str) else value
    alternatives = arms(plain)
    if len(alternatives) > 1:
        # All arms are walked: where they disagree, masking once too often is the safe side.
        for arm in alternatives:
            value = _walk(arm, (), value, place, visit)
        return value
    origin = get_origin(plain) or plain
    if not isinstance(origin, type):
        return value
    if issubclass(origin, BaseModel) and isinstance(value, dict):
        for name, field in origin.model_fields.items():
            if name in value:
                inner = (*place, name)
                value[name] = _walk(field.annotation, field.metadata, value[name], inner, visit)
    elif issubclass(origin, Mapping) and isinstance(value, dict):
        item_type = (get_args(plain) or (Any, Any))[1]
        for key in value:
            value[key] = _walk(item_type, (), value[key], (*place, key), visit)
    elif issubclass(origin, Sequence | AbstractSet) and isinstance(value, list | tuple):
        return _walk_items(get_args(plain), value, place, visit)
    return value


def _walk_items(
    item_types: tuple[Any, ...], items: Sequence[Any], place: Place, visit: _Visit
) -> list[Any]:
    fixed = len(item_types) > 1 and item_types[-1] is not Ellipsis  # tuple[int, Secret]
    return [
        _walk(_item_type(item_types, index if fixed else 0), (), item, (*place, index), visit)
        for index, item in enumerate(items)
    ]


def _item_type(item_types: tuple[Any, ...], index: int) -> Any:
    return item_types[index] if index < len(item_types) else Any
