"""What can be set: each key with its model, the one place where a value is judged."""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel, ValidationError

from chronovisor.config.fields import parse_place, unstorable
from chronovisor.config.keys import KeyPath
from chronovisor.config.problems import problems_of, unrelated, without
from chronovisor.config.secret import mask, mask_problems, secret_places, unmask
from chronovisor.config.words import listed, nearest, shown
from chronovisor.errors import InvalidInput, NotFound, Problem

VALUE_SIZE_MAX = 1024 * 1024
"""Most bytes that one value may have as JSON."""

Check = Callable[[Any], Sequence[Problem]]
"""Judges what a model cannot, such as options against the installed release.

It gets an instance of the registered model and returns every problem it finds.
"""


@dataclass(frozen=True, slots=True)
class KeySpec:
    """One key of the store: where, what shape, and whether it comes in instances."""

    path: KeyPath
    model: type[BaseModel]
    instances: bool
    description: str
    check: Check | None


class Registry:
    """The keys of the store. Planes register theirs; the store asks it about every value."""

    def __init__(self) -> None:
        self._specs: dict[KeyPath, KeySpec] = {}

    def register(
        self,
        path: str,
        model: type[BaseModel],
        *,
        instances: bool = False,
        description: str,
        check: Check | None = None,
    ) -> None:
        """Make a key settable. `instances` says that it is set per instance, never bare.

        Raises `ValueError` when the key is there already: two planes claim one name.
        """
        key = KeyPath.parse(path)
        if key.instance is not None or key in self._specs:
            raise ValueError(f"{key} cannot be registered: it is taken or names an instance")
        self._specs[key] = KeySpec(key, model, instances, description, check)

    def keys(self) -> tuple[KeyPath, ...]:
        """Return every key, without instances, in order."""
        return tuple(sorted(self._specs))

    def spec(self, path: KeyPath | str) -> KeySpec:
        """Return the key that `path` (with or without instance) belongs to, or `NotFound`."""
        key = KeyPath.of(path).without_instance
        if spec := self._specs.get(key):
            return spec
        guess = nearest(key, [str(known) for known in self._specs])
        known = listed(str(known) for known in self.keys()) or "none"
        hint = f"did you mean {guess}?" if guess else f"known keys: {known}"
        raise NotFound(f"there is no key {key}", hint=hint)

    def json_schema(self, path: KeyPath | str) -> dict[str, Any]:
        """Return the JSON Schema (2020-12) of a key's value, with the key's description."""
        spec = self.spec(path)
        schema = spec.model.model_json_schema()
        return {**schema, "title": str(spec.path), "description": spec.description}

    def validate(self, path: KeyPath | str, value: object) -> BaseModel:
        """Return `value` as the key's model.

        Raises `InvalidInput` with every problem, of the model and of the key's check, each with
        its place, what stood there and what would be valid. Raises `NotFound` for no such key.
        """
        path = KeyPath.of(path)
        spec = self.spec(path)
        found = [*_instance_problems(spec, path)]
        model, problems = judge(spec, value)
        found += problems
        if found or model is None:
            count = f"{len(found)} problems" if len(found) > 1 else "1 problem"
            raise InvalidInput(
                f"{path}: {count}: " + "; ".join(str(problem) for problem in found[:3]),
                found,
                hint=f"visorctl config schema get shows what {spec.path} takes",
            )
        return model

    def mask(self, path: KeyPath | str, value: Mapping[str, Any] | None) -> dict[str, Any] | None:
        """Return a copy of a key's value with its secrets masked.

        The value of a key that no longer exists is withheld: nobody knows what in it is secret.
        """
        if value is None:
            return None
        try:
            model = self.spec(path).model
        except NotFound:
            return {}
        masked: dict[str, Any] = mask(model, dict(value))
        return masked

    def unmask(self, path: KeyPath | str, value: Any, stored: Mapping[str, Any] | None) -> Any:
        """Return a copy of a key's value whose masks are the secrets stored in the same places.

        What could not be stored anyway comes back as it is, for `validate` to refuse.
        """
        model = self.spec(path).model
        return value if any(unstorable(value)) else unmask(model, value, stored)

    def is_secret(self, path: KeyPath | str, field: str, value: Mapping[str, Any] | None) -> bool:
        """Say whether a field (`peers[0].password`) of this value holds a secret.

        The fields of a key that no longer exists all count as secret.
        """
        try:
            model = self.spec(path).model
        except NotFound:
            return True
        return parse_place(field) in secret_places(model, value)


def storable(model: BaseModel) -> dict[str, Any]:
    """Return what the store keeps of a validated value: the fields that were given, as JSON.

    Defaults stay out, so that `--effective` can tell them apart.
    """
    return model.model_dump(mode="json", exclude_unset=True)


def judge(spec: KeySpec, value: object) -> tuple[BaseModel | None, list[Problem]]:
    """Return the value as the key's model (`None` if it is not one) and every problem with it."""
    if not isinstance(value, Mapping):
        valid = f"a mapping with the fields {listed(spec.model.model_fields)}"
        return None, [Problem("", f"{shown(value)} is not a mapping", shown(value), valid)]
    if problems := list(unstorable(value)) or list(_too_large(value)):
        return None, problems
    problems = list(mask_problems(spec.model, value))
    try:
        model = spec.model.model_validate(value)
    except ValidationError as error:
        problems += problems_of(error, spec.model, value)
        return None, problems + _more_problems(spec, value, problems)
    if spec.check:
        problems += spec.check(model)
    return model, problems


def _too_large(value: Mapping[str, Any]) -> Iterator[Problem]:
    size = len(json.dumps(value))
    if size > VALUE_SIZE_MAX:
        yield Problem("", f"has {size} bytes as JSON", "", f"at most {VALUE_SIZE_MAX}")


def _more_problems(
    spec: KeySpec, value: Mapping[str, Any], problems: Sequence[Problem]
) -> list[Problem]:
    """Return what the check says of the rest of a value that the model refused.

    The refused fields are left out, as if they had not been given. What is then said of the
    places around them may come from their absence, so it is not passed on.
    """
    rest = without(value, [parse_place(p.where) for p in problems])
    if rest is None or spec.check is None:
        return []
    try:
        model = spec.model.model_validate(rest)
    except ValidationError:
        return []
    return list(unrelated(spec.check(model), to=problems))


def _instance_problems(spec: KeySpec, path: KeyPath) -> list[Problem]:
    if spec.instances and path.instance is None:
        return [Problem("instance", "is missing", "", f"{spec.path}/NAME")]
    if not spec.instances and path.instance is not None:
        text = f"{spec.path} has no instances"
        return [Problem("instance", text, path.instance, str(spec.path))]
    return []
