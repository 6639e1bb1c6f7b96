"""Places inside a setting's value: `ptp_config.port[0].device`.

A value is what JSON can hold: mappings with text keys, lists, text, numbers, booleans, null.
A place is written with dots and indices; a key that is no plain word stands in `["…"]`.
"""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from typing import Any, NamedTuple

from chronovisor.config.keys import KeyPath
from chronovisor.config.words import shown
from chronovisor.errors import InvalidInput, Problem

Place = tuple[str | int, ...]
"""Mapping keys (text) and list indices (int) from the value's root; `()` is the root."""

DEPTH_MAX = 32
"""Deepest nesting a value may have; no setting comes near, and recursion stays safe."""

_WORD = re.compile(r"[A-Za-z_][A-Za-z0-9_-]*\Z")
_STEP = re.compile(r"""\.?([A-Za-z_][A-Za-z0-9_-]*)|\[(\d{1,6})\]|\[("(?:[^"\\]|\\.)*")\]""")
# What fits in 64 bits, signed or not: every JSON reader and every kernel interface takes it.
_INT_MIN, _INT_MAX = -(2**63), 2**64 - 1


class Difference(NamedTuple):
    """One field that differs between two values; `None` stands for "not there"."""

    path: KeyPath
    field: str
    old: Any
    new: Any


def place_text(place: Sequence[str | int]) -> str:
    """Return a place as text, `ptp_config.port[0].device`; the root is empty."""
    text = ""
    for step in place:
        if isinstance(step, int):
            text += f"[{step}]"
        elif _WORD.match(step):
            text += f".{step}" if text else step
        else:
            text += f"[{json.dumps(step)}]"
    return text


def parse_place(text: str) -> Place:
    """Return the place that `place_text` wrote; raises `InvalidInput` for anything else."""
    steps: list[str | int] = []
    at = 0
    while at < len(text):
        match = _STEP.match(text, at)
        leading_dot = text[at] == "."
        if not match or (leading_dot == (at == 0) and match[1]):
            raise InvalidInput(
                f"{shown(text)} is not the name of a field",
                [Problem(text, f"cannot be read from character {at + 1}", text)],
                hint="write names with dots and indices, as in ptp_config.port[0].device",
            )
        word, index, quoted = match.groups()
        steps.append(word or (int(index) if index else json.loads(quoted)))
        at = match.end()
    return tuple(steps)


def leaves(value: object, place: Place = ()) -> Iterator[tuple[Place, Any]]:
    """Yield every leaf with its place, in order; an empty mapping or list is a leaf."""
    if isinstance(value, Mapping) and value:
        for key, inner in value.items():
            yield from leaves(inner, (*place, key))
    elif isinstance(value, list | tuple) and value:
        for index, inner in enumerate(value):
            yield from leaves(inner, (*place, index))
    else:
        yield place, value


def lookup(value: Any, place: Place) -> Any:
    """Return what stands at `place`; raises `LookupError` when there is nothing."""
    for step in place:
        value = _part(value, step)
    return value


def _part(value: Any, step: str | int) -> Any:
    container = list | tuple if isinstance(step, int) else Mapping
    if isinstance(value, container):
        whole: Any = value
        return whole[step]
    raise LookupError(step)


def assign(value: dict[str, Any], place: Place, leaf: Any) -> None:
    """Put `leaf` at `place` in place; missing mappings on the way are made, list items are not.

    Raises `LookupError` when the way leads through a list item that is not there or a leaf.
    """
    here: Any = value
    for step, following in pairwise(place):
        if isinstance(step, str) and isinstance(here, dict) and isinstance(following, str):
            here = here.setdefault(step, {})
        else:
            here = lookup(here, (step,))
    last = place[-1]
    if isinstance(last, int):
        lookup(here, (last,))
    elif not isinstance(here, dict):
        raise LookupError(place_text(place))
    here[last] = leaf


def same(one: object, other: object) -> bool:
    """Say whether two values are the same JSON; unlike `==`, `1`, `1.0` and `true` differ."""
    return _canonical(one) == _canonical(other)


def differences(
    path: KeyPath, old: Mapping[str, Any] | None, new: Mapping[str, Any] | None
) -> list[Difference]:
    """Return every leaf that differs between two values of one key, in the order of the text."""
    before, after = ({} if v is None else dict(leaves(v)) for v in (old, new))
    # An empty mapping is its own leaf at the root: it matters only when the other is absent.
    places = sorted({*before, *after}, key=place_text)
    return [
        Difference(path, place_text(place), before.get(place), after.get(place))
        for place in places
        if (place in before) != (place in after) or not same(before[place], after[place])
    ]


def unstorable(value: object, place: Place = ()) -> Iterator[Problem]:
    """Yield what keeps `value` from being stored as JSON: types, non-finite numbers, depth."""
    where = place_text(place)
    if len(place) > DEPTH_MAX:
        yield Problem(where, f"is nested deeper than {DEPTH_MAX} levels")
    elif isinstance(value, Mapping):
        for key, inner in value.items():
            if not isinstance(key, str):
                yield Problem(where, f"the name {shown(key)} is not text", shown(key), "text")
            elif fault := _text_fault(key):
                yield Problem(where, f"a name {fault}", ascii(key)[:80], "Unicode text")
            else:
                yield from unstorable(inner, (*place, key))
    elif isinstance(value, list | tuple):
        for index, inner in enumerate(value):
            yield from unstorable(inner, (*place, index))
    elif message := _leaf_fault(value):
        yield Problem(where, message, ascii(value)[:80])


def _leaf_fault(value: object) -> str | None:
    if value is None or isinstance(value, bool):
        return None
    if isinstance(value, str):
        return _text_fault(value)
    if isinstance(value, int):
        return None if _INT_MIN <= value <= _INT_MAX else "is a number of more than 64 bits"
    if isinstance(value, float):
        return None if abs(value) < float("inf") else f"{value} is not a finite number"
    return f"is a {type(value).__name__}, which a setting cannot hold; put text in quotes"


def _text_fault(text: str) -> str | None:
    try:
        text.encode()
    except UnicodeEncodeError:
        return "has a character that is not Unicode text"
    return None


def _canonical(value: object) -> str:
    return json.dumps(value, sort_keys=True, separators=(",", ":"))
