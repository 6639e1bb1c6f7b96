"""Prometheus metrics, collected at the moment of asking from what is; nothing is counted twice.

Names follow Prometheus' conventions (base units, `_total`), so nanoseconds become seconds.
"""

from collections.abc import Iterable, Iterator

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from chronovisor.clock.arbiter import Owner, Phase
from chronovisor.clock.state import ClockState
from chronovisor.clock.status import ClockStatus
from chronovisor.config import ConfigStore
from chronovisor.host import net_metrics
from chronovisor.host.health import Condition, Health
from chronovisor.net.figures import Figures
from chronovisor.worlds import State, World

_PREFIX = "chronovisor"


def render(
    clock: ClockStatus | None,
    worlds: Iterable[World],
    store: ConfigStore,
    health: Health,
    net: Figures,
) -> str:
    """Return all metrics in the text format (Prometheus exposition format 0.0.4)."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Snapshot(clock, list(worlds), store, health, net))
    return generate_latest(registry).decode()


class _Snapshot(Collector):
    def __init__(
        self,
        clock: ClockStatus | None,
        worlds: list[World],
        store: ConfigStore,
        health: Health,
        net: Figures,
    ) -> None:
        self._clock, self._worlds, self._store, self._health = clock, worlds, store, health
        self._net = net

    def collect(self) -> Iterator[Metric]:
        yield from _host(self._store, self._health)
        yield from _worlds(self._worlds)
        yield from net_metrics.collect(self._net)
        if self._clock:
            yield from _clock(self._clock)
            yield from _owner(self._clock)
            yield from _ntp(self._clock)
            yield from _ports(self._clock)


def _host(store: ConfigStore, health: Health) -> Iterator[Metric]:
    yield _gauge("store_revision", "Revision of the Config Store.", store.revision)
    yield _gauge("store_alarms", "Alarms of the Config Store.", len(store.alarms))
    yield _gauge("uptime_seconds", "How long visord runs.", health.uptime_s)
    parts = _labelled(
        "part_condition", "Condition of a part, 1 at the one it has.", "part", "condition"
    )
    for part in health.parts:
        for condition in Condition:
            parts.add_metric([part.name, condition], part.condition is condition)
    yield parts


def _worlds(worlds: list[World]) -> Iterator[Metric]:
    states = _labelled("world_state", "State of a world, 1 at the one it has.", "world", "state")
    restarts = CounterMetricFamily(
        f"{_PREFIX}_world_restarts", "How often a world was started again.", labels=["world"]
    )
    for world in worlds:
        restarts.add_metric([world.name], world.restarts)
        for state in State:
            states.add_metric([world.name, state], world.state is state)
    yield states
    yield restarts


def _clock(clock: ClockStatus) -> Iterator[Metric]:
    states = _labelled("clock_state", "State of the clock, 1 at the one it has.", "state")
    for state in ClockState:
        states.add_metric([state], clock.state is state)
    yield states
    yield _gauge("clock_domain", "PTP domain of this host.", clock.domain)
    if clock.offset:
        text = "Newest offset from the master."
        yield _gauge("clock_offset_seconds", text, clock.offset.last_ns / 1e9)
        text = "Age of the newest offset."
        yield _gauge("clock_offset_age_seconds", text, clock.offset.age_s)
    if clock.mean_path_delay_ns is not None:
        text = "Mean path delay to the master."
        yield _gauge("clock_path_delay_seconds", text, clock.mean_path_delay_ns / 1e9)
    if clock.system_clock_offset_ns is not None:
        text = "The system clock minus the NIC's clock that it follows."
        yield _gauge("system_clock_offset_seconds", text, clock.system_clock_offset_ns / 1e9)
    if clock.frequency_ppb is not None:
        text = "Kernel's correction of the system clock's rate, as a ratio."
        yield _gauge("clock_frequency_ratio", text, clock.frequency_ppb / 1e9)
    if clock.grandmaster and clock.grandmaster.steps_removed is not None:
        text = "Boundary clocks between the grandmaster and this host, plus one."
        yield _gauge("clock_steps_removed", text, clock.grandmaster.steps_removed)


def _owner(clock: ClockStatus) -> Iterator[Metric]:
    owners = _labelled("system_clock_owner", "Who may set the system clock, 1 at who may.", "owner")
    for owner in Owner:
        owners.add_metric([owner], clock.system_clock.owner is owner)
    yield owners
    phases = _labelled("system_clock_phase", "Phase of the clock, 1 at the one it is in.", "phase")
    for phase in Phase:
        phases.add_metric([phase], clock.system_clock.phase is phase)
    yield phases
    text = "Whether NTP owns the system clock because PTP is lost."
    yield _gauge("clock_in_fallback", text, clock.in_fallback_state)


def _ntp(clock: ClockStatus) -> Iterator[Metric]:
    if clock.ntp is None:
        return
    if clock.ntp.offset_ns is not None:
        text = "The system clock minus NTP's time."
        yield _gauge("ntp_offset_seconds", text, clock.ntp.offset_ns / 1e9)
    reach = _labelled("ntp_server_reach", "Polls answered of the last eight.", "server")
    liars = _labelled("ntp_server_falseticker", "Whether others outvote the server.", "server")
    for server in clock.ntp.servers:
        reach.add_metric([server.name], server.reach.bit_count())
        liars.add_metric([server.name], server.falseticker)
    yield reach
    yield liars


def _ports(clock: ClockStatus) -> Iterator[Metric]:
    states = _labelled("port_state", "State of a PTP port, 1 at the one it has.", "device", "state")
    transitions = CounterMetricFamily(
        f"{_PREFIX}_port_state_transitions", "Changes of a port's state seen.", labels=["device"]
    )
    messages = CounterMetricFamily(
        f"{_PREFIX}_port_messages",
        "PTP messages of a port since the PTP daemon started.",
        labels=["device", "direction", "type"],
    )
    for port in clock.ports:
        states.add_metric([port.device, port.state], 1)
        transitions.add_metric([port.device], port.state_transitions)
        for direction, counters in (("received", port.received), ("sent", port.sent)):
            for kind, count in counters.model_dump().items() if counters else ():
                if count is not None:
                    messages.add_metric([port.device, direction, kind], count)
    yield states
    yield transitions
    yield messages


def _gauge(name: str, text: str, value: float) -> GaugeMetricFamily:
    return GaugeMetricFamily(f"{_PREFIX}_{name}", text, value)


def _labelled(name: str, text: str, *labels: str) -> GaugeMetricFamily:
    return GaugeMetricFamily(f"{_PREFIX}_{name}", text, labels=labels)
