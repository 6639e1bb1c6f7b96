"""What is in force for a key, field by field, and where each value comes from. Pure.

Defaults lie at the bottom, presets that a setting names above them, then what the store holds, and
files (overlays) on top in the order given.
"""

import copy
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from chronovisor.config.fields import Place, assign, leaves, parse_place, place_text
from chronovisor.config.keys import KeyPath
from chronovisor.config.records import Value
from chronovisor.config.registry import Registry
from chronovisor.errors import InvalidInput, Problem

DEFAULT = "default"
STORE = "store"


@dataclass(frozen=True, slots=True)
class Overlay:
    """Values from a file: `values` maps a field (`ptp_config.domain`) to its value and line."""

    name: str
    values: Mapping[str, tuple[Any, int]]


@dataclass(frozen=True, slots=True)
class Preset:
    """Values by field that hold where nobody gives one; `origin` is what they are shown with."""

    origin: str
    values: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Origin:
    """One field in force.

    `origin` is `default`, `store`, `file:<name>:<line>` or that of a preset.
    """

    field: str
    value: Any
    origin: str


def merge(
    registry: Registry,
    path: KeyPath | str,
    stored: Mapping[str, Any] | None,
    overlays: Sequence[Overlay] = (),
    presets: Sequence[Preset] = (),
) -> Value:
    """Return the whole value in force, defaults included, as JSON.

    Raises `InvalidInput` when what the files make of it is not valid; each problem names the file
    and line it comes from, if it comes from one.
    """
    given, origins = _given(stored, overlays, presets)
    try:
        return registry.validate(path, given).model_dump(mode="json")
    except InvalidInput as error:
        problems = [_blamed(problem, origins) for problem in error.problems]
        text = "; ".join(str(problem) for problem in problems[:3])
        raise InvalidInput(f"{path}: {text}", problems, hint=error.hint) from error


def effective(
    registry: Registry,
    path: KeyPath | str,
    stored: Mapping[str, Any] | None,
    overlays: Sequence[Overlay] = (),
    presets: Sequence[Preset] = (),
) -> list[Origin]:
    """Return every leaf field with its value and origin, in the order of the model.

    An empty mapping or list is a leaf. Secrets are as they are. Raises what `merge` raises.
    """
    in_force = merge(registry, path, stored, overlays, presets)
    _, origins = _given(stored, overlays, presets)
    return [
        Origin(place_text(place), value, _origin(place, origins) or DEFAULT)
        for place, value in leaves(in_force)
    ]


def _given(
    stored: Mapping[str, Any] | None, overlays: Sequence[Overlay], presets: Sequence[Preset]
) -> tuple[Value, dict[Place, str]]:
    """Return what store and files give together, and the origin of each place they name."""
    given: Value = copy.deepcopy(dict(stored or {}))
    origins = {place: STORE for place, _ in leaves(given) if place}
    problems: list[Problem] = []
    for overlay in overlays:
        for field, (value, line) in overlay.values.items():
            origin = f"file:{overlay.name}:{line}"
            place = parse_place(field)
            try:
                assign(given, place, copy.deepcopy(value))
            except LookupError:
                text = f"{field} is not there to be set"
                problems.append(Problem(field, f"{text} ({origin})", str(value)))
                continue
            # What lay below the place is gone with the value that stood there.
            kept = {p: o for p, o in origins.items() if p[: len(place)] != place}
            origins = {**kept, place: origin}
    if problems:
        raise InvalidInput("; ".join(str(problem) for problem in problems[:3]), problems)
    for preset in presets:
        for field, value in preset.values.items():
            if (place := parse_place(field)) not in origins:
                assign(given, place, copy.deepcopy(value))
                origins[place] = preset.origin
    return given, origins


def _origin(place: Place, origins: Mapping[Place, str]) -> str | None:
    """Return the origin of the nearest place at or above `place` that was named."""
    above = (place[:end] for end in range(len(place), 0, -1))
    return next((origins[p] for p in above if p in origins), None)


def _blamed(problem: Problem, origins: Mapping[Place, str]) -> Problem:
    files = set(_files(problem, origins))
    if not files:
        return problem
    text = f"{problem.message} ({', '.join(sorted(files))})"
    return Problem(problem.where, text, problem.value, problem.valid)


def _files(problem: Problem, origins: Mapping[Place, str]) -> Iterator[str]:
    try:
        place = parse_place(problem.where)
    except InvalidInput:  # a key's own check may say where in its own way
        return
    origin = _origin(place, origins)
    if origin and origin != STORE:
        yield origin
