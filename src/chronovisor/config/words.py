"""How values and types are named to an operator: in words, never in pydantic's terms."""

import types
from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from difflib import get_close_matches
from enum import Enum
from ipaddress import (
    IPv4Address,
    IPv4Interface,
    IPv4Network,
    IPv6Address,
    IPv6Interface,
    IPv6Network,
)
from pathlib import Path
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel

_SHOWN_LENGTH_MAX = 60
_LISTED_NAMES_MAX = 12

_NOUNS: dict[Any, str] = {
    bool: "true or false",
    int: "a whole number",
    float: "a number",
    str: "text",
    type(None): "null",
    IPv4Address: "an IPv4 address",
    IPv6Address: "an IPv6 address",
    IPv4Interface: "an IPv4 address with prefix length",
    IPv6Interface: "an IPv6 address with prefix length",
    IPv4Network: "an IPv4 network",
    IPv6Network: "an IPv6 network",
    Path: "a file path",
}


def shown(value: object) -> str:
    """Return `value` as it may stand in a sentence: short, text in quotes, no line breaks."""
    if isinstance(value, Mapping):
        return "a mapping"
    if isinstance(value, list | tuple | set | frozenset):
        return "a list"
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    text = repr(value) if isinstance(value, str) else str(value)
    return text if len(text) <= _SHOWN_LENGTH_MAX else f"{text[: _SHOWN_LENGTH_MAX - 1]}…"


def nearest(name: object, known: Iterable[str]) -> str | None:
    """Return the one of `known` that `name` was probably meant to be, if any is close."""
    by_folded = {str(k).lower(): str(k) for k in known}
    found = get_close_matches(str(name).lower()[:200], list(by_folded), n=1, cutoff=0.6)
    return by_folded[found[0]] if found else None


def listed(names: Iterable[str]) -> str:
    """Return `names` with commas; a long list is cut and says how many more there are."""
    every = list(names)
    more = len(every) - _LISTED_NAMES_MAX
    return ", ".join(every[:_LISTED_NAMES_MAX]) + (f" and {more} more" if more > 0 else "")


def either(phrases: Iterable[str]) -> str:
    """Return `a, b or c`, each phrase once."""
    every = list(dict.fromkeys(phrases))
    return " or ".join(filter(None, (", ".join(every[:-1]), every[-1]))) if every else ""


def unwrapped(annotation: Any, metadata: Sequence[Any] = ()) -> tuple[Any, tuple[Any, ...]]:
    """Return the plain type inside `Annotated` and `type` aliases, and all metadata on the way."""
    collected = tuple(metadata)
    while True:
        if get_origin(annotation) is Annotated:
            annotation, *more = get_args(annotation)
            collected = (*collected, *more)
        elif type(annotation).__name__ == "TypeAliasType":  # Python 3.12's or typing_extensions'
            annotation = annotation.__value__
        else:
            return annotation, collected


def arms(annotation: Any) -> tuple[Any, ...]:
    """Return the alternatives of a union, nested unions flattened; `(annotation,)` for others."""
    plain, _ = unwrapped(annotation)
    if get_origin(plain) not in (Union, types.UnionType):
        return (annotation,)
    return tuple(inner for arm in get_args(plain) for inner in arms(arm))


def choices(annotation: Any) -> tuple[str, ...]:
    """Return the values of an enum or `Literal` as text; empty for any other type."""
    if isinstance(annotation, type) and issubclass(annotation, Enum):
        return tuple(str(member.value) for member in annotation)
    if get_origin(annotation) is Literal:
        return tuple(str(v.value if isinstance(v, Enum) else v) for v in get_args(annotation))
    return ()


def noun(annotation: Any) -> str:
    """Return the kind of thing a type is, with its article: `a whole number`, `a list`."""
    plain, _ = unwrapped(annotation)
    several = arms(plain)
    if len(several) > 1:
        return either(noun(arm) for arm in several)
    if values := choices(plain):
        return f"one of {listed(values)}" if len(values) > 1 else values[0]
    origin = get_origin(plain) or plain
    if isinstance(origin, type):
        if issubclass(origin, BaseModel | Mapping):
            return "a mapping"
        if issubclass(origin, Sequence | Set) and not issubclass(origin, str | bytes):
            return "a list"
    return _NOUNS.get(plain, "a valid value")


def valid(annotation: Any, metadata: Sequence[Any] = ()) -> str:
    """Return what a value of this type may be, with range, length, pattern and choices.

    >>> valid(Annotated[int, Field(ge=0, le=63)])
    'a whole number from 0 to 63'
    """
    plain, meta = unwrapped(annotation, metadata)
    several = arms(plain)
    if len(several) > 1:
        return either(valid(arm) for arm in several)
    origin = get_origin(plain) or plain
    if isinstance(origin, type) and issubclass(origin, BaseModel):
        return f"a mapping with the fields {listed(origin.model_fields)}"
    return " ".join((noun(plain), *_limits(plain, meta)))


def _limits(plain: Any, metadata: Sequence[Any]) -> Iterator[str]:
    limits = dict(_constraints(metadata))
    low, high = limits.get("ge", limits.get("gt")), limits.get("le", limits.get("lt"))
    if low is not None and high is not None and "gt" not in limits and "lt" not in limits:
        yield f"from {low} to {high}"
    else:
        if low is not None:
            yield f"of at least {low}" if "ge" in limits else f"above {low}"
        if high is not None:
            yield f"of at most {high}" if "le" in limits else f"below {high}"
    if "multiple_of" in limits:
        yield f"in steps of {limits['multiple_of']}"
    unit = "characters" if plain is str else "items"
    if limits.get("min_length"):
        yield f"of at least {limits['min_length']} {unit}"
    if limits.get("max_length") is not None:
        yield f"of at most {limits['max_length']} {unit}"
    if limits.get("pattern") is not None:
        yield f"matching {getattr(limits['pattern'], 'pattern', limits['pattern'])}"


def _constraints(metadata: Sequence[Any]) -> Iterator[tuple[str, Any]]:
    names = ("ge", "gt", "le", "lt", "multiple_of", "min_length", "max_length", "pattern")
    for item in metadata:
        # `Field(...)` keeps its constraints in a list of its own, annotated_types as attributes.
        nested = getattr(item, "metadata", None)
        if isinstance(nested, list):
            yield from _constraints(nested)
            continue
        for name in names:
            value = getattr(item, name, None)
            if value is not None:
                yield name, value
