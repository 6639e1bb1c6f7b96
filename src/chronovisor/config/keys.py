"""The address of a setting: `component / group / key [/ instance]`."""

import re
from dataclasses import dataclass
from functools import total_ordering

from chronovisor.config.words import shown
from chronovisor.errors import InvalidInput, Problem

COMPONENT_ALIASES = {"esx": "host"}
"""Other names of a component; an ESXi user types `esx` for what is `host` here."""

INSTANCE_LENGTH_MAX = 128
_NAME_LENGTH_MAX = 64
_NAME = re.compile(r"[a-z][a-z0-9_]*\Z")
_NAME_RULE = f"a lower-case letter, then letters, digits or _ (at most {_NAME_LENGTH_MAX})"
_INSTANCE_RULE = f"1 to {INSTANCE_LENGTH_MAX} printable characters without /"
_FORM = "component/group/key or component/group/key/instance"


@total_ordering
@dataclass(frozen=True, slots=True)
class KeyPath:
    """Where a setting lives; ordered by its parts, a key before its instances.

    The component alias `esx` becomes `host`. Raises `InvalidInput` with every part that breaks
    the rules for names.
    """

    component: str
    group: str
    key: str
    instance: str | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "component", COMPONENT_ALIASES.get(self.component, self.component))
        problems = [
            Problem(part, f"{shown(name)} is not a name", name, _NAME_RULE)
            for part, name in (
                ("component", self.component),
                ("group", self.group),
                ("key", self.key),
            )
            if not _NAME.match(name) or len(name) > _NAME_LENGTH_MAX
        ]
        if self.instance is not None and not _is_instance(self.instance):
            problems.append(
                Problem(
                    "instance",
                    f"{shown(self.instance)} cannot be an instance",
                    self.instance,
                    _INSTANCE_RULE,
                )
            )
        if problems:
            raise InvalidInput(
                f"{shown(self._joined())} is not a key of the Config Store",
                problems,
                hint=f"write {_FORM}, as in host/system/system_time",
            )

    @classmethod
    def parse(cls, text: str) -> "KeyPath":
        """Return the path written as `host/system/system_time[/instance]`.

        `str()` of the result gives the text back (with `host` for `esx`). Raises `InvalidInput`.
        """
        parts = text.split("/")
        if len(parts) not in (3, 4):
            raise InvalidInput(
                f"{shown(text)} is not a key of the Config Store",
                [Problem("", f"{len(parts)} part(s) instead of 3 or 4", text, _FORM)],
                hint=f"write {_FORM}, as in host/system/system_time",
            )
        return cls(*parts)

    @classmethod
    def of(cls, path: "KeyPath | str") -> "KeyPath":
        """Return `path` itself, or what it says when it is text."""
        return cls.parse(path) if isinstance(path, str) else path

    @property
    def without_instance(self) -> "KeyPath":
        """The key that this path is an instance of (itself when it names none)."""
        return KeyPath(self.component, self.group, self.key) if self.instance else self

    def __str__(self) -> str:
        return self._joined()

    def __lt__(self, other: object) -> bool:
        if not isinstance(other, KeyPath):
            return NotImplemented
        return self._order() < other._order()

    def _joined(self) -> str:
        key = f"{self.component}/{self.group}/{self.key}"
        return key if self.instance is None else f"{key}/{self.instance}"

    def _order(self) -> tuple[str, str, str, str]:
        # An instance is never empty, so "" sorts the bare key before all of its instances.
        return (self.component, self.group, self.key, self.instance or "")


def _is_instance(text: str) -> bool:
    return 0 < len(text) <= INSTANCE_LENGTH_MAX and text.isprintable() and "/" not in text
