"""Extensibility rules: where packages of an acceptance level may put files. The rules are data."""

import tomllib
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from importlib import resources

from chronovisor.errors import Problem
from chronovisor.image.refusal import printable
from chronovisor.image.vib.acceptance import AcceptanceLevel

MOST_VIOLATIONS = 100


@dataclass(frozen=True, slots=True)
class Rule:
    """Packages of `level` may have files at these paths and below them, and nowhere else."""

    id: str
    level: AcceptanceLevel
    allowed: tuple[str, ...]

    def allows(self, path: str) -> bool:
        """Tell whether a file may be at `path` (relative to the root)."""
        return any(path == place or path.startswith(place + "/") for place in self.allowed)


@cache
def rules() -> tuple[Rule, ...]:
    """Return the rules that come with Chronovisor."""
    text = resources.files(__package__).joinpath("extensibility.toml").read_text("utf-8")
    return tuple(
        Rule(rule["id"], AcceptanceLevel(rule["level"]), tuple(rule["allowed"]))
        for rule in tomllib.loads(text)["rule"]
    )


def violations(name: str, level: AcceptanceLevel, files: Iterable[str]) -> list[Problem]:
    """Return a problem for each file that a package `name` of `level` may not have."""
    found: list[Problem] = []
    for path in sorted(set(files)):
        for rule in rules():
            if rule.level is level and not rule.allows(path) and len(found) < MOST_VIOLATIONS:
                found.append(
                    Problem(
                        f"VIB {name}",
                        f"{printable(path, 200)} is not allowed at level {level}",
                        path,
                        f"rule {rule.id}: below " + ", ".join(rule.allowed),
                    )
                )
    return found
