from collections import Counter
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from chronovisor.clock.state import ClockState
from chronovisor.clock.status import ClockStatus
from chronovisor.config import ConfigStore, Registry, SqliteBackend
from chronovisor.host.health import Condition, Health, Part, worst
from chronovisor.host.metrics import render
from chronovisor.net.figures import Figures, PortCondition, Totals, conditions
from chronovisor.net.intent import build
from chronovisor.net.wiring import PortState
from chronovisor.worlds import State, World
from clock_documents import locked

OK, DEGRADED, FAILED = Condition


@pytest.mark.parametrize(
    ("conditions", "expected"),
    [
        ((), OK),
        ((OK, OK), OK),
        ((OK, DEGRADED), DEGRADED),
        ((FAILED, DEGRADED, OK), FAILED),
        ((DEGRADED, FAILED), FAILED),
    ],
)
def test_the_worst_part_counts(conditions: tuple[Condition, ...], expected: Condition) -> None:
    assert worst(tuple(Part(name="x", condition=one) for one in conditions)) is expected


NET = Figures(
    enabled=True,
    ports={PortCondition.WIRED: 2, PortCondition.REFUSED: 1},
    totals=Totals(Counter(wiring=5), rule_changes=4, rule_changes_s=0.5, foreign_changes=1),
    leases=7,
    dropped={"spoofed": 9, "another release's": 1},
)


def families(base: Path, clock: ClockStatus | None) -> dict[str, dict[tuple[str, ...], float]]:
    """Return each family's samples by the values of their labels, which are sorted."""
    store = ConfigStore(SqliteBackend(base / "config.db"), Registry())
    part = Part(name="clock", condition=DEGRADED, reason='a "reason"\nin two lines')
    health = Health(
        condition=DEGRADED, version="0", pid=1, uptime_s=5.5, store_revision=0, parts=(part,)
    )
    worlds = [World("ptp4l", State.BACKOFF, "why", ("ptp4l",), "g", restarts=3)]
    text = render(clock, worlds, store, health, NET)
    return {
        family.name: {tuple(one.labels.values()): one.value for one in family.samples}
        for family in text_string_to_metric_families(text)
    }


def test_metrics_without_a_clock(tmp_path: Path) -> None:
    found = families(tmp_path, None)
    assert found["chronovisor_uptime_seconds"] == {(): 5.5}
    assert found["chronovisor_world_restarts"] == {("ptp4l",): 3}
    states = found["chronovisor_world_state"]
    assert {labels for labels, value in states.items() if value} == {("backoff", "ptp4l")}
    assert len(states) == len(State)
    parts = found["chronovisor_part_condition"]
    assert {labels for labels, value in parts.items() if value} == {("degraded", "clock")}
    assert not any("clock" in name for name in found)


def test_metrics_of_a_clock_are_in_base_units(tmp_path: Path) -> None:
    found = families(tmp_path, ClockStatus.model_validate(locked()))
    assert found["chronovisor_clock_offset_seconds"][()] == pytest.approx(-123e-9)
    assert found["chronovisor_clock_path_delay_seconds"][()] == pytest.approx(4.5e-6)
    assert found["chronovisor_clock_frequency_ratio"][()] == pytest.approx(-12.5e-6)
    states = found["chronovisor_clock_state"]
    assert {labels for labels, value in states.items() if value} == {("locked",)}
    assert len(states) == len(ClockState)
    assert found["chronovisor_port_state"] == {("eth0", "SLAVE"): 1}
    assert found["chronovisor_port_state_transitions"] == {("eth0",): 2}
    assert found["chronovisor_port_messages"][("eth0", "received", "sync")] == 102


def test_what_is_not_known_is_left_out(tmp_path: Path) -> None:
    nothing = {"offset": None, "mean_path_delay_ns": None, "frequency_ppb": None}
    found = families(tmp_path, ClockStatus.model_validate(locked() | nothing))
    for name in ("offset_seconds", "offset_age_seconds", "path_delay_seconds", "frequency_ratio"):
        assert f"chronovisor_clock_{name}" not in found


def test_metrics_of_the_net_plane(tmp_path: Path) -> None:
    found = families(tmp_path, None)
    assert found["chronovisor_net_enabled"] == {(): 1}
    assert found["chronovisor_net_ports"] == {("wired",): 2, ("refused",): 1}
    steps = {"wiring": 5, "firewall": 0, "dhcp": 0, "metadata": 0}
    assert found["chronovisor_net_steps"] == {(part,): count for part, count in steps.items()}
    assert found["chronovisor_net_firewall_foreign_changes"] == {(): 1}
    assert found["chronovisor_net_dhcp_leases"] == {(): 7}
    dropped = found["chronovisor_net_dropped_packets"]
    assert {labels for labels, count in dropped.items() if count} == {("spoofed",)}
    assert len(dropped) == 5


def test_every_port_is_counted_once() -> None:
    def port(number: int, **more: object) -> dict[str, object]:
        mac = f"02:00:00:00:00:0{number}"
        return {"device": f"tap{number}", "mac": mac, "network": "net", **more}

    subnet = {"prefix": "10.5.0.0/16", "gateway": "10.5.0.1"}
    intent = build(
        {
            "host/net/networks/net": {"subnets": [subnet]},
            **{f"host/net/ports/p{number}": port(number) for number in range(4)},
            "host/net/ports/off": port(5, enabled=False),
            "host/net/ports/twin": port(1),
            "host/net/ports/none": {"device": 7},
        }
    )
    states = {
        "p0": PortState("tap0", wired=True, problem="a foreign route beside ours"),
        "p1": PortState("tap1", problem="tap1 is in br0"),
        "p2": PortState("tap2"),
    }
    assert {str(one): count for one, count in conditions(intent, states).items()} == {
        "wired": 1,
        "faulty": 1,
        "waiting": 2,
        "disabled": 1,
        "refused": 2,
    }
