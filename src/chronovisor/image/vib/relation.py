"""Versions of packages, and what packages need of one another.

How ESXi orders versions is not published. Here a version is `version[-release]`; both parts are
cut into numbers and words, compared from the left: numbers as numbers, words as words, a number
above a word, and what has more parts above what is otherwise equal. For the versions seen on real
hosts (`218.0.38.0-1OEM.700.1.0.15843807`) this is the order of their releases.
"""

import re
from dataclasses import dataclass

from chronovisor.errors import InvalidInput

_PART = re.compile(r"[0-9]+|[A-Za-z]+")

Key = tuple[tuple[int, int, str], ...]


def version_key(text: str) -> tuple[Key, Key]:
    """Return something that sorts as the version does."""
    version, _, release = text.partition("-")
    return _key(version), _key(release)


def _key(text: str) -> Key:
    return tuple(
        (1, int(part), "") if part[0].isdigit() else (0, 0, part) for part in _PART.findall(text)
    )


OPERATORS = ("<<", "<=", "=", ">=", ">>")
"""How a relation may compare; the same words as Debian's and esxcli's."""

PART = re.compile(r"[!-;?-~]{1,200}")
"""A name or version of a relation: ASCII without <, = and >, so that it can be read back."""
RELATION = re.compile(rf"\s*({PART.pattern})(?:\s*({'|'.join(OPERATORS)})\s*({PART.pattern}))?\s*")
_SPELLINGS = {"<": "<<", ">": ">>", "==": "=", **{operator: operator for operator in OPERATORS}}


def operator_named(text: str) -> str | None:
    """Return the operator that a descriptor spells so; '' stands for "any version"."""
    return _SPELLINGS.get(text) if text else ""


@dataclass(frozen=True, slots=True)
class Relation:
    """A package or capability, of any version or of those that compare so with one."""

    name: str
    operator: str = ""
    version: str = ""

    def __str__(self) -> str:
        """Return it as esxcli prints it: `esx-base >= 5.5`."""
        return f"{self.name} {self.operator} {self.version}" if self.operator else self.name

    def admits(self, version: str) -> bool:
        """Tell whether what has this version is meant; what has none is by any relation."""
        if not self.operator or not version:
            return True
        theirs, ours = version_key(version), version_key(self.version)
        match self.operator:
            case "<<":
                return theirs < ours
            case "<=":
                return theirs <= ours
            case ">=":
                return theirs >= ours
            case ">>":
                return theirs > ours
        return theirs == ours

    def met_by(self, offer: "Relation") -> bool:
        """Tell whether something provided (`name` or `name = version`) is what this means."""
        return self.name == offer.name and self.admits(offer.version)


def relation(text: str) -> Relation:
    """Return the relation written `name` or `name >= version`."""
    found = RELATION.fullmatch(text)
    if not found:
        raise InvalidInput(f"'{text}' is not a relation", hint="write `name` or `name >= version`")
    return Relation(found[1], found[2] or "", found[3] or "")
