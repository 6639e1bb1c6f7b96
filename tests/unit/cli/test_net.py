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


class Busy:
    """A visord whose store moves on under the first calls."""

    def __init__(self, refusals: int, there: int = 10**6) -> None:
        self.refusals = refusals
        self.there = there
        self.tried: list[dict[str, Any]] = []

    def get(self, path: str, **query: Any) -> Any:
        if path == "/v1/health":
            return {"store_revision": 40 + len(self.tried)}
        assert (path, query) == ("/v1/config", {"prefix": "host/net/ports/vm1"})
        return [{}] if len(self.tried) >= self.there else []

    def call(self, method: str, path: str, body: Any, *, query: dict[str, Any]) -> Any:
        assert (method, path, body) == ("PUT", net.PORTS, {"device": "tap1"})
        self.tried.append(dict(query))
        if len(self.tried) <= self.refusals:
            raise Conflict("the store moved on")
        return {"revision": 50}


def add(visord: Busy) -> Any:
    return net._add(cast(Client, visord), "vm1", {"device": "tap1"}, "")


def test_a_port_is_added_although_the_store_moves() -> None:
    visord = Busy(2)
    assert add(visord) == {"revision": 50}
    assert [one["expected_revision"] for one in visord.tried] == [40, 41, 42]
    assert visord.tried[0] == {"instance": "vm1", "comment": None, "expected_revision": 40}


def test_a_port_that_another_adds_meanwhile_stays() -> None:
    visord = Busy(5, there=1)
    with pytest.raises(Conflict, match="there is a port vm1 already") as caught:
        add(visord)
    assert "visorctl net port set vm1" in (caught.value.hint or "")
    assert len(visord.tried) == 1


def test_it_is_not_tried_for_ever() -> None:
    visord = Busy(10**6)
    with pytest.raises(Conflict, match="the store moved on"):
        add(visord)
    assert len(visord.tried) == net.ATTEMPTS


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
    assert 'iifname "vnet*" drop' in said
    assert 'iifname "vm1" drop' in said
    assert '"tap*"' not in said
    net.firewall_base(None)
    assert 'iifname "tap*" drop' in capsys.readouterr().out
