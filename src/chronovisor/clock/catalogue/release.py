"""Releases of linuxptp, as far as their options differ."""

import re
from dataclasses import dataclass
from typing import Self

from chronovisor.errors import InvalidInput

_VERSION = re.compile(
    r"\s*v?(\d{1,4})\.(\d{1,4})(?:\.(\d{1,4}))?(?:-(\d{1,6})-g[0-9a-f]+)?(?![\d.])"
)


@dataclass(frozen=True, slots=True, order=True)
class Release:
    """A release; `commits` counts those after it in a build from the source tree."""

    major: int
    minor: int
    patch: int = 0
    commits: int = 0

    @classmethod
    def parse(cls, text: str) -> Self:
        """Return the release that `ptp4l -v` prints (`3.1.1`, `4.4-00012-gdeadbee`).

        Raises InvalidInput for anything else.
        """
        match = _VERSION.match(text)
        if match is None:
            raise InvalidInput(
                f"{text.strip()[:80]!r} is not a linuxptp version",
                hint="`ptp4l -v` should print something like 3.1.1",
            )
        return cls(*(int(part or 0) for part in match.groups()))

    def __str__(self) -> str:
        """Return the release as linuxptp writes it."""
        text = f"{self.major}.{self.minor}" + (f".{self.patch}" if self.patch else "")
        return f"{text}+{self.commits}" if self.commits else text


LATER = Release(4, 4, 0, commits=1)
"""The source tree after 4.4: every build that is newer than release 4.4."""

KNOWN = (
    Release(3, 1, 1),
    Release(4, 0),
    Release(4, 1),
    Release(4, 2),
    Release(4, 3),
    Release(4, 4),
    LATER,
)
"""The releases whose options are known, oldest first."""


def nearest(release: Release) -> tuple[Release, str | None]:
    """Return the newest known release that is not newer than `release`, and a notice.

    The notice is None where the options of `release` are known exactly. What is older than all
    known releases is judged by the oldest.
    """
    if release < KNOWN[0]:
        return KNOWN[0], (
            f"linuxptp {release} is older than the oldest known release; "
            f"options are judged as for {KNOWN[0]}"
        )
    known = max(candidate for candidate in KNOWN if candidate <= release)
    exact = known == release or (known == LATER and release.commits and release < Release(4, 4, 1))
    if exact:
        return known, None
    return known, f"linuxptp {release} is not known; options are judged as for {known}"
