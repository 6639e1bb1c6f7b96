"""Which tracked connections the rules allow, as a table; and which a change may end."""

from ipaddress import ip_address
from typing import Any

import pytest

from chronovisor.net.firewall.flows import Flow, Judge, affected, refused
from chronovisor.net.intent import Intent, build

NETWORK = {
    "subnets": [
        {"prefix": "10.0.0.0/16", "gateway": "10.0.0.1"},
        {"prefix": "2001:db8::/64", "gateway": "2001:db8::1"},
    ]
}


def _port(number: int, *groups: str, **more: Any) -> dict[str, Any]:
    return {
        "device": f"tap{number}",
        "mac": f"02:00:00:00:00:{number:02x}",
        "network": "lan",
        "addresses": [f"10.0.0.{number}", f"2001:db8::{number}"],
        "security_groups": list(groups),
        **more,
    }


VALUES: dict[str, Any] = {
    "host/net/networks/lan": NETWORK,
    "host/net/security_groups/out": {"rules": [{"direction": "egress"}]},
    "host/net/security_groups/web": {
        "rules": [
            {"direction": "ingress", "protocol": "tcp", "port_min": 80, "port_max": 90},
            {"direction": "ingress", "protocol": "tcp", "remote_group": "db"},
            {"direction": "ingress", "protocol": "udp", "remote_prefix": "192.0.2.0/24"},
            {"direction": "ingress", "protocol": "icmp", "icmp_type": 8, "icmp_code": 0},
            {"direction": "ingress", "family": "ipv6", "protocol": "icmp", "icmp_type": 128},
        ]
    },
    "host/net/security_groups/db": {"members": ["192.0.2.9", "198.51.100.0/24"]},
    "host/net/ports/client": _port(2, "out"),
    "host/net/ports/web": _port(
        3, "web", allowed_address_pairs=[{"prefix": "10.0.9.9"}, {"prefix": "10.0.8.0/24"}]
    ),
    "host/net/ports/db": _port(4, "db", "out"),
    "host/net/ports/free": _port(5, port_security=False),
}


def intent(**changes: Any) -> Intent:
    """Return the intent of `VALUES`, with groups or ports changed by key (`_` stands for `/`)."""
    values = dict(VALUES)
    for key, value in changes.items():
        values[f"host/net/{key.replace('__', '/')}"] = value
    built = build(values)
    assert not built.refused, built.refused
    return built


def flow(source: str, target: str, protocol: int, port: int = 0, **more: Any) -> Flow:
    """Return a flow from port 40000."""
    return Flow(ip_address(source), ip_address(target), protocol, 40000, port, **more)


@pytest.mark.parametrize(
    ("judged", "allowed"),
    [
        (flow("10.0.0.2", "10.0.0.3", 6, 80), True),
        (flow("10.0.0.2", "10.0.0.3", 6, 90), True),
        (flow("10.0.0.2", "10.0.0.3", 6, 91), False),
        (flow("10.0.0.2", "10.0.0.3", 17, 80), False),
        (flow("10.0.0.4", "10.0.0.3", 6, 22), True),
        (flow("192.0.2.9", "10.0.0.3", 6, 22), True),
        (flow("198.51.100.7", "10.0.0.3", 6, 22), True),
        (flow("192.0.2.10", "10.0.0.3", 6, 22), False),
        (flow("192.0.2.10", "10.0.0.3", 17, 22), True),
        (flow("10.0.0.2", "10.0.0.3", 1, icmp_type=8), True),
        (flow("10.0.0.2", "10.0.0.3", 1, icmp_type=8, icmp_code=1), False),
        (flow("10.0.0.2", "10.0.0.3", 1, icmp_type=13), False),
        (flow("2001:db8::ff", "2001:db8::3", 58, icmp_type=128), True),
        (flow("2001:db8::2", "2001:db8::3", 58, icmp_type=128), False),
        (flow("10.0.0.3", "192.0.2.1", 6, 80), False),
        (flow("10.0.0.2", "192.0.2.1", 6, 80), True),
        (flow("192.0.2.1", "10.0.9.9", 6, 80), True),
        (flow("192.0.2.1", "10.0.8.7", 6, 81), True),
        (flow("192.0.2.1", "10.0.8.7", 6, 22), False),
        (flow("192.0.2.1", "10.0.0.5", 6, 22), True),
        (flow("10.0.0.5", "10.0.0.3", 6, 22), False),
        (flow("192.0.2.1", "192.0.2.2", 6, 22), True),
        (flow("10.0.0.3", "10.0.0.1", 17, 53), True),
        (flow("10.0.0.3", "169.254.169.254", 6, 80), True),
        (flow("fe80::3", "fe80::1", 6, 80), True),
        (flow("10.0.0.3", "192.0.2.1", 6, 80, expected=True), True),
        (Flow(ip_address("10.0.0.1"), ip_address("10.0.0.3"), 17, 67, 68), True),
        (Flow(ip_address("10.0.0.1"), ip_address("10.0.0.3"), 17, 67, 69), False),
    ],
)
def test_a_flow(judged: Flow, allowed: bool) -> None:
    assert Judge(intent()).allows(judged) is allowed
    assert refused(intent(), [judged]) == ([] if allowed else [judged])


def test_the_rule_that_decides_is_named() -> None:
    one, other = Judge(intent()).reasons(flow("10.0.0.4", "10.0.0.3", 6, 22))
    assert (one.port, one.words) == ("db", "rule 0 of out")
    assert (other.port, other.words, other.rule) == ("web", "rule 1 of web", 1)
    (none,) = Judge(intent()).reasons(flow("192.0.2.77", "10.0.0.3", 6, 22))
    assert none.words == "no ingress rule of its groups matches"


def _rules(*rules: dict[str, Any]) -> dict[str, Any]:
    return {"rules": list(rules)}


@pytest.mark.parametrize(
    ("changes", "ports", "groups", "expected"),
    [
        ({}, [], [], set()),
        ({"ports__client": _port(2)}, ["client"], [], {"10.0.0.2", "2001:db8::2"}),
        ({"ports__web": _port(3)}, ["web"], [], None),
        (
            {"security_groups__out": _rules()},
            [],
            ["out"],
            {"10.0.0.2", "2001:db8::2", "10.0.0.4", "2001:db8::4"},
        ),
        (
            {"security_groups__out": _rules({"direction": "egress"}, {"direction": "ingress"})},
            [],
            ["out"],
            set(),
        ),
        (
            {"security_groups__db": {"members": ["198.51.100.0/24"]}},
            [],
            ["db"],
            {"10.0.0.4", "2001:db8::4", "192.0.2.9"},
        ),
        ({"security_groups__db": {"members": ["192.0.2.9"]}}, [], ["db"], None),
        ({"security_groups__new": _rules()}, [], ["new"], set()),
    ],
)
def test_whose_flows_a_change_may_end(
    changes: dict[str, Any], ports: list[str], groups: list[str], expected: set[str] | None
) -> None:
    found = affected(intent(), intent(**changes), ports, groups)
    assert (None if found is None else {str(one) for one in found}) == expected
