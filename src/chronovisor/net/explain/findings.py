"""What an explanation consists of: links of the path, each with its evidence."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import StrEnum


class Condition(StrEnum):
    """How a link of the path is: in order, broken, or not to be judged from here."""

    OK = "ok"
    BROKEN = "broken"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Finding:
    """One link of the path. `end` is the port or address it belongs to, empty for the host.

    `evidence` says what was read and where; `way_out` what to do, empty while all is well.
    """

    link: str
    end: str
    condition: Condition
    evidence: str
    way_out: str = ""


def ok(link: str, end: str, evidence: str) -> Finding:
    """Return a link that is in order."""
    return Finding(link, end, Condition.OK, evidence)


def broken(link: str, end: str, evidence: str, way_out: str) -> Finding:
    """Return a link that stops packets."""
    return Finding(link, end, Condition.BROKEN, evidence, way_out)


def unknown(link: str, end: str, evidence: str, way_out: str = "") -> Finding:
    """Return a link that nothing here tells of."""
    return Finding(link, end, Condition.UNKNOWN, evidence, way_out)


def judged(link: str, end: str, faults: Iterable[tuple[str, str]], fine: str) -> Finding:
    """Return a link with the first of its faults (evidence, way out), or as in order."""
    for evidence, way_out in faults:
        return broken(link, end, evidence, way_out)
    return ok(link, end, fine)


@dataclass(frozen=True, slots=True)
class Explanation:
    """The whole path in the order in which it is walked."""

    question: str
    findings: tuple[Finding, ...]

    @property
    def first_broken(self) -> Finding | None:
        """Return the first link that is broken, None while all is well."""
        return next(self._broken(), None)

    def _broken(self) -> Iterator[Finding]:
        return (one for one in self.findings if one.condition is Condition.BROKEN)
