"""Builds the status that people and programs see, out of what the watch has seen."""

import statistics
from collections import Counter
from collections.abc import Mapping
from datetime import UTC, datetime

from chronovisor.clock.catalogue import Release
from chronovisor.clock.kernel_clock import boottime_s, system_clock_frequency_ppb
from chronovisor.clock.observe import Seen
from chronovisor.clock.ptp import PortStatus, Status
from chronovisor.clock.ptp.datasets import MessageCounts
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
from chronovisor.clock.watch import Watch
from chronovisor.worlds import World

_P95 = 19
"""Index of the 95th percentile among twentieths."""


def status(
    settings: SystemTime,
    watch: Watch,
    worlds: Mapping[str, World],
    release: Release | None,
    notices: tuple[str, ...],
) -> ClockStatus:
    """Return all that is known of the clock now."""
    seen = watch.observer.seen if watch.observer else None
    reading = seen.reading if seen else None
    default = reading.default if reading else None
    return ClockStatus(
        state=watch.verdict.state,
        reason=watch.verdict.reason,
        since=_iso(watch.since_ns),
        last_sync_time=_iso(watch.last_sync_ns) if watch.last_sync_ns else None,
        enabled=settings.enabled,
        protocol=settings.protocol,
        discipline=settings.discipline,
        domain=default.domain_number if default else settings.ptp_config.domain,
        clock_identity=str(default.clock_identity) if default else None,
        priority1=default.priority1 if default else None,
        priority2=default.priority2 if default else None,
        clock_class=default.clock_quality.clock_class if default else None,
        slave_only=default.slave_only if default else None,
        offset=offset(tuple(seen.samples), boottime_s()) if seen and seen.samples else None,
        mean_path_delay_ns=_path_delay_ns(seen, reading),
        frequency_ppb=system_clock_frequency_ppb(),
        rate_offset_ppb=reading.time_status.cumulative_rate_offset_ppb if reading else None,
        grandmaster=_grandmaster(watch, reading) if seen and seen.master else None,
        ports=tuple(
            _port(number, port, watch, reading)
            for number, port in enumerate(settings.ptp_config.active_ports(), 1)
        ),
        engine=_engine(worlds.get("ptp4l"), release),
        notices=notices,
    )


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


def _iso(at_ns: int) -> str:
    return datetime.fromtimestamp(at_ns / 1e9, UTC).isoformat(timespec="milliseconds")


def _path_delay_ns(seen: Seen | None, reading: Status | None) -> float | None:
    return seen.path_delay_ns if seen and reading and seen.master else None


def _grandmaster(watch: Watch, reading: Status | None) -> Grandmaster | None:
    seen = watch.observer.seen if watch.observer else None
    if reading is None or seen is None or seen.outdated:
        return None
    parent, properties = reading.parent, reading.time_properties
    quality = parent.grandmaster_clock_quality
    source = watch.source(parent.parent_port_identity, reading.default.domain_number)
    return Grandmaster(
        identity=str(parent.grandmaster_identity),
        address=str(source.address) if source else None,
        parent_port=str(parent.parent_port_identity),
        steps_removed=reading.current.steps_removed,
        priority1=parent.grandmaster_priority1,
        priority2=parent.grandmaster_priority2,
        clock_class=quality.clock_class,
        clock_accuracy=quality.clock_accuracy.name,
        time_source=properties.time_source.name,
        utc_offset_s=properties.current_utc_offset_s,
        utc_offset_valid=properties.current_utc_offset_valid,
        ptp_timescale=properties.ptp_timescale,
        leap61=properties.leap61,
        leap59=properties.leap59,
        time_traceable=properties.time_traceable,
        frequency_traceable=properties.frequency_traceable,
    )


def _port(number: int, port: PtpPort, watch: Watch, reading: Status | None) -> Port:
    seen = watch.observer.seen if watch.observer else None
    found = _port_status(number, reading)
    data = found.data_set if found else None
    state = seen.port_states.get(number) if seen else None
    transitions = seen.transitions if seen else Counter[int]()
    device = watch.devices.get(port.device)
    return Port(
        index=port.index,
        number=number,
        device=port.device,
        device_type=port.device_type,
        address=_address(found),
        state=state.name if state else "UNKNOWN",
        state_transitions=transitions[number],
        link_up=bool(device and device.link_up),
        time_stamping=port.time_stamping,
        transport=port.network_transport,
        delay_mechanism=data.delay_mechanism.name if data else port.delay_mechanism,
        log_announce_interval=data.log_announce_interval if data else None,
        announce_receipt_timeout=data.announce_receipt_timeout if data else None,
        log_sync_interval=data.log_sync_interval if data else None,
        log_min_delay_req_interval=data.log_min_delay_req_interval if data else None,
        log_min_pdelay_req_interval=data.log_min_pdelay_req_interval if data else None,
        peer_mean_path_delay_ns=data.peer_mean_path_delay_ns if data else None,
        received=_counters(found.stats.received) if found else None,
        sent=_counters(found.stats.sent) if found else None,
    )


def _port_status(number: int, reading: Status | None) -> PortStatus | None:
    ports = reading.ports if reading else ()
    return next((p for p in ports if p.data_set.port_identity.port_number == number), None)


def _counters(counts: MessageCounts) -> MessageCounters:
    return MessageCounters(**counts._asdict())


def _engine(world: World | None, release: Release | None) -> Engine:
    return Engine(
        name="linuxptp",
        release=str(release) if release else None,
        state=world.state if world else "stopped",
        reason=world.reason if world else "never started",
        pid=world.pid if world else None,
        restarts=world.restarts if world else 0,
    )


def _address(found: PortStatus | None) -> str | None:
    address = found.description.protocol_address.address if found else None
    return str(address) if address else None
