"""`visorctl net`, its texts and what it asks of visord."""

from typing import Any, cast

import pytest

from chronovisor.cli import net
from chronovisor.cli.client import Client
from chronovisor.errors import Conflict

ROW = {
    "id": "vm1",
    "device": "tap1",
    "mac": "02:00:00:00:00:01",
    "network": "net",
    "addresses": ["10.5.0.2", "2001:db8::2"],
    "wired": False,
    "problem": "tap1 is in br0",
}


class Store:
    """A visord whose store refuses a new port: with `there` because it has it."""

    def __init__(self, refuses: bool, there: bool) -> None:
        self.refuses, self.there = refuses, there
        self.query: dict[str, Any] = {}

    def get(self, path: str, **query: Any) -> Any:
        assert (path, query) == ("/v1/config", {"prefix": "host/net/ports/vm1"})
        return [{}] if self.there else []

    def call(self, method: str, path: str, body: Any, *, query: dict[str, Any]) -> Any:
        assert (method, path, body) == ("PUT", net.PORTS, {"device": "tap1"})
        self.query = query
        if self.refuses:
            raise Conflict("said by the store")
        return {"revision": 50}


def add(visord: Store) -> Any:
    return net._add(cast(Client, visord), "vm1", {"device": "tap1"}, "")


def test_a_port_is_added_only_where_there_is_none() -> None:
    visord = Store(refuses=False, there=False)
    assert add(visord) == {"revision": 50}
    assert visord.query == {"instance": "vm1", "comment": None, "expected_key_revision": 0}


def test_a_port_that_is_there_stays() -> None:
    with pytest.raises(Conflict, match="there is a port vm1 already") as caught:
        add(Store(refuses=True, there=True))
    assert "visorctl net port set vm1" in (caught.value.hint or "")


def test_what_else_is_in_the_way_is_said() -> None:
    with pytest.raises(Conflict, match="said by the store"):
        add(Store(refuses=True, there=False))


def test_drift_says_that_nothing_is_compared_while_disabled() -> None:
    assert "disabled" in net._drift([], enabled=False)
    assert net._drift([], enabled=True) == "nothing differs"
    row = {"part": "wiring", "action": "set tap1", "reason": "it is down"}
    assert net._drift([row], enabled=True).splitlines()[-1].split()[0] == "wiring"


def test_ports_are_a_table() -> None:
    heads, _, row, other = net._ports([ROW, ROW | {"id": "vm2", "wired": True}]).splitlines()
    assert heads.split() == ["Port", "Device", "MAC", "Network", "Addresses", "Wired", "Problem"]
    assert row.split()[:4] == ["vm1", "tap1", "02:00:00:00:00:01", "net"]
    assert "10.5.0.2, 2001:db8::2" in row
    assert row.endswith("no     tap1 is in br0")
    assert "yes" in other.split()


def test_base_rules_are_for_the_patterns_given(capsys: pytest.CaptureFixture[str]) -> None:
    net.firewall_base(["vnet*", "vm1"])
    said = capsys.readouterr().out
    assert 'iifname "vnet*" counter name unclaimed drop' in said
    assert 'iifname "vm1" counter name unclaimed drop' in said
    assert '"tap*"' not in said
    net.firewall_base(None)
    assert 'iifname "tap*" counter name unclaimed drop' in capsys.readouterr().out
