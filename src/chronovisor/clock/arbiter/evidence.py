"""What the arbiter judges by, and what it says. Times are CLOCK_BOOTTIME, which no step moves."""

from dataclasses import dataclass
from enum import StrEnum

from chronovisor.clock.settings import Discipline, Protocol, SystemTime


class Owner(StrEnum):
    """Whose daemon may set the system clock."""

    PTP = "ptp"
    NTP = "ntp"
    NOBODY = "nobody"


class Phase(StrEnum):
    """Where the system clock stands between its sources.

    - `idle`: nobody is asked to steer it.
    - `acquiring`: its owner has no time yet.
    - `following`: its owner, the one the settings name, has the time.
    - `holdover`: nobody has the time, or nobody who is believed; it runs on its own rate.
    - `fallback`: PTP is lost and NTP owns the clock.
    - `returning`: PTP is back, and must prove steady before the clock is its own again.
    """

    IDLE = "idle"
    ACQUIRING = "acquiring"
    FOLLOWING = "following"
    HOLDOVER = "holdover"
    FALLBACK = "fallback"
    RETURNING = "returning"


@dataclass(frozen=True, slots=True)
class Policy:
    """What the settings say about the system clock's owner."""

    steers: bool = True
    protocol: Protocol = Protocol.PTP
    falls_back: bool = False
    after_s: float = 5.0
    return_after_s: float = 15.0

    @classmethod
    def of(cls, settings: SystemTime) -> "Policy":
        """Return the part of the settings that decides."""
        return cls(
            steers=settings.enabled and settings.discipline is Discipline.SYSTEM_CLOCK,
            protocol=settings.protocol,
            falls_back=settings.falls_back,
            after_s=settings.fallback.after_s,
            return_after_s=settings.fallback.return_after_s,
        )


@dataclass(frozen=True, slots=True)
class PtpEvidence:
    """Whether PTP has the time now, when it had it last, and the reason in words."""

    synchronized: bool = False
    last_sync_s: float | None = None
    reason: str = "PTP has not been asked yet"


@dataclass(frozen=True, slots=True)
class NtpEvidence:
    """Whether chronyd follows a source, and how far the system clock is from its time.

    `distance_s` is how wrong NTP itself says it may be: half the root delay and the root dispersion
    (RFC 5905 appendix A.5.5.2).
    """

    available: bool = False
    reason: str = "chronyd has not been asked yet"
    offset_s: float = 0.0
    distance_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Record:
    """What the next decision may know of the last one; kept in a file of this boot.

    Only `owner` decides: between stopping one daemon and starting another nothing that runs tells
    which way it was going. All the rest may be lost and costs time alone. `right_until_s` is when
    the clock was last known to be right, None while it has not been since the boot. `wanted_s` is
    when its owner's daemon was last started by decision. `steady_since_s` is not kept in the file.
    """

    owner: Owner | None = None
    phase: Phase = Phase.IDLE
    since_s: float = 0.0
    since_ns: int = 0
    wanted_s: float | None = None
    right_until_s: float | None = None
    steady_since_s: float | None = None


@dataclass(frozen=True, slots=True)
class Decision:
    """Who owns the system clock, and why.

    `awaited` says what would change that; `until_s` is when, if it is a matter of time.
    """

    owner: Owner
    phase: Phase
    reason: str
    awaited: str = ""
    until_s: float | None = None
