"""What the net plane says and wants, without a kernel: settings, problems, who goes first."""

import asyncio
from pathlib import Path
from typing import Any, cast

import pytest
from pydantic import ValidationError

from chronovisor.net.firewall import Firewall
from chronovisor.net.intent import Intent
from chronovisor.net.plane import NetPlane
from chronovisor.net.settings import Metadata, VmNetworking
from chronovisor.worlds import Supervisor

NETWORK = {"subnets": [{"prefix": "10.5.0.0/16", "gateway": "10.5.0.1"}]}
PORT = {
    "device": "tap1",
    "mac": "02:00:00:00:00:01",
    "network": "net",
    "addresses": ["10.5.0.2"],
}
VALUES: dict[str, object] = {"host/net/networks/net": NETWORK, "host/net/ports/vm1": PORT}


@pytest.fixture
def plane(tmp_path: Path) -> NetPlane:
    return NetPlane(Supervisor(tmp_path / "worlds"), tmp_path, tmp_path, lambda _, __: None)


def enabled(plane: NetPlane, values: dict[str, object], **settings: Any) -> NetPlane:
    plane.want(values, VmNetworking(enabled=True, **settings), Metadata())
    return plane


def shown(plane: NetPlane) -> list[str]:
    return [str(problem) for problem in plane.problems()]


def test_disabled_there_is_nothing_to_do(plane: NetPlane, tmp_path: Path) -> None:
    plane.want(VALUES, VmNetworking(), Metadata())
    assert not plane.enabled
    assert asyncio.run(plane.plan()) == []
    assert [*tmp_path.iterdir()] == []


def test_a_port_that_clashes_is_named_and_the_other_stays(plane: NetPlane) -> None:
    enabled(plane, {**VALUES, "host/net/ports/vm2": PORT | {"device": "tap2"}})
    assert [*plane.intent.ports] == ["vm1"]
    assert shown(plane) == [
        "host/net/ports/vm2: mac: port vm1 has mac 02:00:00:00:00:01 already",
        "host/net/ports/vm2: addresses[0]: port vm1 has address 10.5.0.2 already",
    ]


def test_whoever_was_first_keeps_what_both_claim(plane: NetPlane) -> None:
    enabled(plane, {"host/net/networks/net": NETWORK, "host/net/ports/vm9": PORT})
    plane.change({"host/net/ports/vm1": PORT})
    assert [*plane.intent.ports] == ["vm9"]
    enabled(plane, {**VALUES, "host/net/ports/vm9": PORT})
    assert [*plane.intent.ports] == ["vm9"]
    plane.change({"host/net/ports/vm9": None})
    assert [*plane.intent.ports] == ["vm1"]


def test_a_device_beyond_the_patterns_is_a_problem(plane: NetPlane) -> None:
    values = {**VALUES, "host/net/ports/vm1": PORT | {"device": "vnet0"}}
    enabled(plane, values)
    (problem,) = shown(plane)
    assert problem.startswith("host/net/ports/vm1: device: vnet0 is like none of tap_patterns")
    assert [*plane.intent.ports] == ["vm1"]
    for patterns in (("tap*", "vnet*"), ("tap*", "vnet0")):
        assert shown(enabled(plane, values, tap_patterns=patterns)) == []
    plane.want(values, VmNetworking(), Metadata())
    assert shown(plane) == []


def test_what_dhcp_cannot_tell_is_a_problem(plane: NetPlane) -> None:
    servers = [f"192.0.2.{number}" for number in range(1, 81)]
    network = {"subnets": [{**NETWORK["subnets"][0], "dns_servers": servers}]}
    enabled(plane, {**VALUES, "host/net/networks/net": network})
    assert "host/net/networks/net: subnets[0].dns_servers" in shown(plane)[0]


@pytest.mark.parametrize("pattern", ["lo", "lo*", "l*", "*", "", "tap/1", "a" * 16, "a" * 15 + "*"])
def test_patterns_that_would_close_the_host_are_none(pattern: str) -> None:
    with pytest.raises(ValidationError):
        VmNetworking(tap_patterns=(pattern,))


class Rules:
    """A firewall that notes what is asked of it."""

    def __init__(self, *, untouched: bool) -> None:
        self.untouched = untouched
        self.done: list[str] = []

    def is_untouched(self) -> bool:
        return self.untouched

    @property
    def was_touched(self) -> bool:
        return not self.untouched

    def change(self, _: Intent) -> list[str]:
        self.done.append("change")
        return []

    def sync(self, _: Intent) -> list[str]:
        self.done.append("sync")
        return ["a rule", "another"]


@pytest.mark.parametrize(("untouched", "done"), [(True, ["change"]), (False, ["sync"])])
def test_rules_that_others_touched_are_all_looked_at(
    plane: NetPlane, untouched: bool, done: list[str]
) -> None:
    rules = Rules(untouched=untouched)
    asyncio.run(plane._keep_rules(cast(Firewall, rules), Intent()))
    assert rules.done == done
    totals = plane.figures().totals
    mended = not untouched
    assert (totals.foreign_changes, totals.rule_changes) == (mended, mended)
    assert totals.steps["firewall"] == 2 * mended
