"""Builds the status that people and programs see, out of what the watch has seen."""

import statistics
from collections import Counter
from collections.abc import Mapping

from chronovisor.clock import ntp_report
from chronovisor.clock.announced import completed
from chronovisor.clock.engine import PtpEngine
from chronovisor.clock.kernel_clock import boottime_s, system_clock_frequency_ppb
from chronovisor.clock.ntp_report import iso
from chronovisor.clock.observe import Seen
from chronovisor.clock.reading import MessageCounts, PortReading, Reading
from chronovisor.clock.settings import PtpPort, SystemTime
from chronovisor.clock.state import Sample
from chronovisor.clock.status import (
    ClockStatus,
    Engine,
    Grandmaster,
    MessageCounters,
    Offset,
    Port,
)
from chronovisor.clock.system_clock import SystemClock
from chronovisor.clock.watch import Watch
from chronovisor.worlds import World

_P95 = 19
"""Index of the 95th percentile among twentieths."""


def status(
    settings: SystemTime,
    watch: Watch,
    clock: SystemClock,
    worlds: Mapping[str, World],
    engine: PtpEngine,
    notices: tuple[str, ...],
) -> ClockStatus:
    """Return all that is known of the clock now."""
    seen = watch.observer.seen if watch.observer else None
    reading = seen.reading if seen else None
    own = reading.own if reading else None
    carried = watch.carried
    return ClockStatus(
        state=watch.verdict.state,
        reason=watch.verdict.reason,
        since=iso(watch.since_ns),
        last_sync_time=_last_sync_time(watch, clock),
        in_fallback_state=clock.in_fallback,
        system_clock=ntp_report.system_clock(clock),
        ntp=ntp_report.ntp(settings, clock),
        enabled=settings.enabled,
        protocol=settings.protocol,
        discipline=settings.discipline,
        domain=own.domain if own else settings.ptp_config.domain,
        clock_identity=own.identity if own else None,
        priority1=own.priority1 if own else None,
        priority2=own.priority2 if own else None,
        clock_class=own.clock_class if own else None,
        slave_only=own.slave_only if own else None,
        offset=offset(tuple(seen.samples), boottime_s()) if seen and seen.samples else None,
        mean_path_delay_ns=_path_delay_ns(seen, reading),
        system_clock_offset_ns=carried.offset_ns if carried else None,
        system_clock_offset_error_ns=carried.error_ns if carried and carried.known else None,
        frequency_ppb=system_clock_frequency_ppb(),
        rate_offset_ppb=reading.rate_offset_ppb if reading else None,
        grandmaster=_grandmaster(watch, reading) if seen and seen.master else None,
        ports=tuple(
            _port(number, port, watch, reading)
            for number, port in enumerate(settings.ptp_config.active_ports(), 1)
        ),
        engine=_engine(engine, worlds.get(engine.worlds[0])),
        notices=notices,
    )


def _last_sync_time(watch: Watch, clock: SystemClock) -> str | None:
    """Return when the clock's source was last known to be followed, be it PTP or NTP."""
    times_ns = [time_ns for time_ns in (watch.last_sync_ns, clock.last_ntp_sync_ns) if time_ns]
    return iso(max(times_ns)) if times_ns else None


def offset(samples: tuple[Sample, ...], now_s: float) -> Offset:
    """Return the figures of some offsets, the newest last."""
    offsets = [sample.offset_ns for sample in samples]
    sizes = [abs(value) for value in offsets]
    return Offset(
        last_ns=offsets[-1],
        median_ns=statistics.median(offsets),
        p95_abs_ns=_percentile_95(sizes),
        max_abs_ns=max(sizes),
        samples=len(samples),
        span_s=round(samples[-1].at_s - samples[0].at_s, 3),
        age_s=round(max(0.0, now_s - samples[-1].at_s), 3),
    )


def _percentile_95(sizes: list[float]) -> float:
    if len(sizes) == 1:
        return sizes[0]
    return statistics.quantiles(sizes, n=_P95 + 1, method="inclusive")[-1]


def _path_delay_ns(seen: Seen | None, reading: Reading | None) -> float | None:
    return seen.path_delay_ns if seen and reading and seen.master else None


def _grandmaster(watch: Watch, reading: Reading | None) -> Grandmaster | None:
    seen = watch.observer.seen if watch.observer else None
    if reading is None or reading.parent is None or seen is None or seen.outdated:
        return None
    parent, properties = reading.parent, reading.time_properties
    source = watch.source(parent.port, reading.own.domain)
    if source:
        parent, properties = completed(source, parent, properties)
    return Grandmaster(
        identity=parent.grandmaster or str(parent.port.clock_identity),
        address=str(source.address) if source else None,
        parent_port=str(parent.port),
        steps_removed=parent.steps_removed,
        priority1=parent.priority1,
        priority2=parent.priority2,
        clock_class=parent.clock_class,
        clock_accuracy=parent.clock_accuracy,
        time_source=properties.time_source,
        utc_offset_s=properties.utc_offset_s,
        utc_offset_valid=properties.utc_offset_valid,
        ptp_timescale=properties.ptp_timescale,
        leap61=properties.leap61,
        leap59=properties.leap59,
        time_traceable=properties.time_traceable,
        frequency_traceable=properties.frequency_traceable,
    )


def _port(number: int, port: PtpPort, watch: Watch, reading: Reading | None) -> Port:
    seen = watch.observer.seen if watch.observer else None
    found = _port_reading(number, reading)
    state = seen.port_states.get(number) if seen else None
    transitions = seen.transitions if seen else Counter[int]()
    device = watch.devices.get(port.device)
    return Port(
        index=port.index,
        number=number,
        device=port.device,
        device_type=port.device_type,
        address=found.address if found else None,
        state=state.name if state else "UNKNOWN",
        state_transitions=transitions[number],
        link_up=bool(device and device.link_up),
        time_stamping=port.time_stamping,
        transport=port.network_transport,
        delay_mechanism=(found.delay_mechanism if found else None) or port.delay_mechanism,
        log_announce_interval=found.log_announce_interval if found else None,
        announce_receipt_timeout=found.announce_receipt_timeout if found else None,
        log_sync_interval=found.log_sync_interval if found else None,
        log_min_delay_req_interval=found.log_min_delay_req_interval if found else None,
        log_min_pdelay_req_interval=found.log_min_pdelay_req_interval if found else None,
        peer_mean_path_delay_ns=found.peer_mean_path_delay_ns if found else None,
        received=_counters(found.received) if found else None,
        sent=_counters(found.sent) if found else None,
    )


def _port_reading(number: int, reading: Reading | None) -> PortReading | None:
    ports = reading.ports if reading else ()
    return next((port for port in ports if port.number == number), None)


def _counters(counts: MessageCounts | None) -> MessageCounters | None:
    return MessageCounters(**counts._asdict()) if counts else None


def _engine(engine: PtpEngine, world: World | None) -> Engine:
    return Engine(
        name=engine.name,
        release=str(engine.release) if engine.release else None,
        state=world.state if world else "stopped",
        reason=world.reason if world else "never started",
        pid=world.pid if world else None,
        restarts=world.restarts if world else 0,
    )
