"""Pydantic's errors as problems that an operator can read and mend.

Pydantic reports where it was in its own schema; this module follows the model's annotations along
that location, so that each problem names a field of the value, what stood there and what would
be valid. The alternatives of a union become one problem.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any, Literal, get_args, get_origin

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from chronovisor.config.fields import Place, lookup, place_text
from chronovisor.config.secret import mask
from chronovisor.config.words import (
    arms,
    choices,
    either,
    listed,
    nearest,
    noun,
    shown,
    unwrapped,
    valid,
)
from chronovisor.errors import Problem

_VALUE_LENGTH_MAX = 120

_SMALL = ("greater_than", "greater_than_equal")
_LARGE = ("less_than", "less_than_equal")
_LENGTH = {
    "string_too_short": "is too short",
    "string_too_long": "is too long",
    "too_short": "has too few items",
    "too_long": "has too many items",
}
_OWN_WORDS = ("value_error", "assertion_error")
_KIND_SUFFIXES = ("_type", "_parsing", "_from_float")
_NOT_THE_KIND = ("ip_v", "int_", "bool_", "float_", "model_", "is_instance")


@dataclass(frozen=True, slots=True)
class _Spot:
    """Where one error is: the place in the value and the type expected there."""

    place: Place
    annotation: Any
    metadata: tuple[Any, ...] = ()
    owner: type[BaseModel] | None = None
    rest: tuple[str | int, ...] = ()

    @property
    def union(self) -> bool:
        """Whether several alternatives were tried here; `rest` begins with which one."""
        return bool(self.rest) and len(_alternatives(self.annotation)) > 1


def problems_of(
    error: ValidationError, model: type[BaseModel], value: object
) -> tuple[Problem, ...]:
    """Return every error of a validation of `value` as a problem, union branches merged."""
    masked = mask(model, value)
    located = [(_locate(model, e["loc"], e["type"]), e) for e in error.errors(include_url=False)]
    found: list[Problem] = []
    for (place, union), group in groupby(located, key=lambda one: (one[0].place, one[0].union)):
        members = list(group)
        if union:
            found.append(_union_problem(place, members, masked))
        else:
            found += [_problem(spot, details, masked) for spot, details in members]
    return tuple(found)


def _locate(model: type[BaseModel], loc: Sequence[str | int], kind: str) -> _Spot:
    """Follow pydantic's location through the annotations as far as it names parts of a value."""
    spot = _Spot((), model)
    for at, step in enumerate(loc):
        rest = tuple(loc[at:])
        alternatives = _alternatives(spot.annotation)
        if len(alternatives) > 1:
            chosen = _tagged(spot, alternatives, step)
            if chosen is None:
                return _Spot(spot.place, spot.annotation, spot.metadata, spot.owner, rest)
            spot = _Spot(spot.place, chosen)
            continue
        following = _step(spot, alternatives[0], step, kind)
        if following is None:
            return _Spot(spot.place, spot.annotation, spot.metadata, spot.owner, rest)
        spot = following
    return spot


def _step(spot: _Spot, annotation: Any, step: str | int, kind: str) -> _Spot | None:
    plain, _ = unwrapped(annotation)
    origin, inner = get_origin(plain) or plain, get_args(plain)
    place = (*spot.place, step)
    if not isinstance(origin, type):
        return None
    if issubclass(origin, BaseModel):
        field = origin.model_fields.get(str(step))
        if field is None:
            return _Spot(place, None, (), origin) if kind == "extra_forbidden" else None
        discriminator = (_Discriminator(field.discriminator),) if field.discriminator else ()
        return _Spot(place, field.annotation, (*field.metadata, *discriminator), origin)
    if issubclass(origin, Mapping):
        if step == "[key]":
            return None
        return _Spot(place, inner[1] if len(inner) > 1 else Any)
    if isinstance(step, int):
        fixed = len(inner) > 1 and inner[-1] is not Ellipsis
        return _Spot(place, inner[step if fixed and step < len(inner) else 0] if inner else Any)
    return None


@dataclass(frozen=True, slots=True)
class _Discriminator:
    discriminator: Any


def _tagged(spot: _Spot, alternatives: tuple[Any, ...], tag: str | int) -> Any | None:
    """Return the alternative that a discriminated union chose by `tag`, if it is one."""
    _, metadata = unwrapped(spot.annotation, spot.metadata)
    names = [getattr(item, "discriminator", None) for item in metadata]
    name = next((n for n in names if isinstance(n, str)), None)
    for arm in alternatives:
        plain, _ = unwrapped(arm)
        if name and isinstance(plain, type) and issubclass(plain, BaseModel):
            literal = plain.model_fields[name].annotation
            if get_origin(literal) is Literal and str(tag) in choices(literal):
                return arm
    return None


def _alternatives(annotation: Any) -> tuple[Any, ...]:
    """Return the arms of a union but null, which pydantic does not count as a branch."""
    every = arms(annotation)
    real = tuple(arm for arm in every if arm is not type(None))
    return real or every


def _union_problem(
    place: Place, members: Sequence[tuple[_Spot, ErrorDetails]], value: object
) -> Problem:
    spot = members[0][0]
    here = _at(value, place)
    text = f"{shown(here)} does not fit here"
    if isinstance(here, Mapping) and (closest := _closest(members)):
        text = f"fits none of the possible forms; closest is {closest}"
    elif guess := _guess(here, [c for arm in arms(spot.annotation) for c in _choices_of(arm)]):
        text = f"{shown(here)} is not known here; did you mean {guess}?"
    allowed = either(valid(arm) for arm in arms(spot.annotation))
    return Problem(place_text(place), text, _value_text(here), allowed)


def _closest(members: Sequence[tuple[_Spot, ErrorDetails]]) -> str:
    """Say what is wrong with the branch that a mapping comes nearest to."""
    branches: dict[str | int, list[tuple[str | int, ...]]] = {}
    for spot, details in members:
        inside = spot.rest[1:]
        if inside or not details["type"].endswith("_type"):
            branches.setdefault(spot.rest[0], []).append(inside)
    if not branches:
        return ""
    name, places = min(branches.items(), key=lambda item: len(item[1]))
    where = listed(dict.fromkeys(place_text(p) for p in places if p))
    return f"{name} but for {where}" if where else str(name)


def _problem(spot: _Spot, details: ErrorDetails, value: object) -> Problem:
    kind, where = details["type"], place_text(spot.place)
    here = _at(value, spot.place)
    annotation, metadata = spot.annotation, spot.metadata
    if kind == "missing":
        return Problem(where, "is missing", "", valid(annotation, metadata))
    if kind == "extra_forbidden" and spot.owner:
        return _unknown_field(spot.owner, spot.place, where, here)
    if kind in _OWN_WORDS:
        own = str(details.get("ctx", {}).get("error", details["msg"]))
        return Problem(where, own, _value_text(here))
    text = _message(kind, details, here, annotation)
    return Problem(where, text, _value_text(here), valid(annotation, metadata))


def _unknown_field(owner: type[BaseModel], place: Place, where: str, here: object) -> Problem:
    guess = nearest(place[-1], owner.model_fields)
    text = "unknown field" + (f"; did you mean {guess}?" if guess else "")
    return Problem(where, text, _value_text(here), listed(owner.model_fields))


def _message(kind: str, details: ErrorDetails, here: object, annotation: Any) -> str:
    if kind in _SMALL or kind in _LARGE:
        return f"{shown(here)} is too {'small' if kind in _SMALL else 'large'}"
    if kind in _LENGTH:
        size = len(here) if isinstance(here, str | list | tuple | Mapping) else 0
        return f"{_LENGTH[kind]} ({size})"
    if kind == "string_pattern_mismatch":
        return f"{shown(here)} has a form that is not allowed"
    if kind in ("enum", "literal_error"):
        guess = _guess(here, _choices_of(annotation))
        return f"{shown(here)} is not known here" + (f"; did you mean {guess}?" if guess else "")
    if kind.endswith(_KIND_SUFFIXES) or kind.startswith(_NOT_THE_KIND):
        return f"{shown(here)} is not {either(noun(arm) for arm in _alternatives(annotation))}"
    return _plain_words(details["msg"])


def _plain_words(message: str) -> str:
    """Return a message of pydantic's that has no words of ours yet, without its jargon."""
    for jargon, words in (("Input should be", "must be"), ("Value error, ", "")):
        message = message.replace(jargon, words)
    return message[:1].lower() + message[1:]


def _choices_of(annotation: Any) -> tuple[str, ...]:
    plain, _ = unwrapped(annotation)
    return choices(plain)


def _guess(here: object, known: Sequence[str]) -> str | None:
    return nearest(here, known) if isinstance(here, str) else None


def _at(value: object, place: Place) -> Any:
    try:
        return lookup(value, place)
    except LookupError:
        return None


def _value_text(value: object) -> str:
    text = value if isinstance(value, str) else json.dumps(value, default=str)
    return text if len(text) <= _VALUE_LENGTH_MAX else f"{text[: _VALUE_LENGTH_MAX - 1]}…"


def without(value: Any, places: Sequence[Place]) -> Any | None:
    """Return a copy of `value` without the fields at `places`; `None` when one cannot go.

    Only what a mapping names can go: taking out a list item would move those behind it.
    """
    if any(not place or isinstance(place[-1], int) for place in places):
        return None
    doomed = set(places)

    def copied(part: Any, place: Place) -> Any:
        if isinstance(part, Mapping):
            kept = ((k, v) for k, v in part.items() if (*place, k) not in doomed)
            return {key: copied(inner, (*place, key)) for key, inner in kept}
        if isinstance(part, list | tuple):
            return [copied(inner, (*place, index)) for index, inner in enumerate(part)]
        return part

    return copied(value, ())


def unrelated(problems: Sequence[Problem], to: Sequence[Problem]) -> Iterator[Problem]:
    """Yield those of `problems` that are neither above nor below a place named in `to`."""
    for problem in problems:
        near = (_contains(problem.where, t.where) or _contains(t.where, problem.where) for t in to)
        if not any(near):
            yield problem


def _contains(outer: str, inner: str) -> bool:
    return not outer or inner == outer or inner.startswith((f"{outer}.", f"{outer}["))
