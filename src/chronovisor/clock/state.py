"""The state of this host's clock, judged from data sets; pure, so that its tests are tables.

What the words mean:

- `freerunning`: nobody is asked to keep time here.
- `unsynchronized`: asked to, but there is no grandmaster.
- `acquiring`: a grandmaster is chosen; its offsets are not yet there, or not yet steady.
- `tracking`: fresh, steady offsets. The clock is measured, and not (or not yet) at its target.
- `locked`: tracking, and the clock is disciplined and within `LOCK_LIMIT_NS` of its master; a
  system clock that follows a NIC's clock is also within `SYSTEM_CLOCK_LIMIT_NS` of that.
- `holdover`: was tracking or locked; now nothing measures it, and it runs on its own rate.
- `faulty`: it cannot work as things are: the daemon gave up, the device is gone or, where nothing
  is held over, every port has a fault.

ptp4l 3.1.1 that does not steer a clock (`free_running`) leaves its port UNCALIBRATED for ever, so a
port state alone decides nothing: offsets that keep coming do.
"""

import itertools
import statistics
from dataclasses import dataclass
from enum import StrEnum

from chronovisor.clock.carried import Carried
from chronovisor.clock.daemon_seen import Daemon
from chronovisor.clock.ptp import PortState
from chronovisor.clock.reading import TimeProperties

STEADY_SAMPLES = 4
"""Offsets needed before their spread means anything."""

SYNC_INTERVALS_MISSED = 4
"""Sync messages that may be missing before offsets count as stale; ptp4l's own servo accepts as
many lost in a row as come in one announce timeout (3 intervals, IEEE 1588-2019 J.3.2), plus one."""

FRESH_AT_LEAST_S = 1.0
"""No offset younger than this is stale, however fast Sync messages should come: a busy host may
schedule us late."""

STEADY_LIMIT_NS = {False: 200_000.0, True: 5_000.0}
"""Largest typical change from one offset to the next, by whether stamps are made in hardware. A
clock that drifts 100 ppm apart moves 100 us between two Sync messages of one second."""

LOCK_LIMIT_NS = {False: 100_000.0, True: 1_000.0}
"""Largest typical offset of a locked clock, by whether stamps are made in hardware."""

TYPICAL_SAMPLES = 16
"""The newest offsets whose median is the typical one: what was long ago says nothing of now."""

NEWEST_SAMPLES = 3
"""Two of these decide that a clock has left its master: a single spike does not."""

LEFT_FACTOR = 5.0
"""How many times `LOCK_LIMIT_NS` the newest offsets must be for that; noise stays below."""

SYSTEM_CLOCK_LIMIT_NS = 10_000.0
"""Largest distance of a locked system clock from the NIC's clock that it follows. phc2sys keeps it
within a microsecond or so on PCIe; the rest is for hosts that are late in reading a clock."""

HOLDOVER_LIMIT_S = 3600.0
"""After this long without a master nobody should call it holdover: 10 ppm make 36 ms in an hour."""


class ClockState(StrEnum):
    """What this host can say about its clock."""

    FREERUNNING = "freerunning"
    UNSYNCHRONIZED = "unsynchronized"
    ACQUIRING = "acquiring"
    TRACKING = "tracking"
    LOCKED = "locked"
    HOLDOVER = "holdover"
    FAULTY = "faulty"

    @property
    def synchronized(self) -> bool:
        """Return whether the offset to a grandmaster is known in this state."""
        return self in (ClockState.TRACKING, ClockState.LOCKED)

    @property
    def well(self) -> bool:
        """Return whether nobody needs to look: synchronized, or not asked to be."""
        return self.synchronized or self is ClockState.FREERUNNING


@dataclass(frozen=True, slots=True)
class Sample:
    """One offset from master, `at_s` on CLOCK_BOOTTIME."""

    at_s: float
    offset_ns: float


@dataclass(frozen=True, slots=True)
class PortSeen:
    """What a PTP port says of itself, and the kernel of its device.

    `stamps_lost` is how many transmit stamps the driver lost while the port is faulty.
    """

    number: int
    device: str
    state: PortState
    link_up: bool = True
    stamps_lost: int = 0


@dataclass(frozen=True, slots=True)
class Evidence:
    """All that a verdict rests on, as it was seen at one moment.

    `silence` says why ptp4l's data sets are not known, empty while they are. `not_chosen` and
    `other_domains` are words about clocks that announce themselves, in our domain and in others.
    `carried` is None where no NIC's clock stands between the master and the system clock.
    `master_time` is what the master followed last says of its time, `doubt` why offsets from it are
    not those from UTC.
    """

    enabled: bool = True
    disciplined: bool = False
    hardware: bool = False
    domain: int = 0
    daemon: Daemon = Daemon.RUNNING
    daemon_reason: str = ""
    missing_devices: tuple[str, ...] = ()
    silence: str = ""
    ports: tuple[PortSeen, ...] = ()
    grandmaster: str | None = None
    not_chosen: tuple[str, ...] = ()
    other_domains: tuple[str, ...] = ()
    samples: tuple[Sample, ...] = ()
    sync_interval_s: float = 1.0
    carried: Carried | None = None
    master_time: TimeProperties | None = None
    doubt: str = ""


@dataclass(frozen=True, slots=True)
class Memory:
    """What was known before: the last grandmaster with a known offset, and until when.

    `master_time` is what it said of its time.
    """

    grandmaster: str | None = None
    synchronized_until_s: float | None = None
    master_time: TimeProperties | None = None


@dataclass(frozen=True, slots=True)
class Verdict:
    """A state with the reason that an operator reads."""

    state: ClockState
    reason: str


def judge(evidence: Evidence, memory: Memory, now_s: float) -> Verdict:
    """Return the clock's state; `now_s` is CLOCK_BOOTTIME, which no step of the clock moves."""
    if not evidence.enabled:
        return Verdict(ClockState.FREERUNNING, "time keeping is disabled (system_time.enabled)")
    broken = _broken(evidence)
    if broken:
        return Verdict(ClockState.FAULTY, broken)
    obstacle = _obstacle(evidence)
    if obstacle:
        return _without_master(obstacle, memory, now_s)
    if evidence.grandmaster is None:
        absent = Verdict(ClockState.UNSYNCHRONIZED, _no_master(evidence))
        return _without_master(absent, memory, now_s)
    return _with_master(evidence, memory, now_s)


def remember(evidence: Evidence, memory: Memory, verdict: Verdict, now_s: float) -> Memory:
    """Return what the next verdict may know."""
    if verdict.state is ClockState.FREERUNNING:
        return Memory()  # nobody keeps time, so nothing is held over
    if not verdict.state.synchronized:
        return memory
    return Memory(evidence.grandmaster, now_s, evidence.master_time)


def fresh_for_s(sync_interval_s: float) -> float:
    """Return how long an offset counts as fresh."""
    return max(FRESH_AT_LEAST_S, SYNC_INTERVALS_MISSED * sync_interval_s)


def _broken(evidence: Evidence) -> str:
    """Return what does not heal by waiting, empty where nothing is broken."""
    if evidence.missing_devices:
        return f"device {', '.join(evidence.missing_devices)} does not exist or is down"
    return evidence.daemon_reason if evidence.daemon is Daemon.FAILED else ""


def _obstacle(evidence: Evidence) -> Verdict | None:
    if evidence.daemon is Daemon.WAITING:
        return Verdict(ClockState.UNSYNCHRONIZED, evidence.daemon_reason)
    if evidence.silence:
        return Verdict(ClockState.UNSYNCHRONIZED, evidence.silence)
    faulty = [port for port in evidence.ports if port.state is PortState.FAULTY]
    if faulty and len(faulty) == len(evidence.ports):
        words = ", ".join(_fault(port) for port in faulty)
        return Verdict(ClockState.FAULTY, words)
    return None


def _fault(port: PortSeen) -> str:
    if not port.link_up:
        cause = "its link is down"
    elif port.stamps_lost:
        cause = f"the driver has lost transmit stamps ({port.stamps_lost})"
    else:
        cause = "its link is up, but messages cannot be sent or get no transmit stamp"
    return f"PTP port {port.number} ({port.device}) is FAULTY: {cause}"


def _no_master(evidence: Evidence) -> str:
    # A port is told of its link later than the kernel knows
    unplugged = [port.device for port in evidence.ports if not port.link_up]
    if unplugged and len(unplugged) == len(evidence.ports):
        return f"{', '.join(unplugged)}: link is down"
    if evidence.not_chosen:
        return f"no master is chosen yet: {', '.join(evidence.not_chosen)}"
    where = ", ".join(port.device for port in evidence.ports) or "any port"
    text = f"no Announce message of domain {evidence.domain} arrives on {where}"
    if evidence.other_domains:
        text += f"; there are some of {', '.join(evidence.other_domains)}"
    if unplugged:
        text += f"; {', '.join(unplugged)}: link is down"
    return text


def _was_synchronized(memory: Memory, now_s: float) -> bool:
    until = memory.synchronized_until_s
    return until is not None and now_s - until <= HOLDOVER_LIMIT_S


def _without_master(otherwise: Verdict, memory: Memory, now_s: float) -> Verdict:
    """Return holdover where there is something to hold over, else the verdict given."""
    if not _was_synchronized(memory, now_s):
        return otherwise
    assert memory.synchronized_until_s is not None
    age_s = now_s - memory.synchronized_until_s
    reason = f"{otherwise.reason}; last offset from {memory.grandmaster} {age_s:.0f} s ago"
    return Verdict(ClockState.HOLDOVER, reason)


def _with_master(evidence: Evidence, memory: Memory, now_s: float) -> Verdict:
    master = f"grandmaster {evidence.grandmaster}"
    fresh_s = fresh_for_s(evidence.sync_interval_s)
    age_s = now_s - evidence.samples[-1].at_s if evidence.samples else None
    if age_s is None or evidence.doubt:
        lacking = evidence.doubt or "no offset measured yet"
        waiting = Verdict(ClockState.ACQUIRING, f"{master} is chosen; {lacking}")
        same = memory.grandmaster == evidence.grandmaster
        return _without_master(waiting, memory, now_s) if same else waiting
    if age_s > fresh_s:
        stale = Verdict(
            ClockState.ACQUIRING, f"{master} announces itself, but no Sync for {age_s:.0f} s"
        )
        return _without_master(stale, memory, now_s)
    # After a restart of visord the first offset must do, if it is of the master already known.
    known = memory.grandmaster == evidence.grandmaster and _was_synchronized(memory, now_s)
    return _by_offsets(evidence, master, needed=1 if known else STEADY_SAMPLES)


def _by_offsets(evidence: Evidence, master: str, needed: int) -> Verdict:
    offsets = [sample.offset_ns for sample in evidence.samples]
    if len(offsets) < needed:
        return Verdict(
            ClockState.ACQUIRING, f"{master}: {len(offsets)} of {needed} offsets measured"
        )
    change_ns = typical_change_ns(offsets)
    limit_ns = STEADY_LIMIT_NS[evidence.hardware] * max(1.0, evidence.sync_interval_s)
    if change_ns > limit_ns:
        return Verdict(
            ClockState.ACQUIRING,
            f"{master}: offsets still move by {change_ns:.0f} ns from one to the next "
            f"(steady is {limit_ns:.0f})",
        )
    if not evidence.disciplined:
        words = f"{master}: offsets are fresh and steady; monitored only"
        return Verdict(ClockState.TRACKING, words)
    typical = f"{master}: typical offset {_typical_ns(offsets, TYPICAL_SAMPLES):.0f} ns"
    lacking = _lacking_to_lock(evidence, offsets)
    if not lacking:
        return Verdict(ClockState.LOCKED, typical)
    return Verdict(ClockState.TRACKING, f"{typical}, {'; '.join(lacking)}")


def _lacking_to_lock(evidence: Evidence, offsets: list[float]) -> list[str]:
    """Return what keeps a disciplined clock with fresh, steady offsets from being locked."""
    limit_ns = LOCK_LIMIT_NS[evidence.hardware]
    newest_ns = _typical_ns(offsets, NEWEST_SAMPLES)
    lacking = []
    if newest_ns > LEFT_FACTOR * limit_ns:
        lacking.append(f"the newest {newest_ns:.0f} ns, locked within {limit_ns:.0f} ns")
    elif _typical_ns(offsets, TYPICAL_SAMPLES) > limit_ns:
        lacking.append(f"locked within {limit_ns:.0f} ns")
    if not any(port.state is PortState.SLAVE for port in evidence.ports):
        lacking.append("its port is not SLAVE yet")
    return lacking + (_not_carried(evidence.carried) if evidence.carried else [])


def _not_carried(carried: Carried) -> list[str]:
    """Return what keeps the system clock from having the time of the NIC's clock."""
    lacking = [carried.daemon_reason] if carried.daemon is not Daemon.RUNNING else []
    if carried.offset_ns is None:
        lacking.append(f"whether the system clock follows is not known: {carried.unknown}")
    elif carried.at_least_ns > SYSTEM_CLOCK_LIMIT_NS:
        lacking.append(
            f"the system clock is {carried.offset_ns:.0f} ns from the NIC's clock, "
            f"locked within {SYSTEM_CLOCK_LIMIT_NS:.0f} ns"
        )
    return lacking


def _typical_ns(offsets: list[float], newest: int) -> float:
    """Return the median size of the newest offsets."""
    return statistics.median(abs(offset) for offset in offsets[-newest:])


def typical_change_ns(offsets: list[float]) -> float:
    """Return the median absolute change between neighbours; one spike does not move it."""
    if len(offsets) < 2:
        return 0.0
    return statistics.median(abs(b - a) for a, b in itertools.pairwise(offsets))
