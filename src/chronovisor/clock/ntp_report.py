"""What the status says of the system clock's owner, and of NTP."""

from datetime import UTC, datetime

from chronovisor.clock.chrony.observe import NtpSource
from chronovisor.clock.chrony.protocol import SourceState
from chronovisor.clock.kernel_clock import boottime_s
from chronovisor.clock.settings import SystemTime
from chronovisor.clock.status import Ntp, NtpServer, SystemClockOwner
from chronovisor.clock.system_clock import SystemClock


def iso(at_ns: int) -> str:
    """Return a time of day (Unix time in ns) for people: ISO 8601, UTC."""
    return datetime.fromtimestamp(at_ns / 1e9, UTC).isoformat(timespec="milliseconds")


def system_clock(clock: SystemClock) -> SystemClockOwner:
    """Return who owns the system clock, since when and why."""
    decision = clock.decision
    left_s = None if decision.until_s is None else max(0.0, decision.until_s - boottime_s())
    return SystemClockOwner(
        owner=decision.owner,
        phase=decision.phase,
        reason=decision.reason,
        since=iso(clock.since_ns) if clock.since_ns else None,
        awaited=decision.awaited,
        awaited_for_s=None if left_s is None else round(left_s, 1),
    )


def ntp(settings: SystemTime, clock: SystemClock) -> Ntp | None:
    """Return what chronyd says, None where NTP is not asked for."""
    if not settings.needs_ntp:
        return None
    evidence, reading = clock.ntp_evidence(), clock.observer.reading
    known = evidence.available
    return Ntp(
        available=known,
        reason=evidence.reason,
        offset_ns=round(evidence.offset_s * 1e9) if known else None,
        distance_ns=round(evidence.distance_s * 1e9) if known else None,
        servers=tuple(_server(one) for one in reading.sources) if reading else (),
    )


def _server(one: NtpSource) -> NtpServer:
    measured = one.statistics.samples > 0
    return NtpServer(
        name=one.name,
        address=one.address,
        state=one.source.state.name.lower(),
        falseticker=one.source.state is SourceState.FALSETICKER,
        stratum=one.source.stratum,
        poll_s=2.0**one.source.poll,
        reach=one.source.reach,
        age_s=one.source.age_s if measured else None,
        # chronyd counts how far the clock is ahead of the source
        offset_ns=round(one.source.offset_s * 1e9) if measured else None,
        jitter_ns=round(one.statistics.deviation_s * 1e9) if measured else None,
        samples=one.statistics.samples,
    )
