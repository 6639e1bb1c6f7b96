"""docs/reference/metrics.md: what Prometheus is given."""

from collections.abc import Iterable, Iterator
from types import SimpleNamespace
from typing import Any, cast

from pages.markdown import table
from prometheus_client.parser import text_string_to_metric_families

from chronovisor.clock.arbiter import Owner, Phase
from chronovisor.clock.state import ClockState
from chronovisor.clock.status import (
    ClockStatus,
    Grandmaster,
    MessageCounters,
    Ntp,
    NtpServer,
    Offset,
    Port,
    SystemClockOwner,
)
from chronovisor.clock.status import Engine as EngineStatus
from chronovisor.config import ConfigStore
from chronovisor.host import metrics
from chronovisor.host.health import Condition, Health, Part
from chronovisor.host.net_metrics import REASONS
from chronovisor.net.figures import PARTS, Figures, PortCondition
from chronovisor.worlds import State, World


def page() -> Iterator[str]:
    """Yield the page's parts."""
    yield "# Metrics"
    yield (
        "What `GET /metrics` and `visorctl host metrics` give, in Prometheus' text format "
        "(version 0.0.4). Values are collected at the moment of asking. A metric without a value "
        "now is left out: no offset is known, there is no grandmaster."
    )
    text = metrics.render(_clock(), [_world()], cast(ConfigStore, _STORE), _HEALTH, _net())
    found = []
    for family in text_string_to_metric_families(text):
        labels = sorted({label for sample in family.samples for label in sample.labels})
        name = f"{family.name}_total" if family.type == "counter" else family.name
        shown = ", ".join(f"`{label}`" for label in labels)
        found.append((f"`{name}`", family.type, shown, family.documentation))
    yield table(("Metric", "Type", "Labels", "Meaning"), found)
    yield "## Values of labels"
    words = {
        "`condition` of `chronovisor_part_condition`": Condition,
        "`condition` of `chronovisor_net_ports`": PortCondition,
        "`state` of `chronovisor_clock_state`": ClockState,
        "`owner`": Owner,
        "`phase`": Phase,
        "`state` of `chronovisor_world_state`": State,
    }
    values: dict[str, Iterable[str]] = {**words, "`direction`": ("received", "sent")}
    values["`part` of `chronovisor_net_steps_total`"] = PARTS
    values["`reason`"] = REASONS
    values["`type`"] = MessageCounters.model_fields
    rows = [(name, ", ".join(f"`{one}`" for one in those)) for name, those in values.items()]
    yield table(("Label", "Values"), rows)


# One of everything, so that every metric has a value; the values themselves are not shown.
_STORE = SimpleNamespace(revision=1, alarms=())
_HEALTH = Health(
    condition=Condition.OK,
    version="",
    pid=1,
    uptime_s=1.0,
    store_revision=1,
    parts=(Part(name="clock", condition=Condition.OK),),
)


def _world() -> World:
    return World(
        name="ptp4l", state=State.RUNNING, reason="", argv=("ptp4l",), wanted_generation=""
    )


def _net() -> Figures:
    return Figures(ports=dict.fromkeys(PortCondition, 0))


def _clock() -> ClockStatus:
    filled = {
        "offset": _example(Offset),
        "grandmaster": _example(Grandmaster),
        "ports": (_port(),),
        "engine": _example(EngineStatus),
        "system_clock": _example(SystemClockOwner, owner=Owner.PTP, phase=Phase.FOLLOWING),
        "ntp": _example(Ntp, servers=(_example(NtpServer, name=""),)),
        "state": ClockState.TRACKING,
        "notices": (),
        "mean_path_delay_ns": 0.0,
        "frequency_ppb": 0.0,
    }
    return cast(ClockStatus, _example(ClockStatus, **filled))


def _port() -> Port:
    counters = _counters()
    return cast(Port, _example(Port, device="", state="", received=counters, sent=counters))


def _counters() -> MessageCounters:
    return cast(MessageCounters, _example(MessageCounters))


def _example(model: Any, **given: Any) -> Any:
    """Return a model with zero in every field that is not given, whatever its type."""
    return model.model_construct(**dict.fromkeys(model.model_fields, 0) | given)
