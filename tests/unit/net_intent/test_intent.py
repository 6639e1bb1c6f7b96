"""The host's intent: what clashes is refused by name, the rest holds."""

from typing import Any

import pytest

from chronovisor.net import intent as intents
from chronovisor.net.intent import Intent, build, changed, problems
from chronovisor.net.marks import GATEWAY_MAC

NET = "host/net/networks/net"
DUAL = {
    "subnets": [
        {"prefix": "10.0.0.0/16", "gateway": "10.0.0.1"},
        {"prefix": "2001:db8::/64", "gateway": "fe80::1"},
    ]
}


def port(number: int, **more: object) -> dict[str, Any]:
    return {
        "device": f"tap{number}",
        "mac": f"02:00:00:00:00:{number:02x}",
        "network": "net",
        "addresses": [f"10.0.1.{number}", f"2001:db8::{number}:1"],
    } | more


def values(**ports: object) -> dict[str, object]:
    return {NET: DUAL} | {f"host/net/ports/{name}": value for name, value in ports.items()}


def messages(intent: Intent) -> list[str]:
    return [str(one) for one in problems(intent)]


def test_good_ports_hold() -> None:
    intent = build(values(a=port(1), b=port(2)) | {"host/system/system_time": {}})
    assert sorted(intent.ports) == ["a", "b"]
    assert problems(intent) == []
    assert intent.network(intent.ports["a"]).mtu == 1500
    address = intent.ports["a"].addresses[1]
    assert str(intent.subnet(intent.ports["a"], address).prefix) == "2001:db8::/64"


@pytest.mark.parametrize(
    ("bad", "where", "words"),
    [
        ({"device": "tap1"}, "device", "port a has device tap1"),
        ({"mac": "02:00:00:00:00:01"}, "mac", "port a has mac 02:00:00:00:00:01"),
        ({"addresses": ["10.0.1.1"]}, "addresses[0]", "port a has address 10.0.1.1"),
        ({"addresses": ["10.0.1.2", "10.1.0.9"]}, "addresses[1]", "is outside its network"),
        ({"addresses": ["10.0.0.1"]}, "addresses[0]", "is a gateway"),
        ({"addresses": ["10.0.0.0"]}, "addresses[0]", "is the network address"),
        ({"addresses": ["10.0.255.255"]}, "addresses[0]", "is the broadcast address"),
        ({"addresses": ["2001:db8::"]}, "addresses[0]", "anycast address"),
        ({"network": "none"}, "network", "there is no network none"),
        ({"security_groups": ["none"]}, "security_groups[0]", "there is no security group none"),
        ({"device": "all"}, "device", "cannot be a VM's device"),
        ({"device": ".."}, "device", "cannot be a VM's device"),
        ({"mac": GATEWAY_MAC}, "mac", "the host's end"),
        ({"mac": "nonsense"}, "mac", "should match pattern"),
    ],
)
def test_a_bad_port_is_named_and_the_rest_holds(
    bad: dict[str, object], where: str, words: str
) -> None:
    intent = build(values(a=port(1), b=port(2, **bad), c=port(3)))
    assert sorted(intent.ports) == ["a", "c"]
    (problem,) = problems(intent)
    assert problem.where == f"host/net/ports/b: {where}"
    assert words in problem.message


def test_every_problem_of_a_port_is_told() -> None:
    intent = build(values(a=port(1), b=port(1, security_groups=["x"])))
    assert len(intent.refused["host/net/ports/b"]) == 5


def test_a_gateway_of_another_network_is_no_address_of_a_vm() -> None:
    other = {"subnets": [{"prefix": "10.0.0.0/8", "gateway": "10.0.1.1"}]}
    intent = build(values(a=port(1)) | {"host/net/networks/other": other})
    assert messages(intent) == [
        "host/net/ports/a: addresses[0]: 10.0.1.1 is a gateway, which the host answers for"
    ]


@pytest.mark.parametrize(
    ("prefix", "gateway", "words"),
    [
        ("10.0.0.0/16", "10.0.255.255", "is the broadcast address"),
        ("169.254.0.0/16", "169.254.169.254", "metadata"),
        ("2001:db8::/64", "2001:db8::", "anycast"),
    ],
)
def test_a_bad_gateway_refuses_its_network_and_the_ports_on_it(
    prefix: str, gateway: str, words: str
) -> None:
    bad = {"subnets": [{"prefix": prefix, "gateway": gateway}]}
    one, other = port(1), port(2, network="bad", addresses=[])
    intent = build(values(a=one, b=other) | {"host/net/networks/bad": bad})
    assert list(intent.ports) == ["a"]
    assert words in intent.refused["host/net/networks/bad"][0].message
    assert "host/net/ports/b" in intent.refused


def test_point_to_point_prefixes_use_both_ends() -> None:
    network = {"subnets": [{"prefix": "10.0.0.0/31", "gateway": "10.0.0.0"}]}
    assert (
        problems(build({NET: network, "host/net/ports/a": port(1, addresses=["10.0.0.1"])})) == []
    )


def test_a_rule_of_an_unknown_group_is_a_warning() -> None:
    group = {"rules": [{"direction": "ingress", "remote_group": "gone"}]}
    intent = build(values(a=port(1, security_groups=["g"])) | {"host/net/security_groups/g": group})
    assert list(intent.ports) == ["a"]
    assert "there is no security group gone" in messages(intent)[0]


def test_a_disabled_port_is_not_served_and_keeps_its_claims() -> None:
    intent = build(values(a=port(1, enabled=False), b=port(1)))
    assert (list(intent.ports), list(intent.disabled)) == ([], ["a"])
    assert "host/net/ports/b" in intent.refused


def test_who_is_wired_already_wins_over_the_order_of_ids() -> None:
    assert list(build(values(a=port(1), b=port(1))).ports) == ["a"]
    assert list(build(values(a=port(1), b=port(1)), incumbents=["b"]).ports) == ["b"]


def test_a_newcomer_never_takes_what_a_port_holds() -> None:
    intent = changed(build(values(b=port(1))), {"host/net/ports/a": port(1)})
    assert list(intent.ports) == ["b"]
    after = changed(intent, {"host/net/ports/b": None})
    assert list(after.ports) == ["a"]
    assert problems(after) == []


def test_changes_end_where_a_build_ends() -> None:
    """However it came about, the intent is that of the values."""
    steps: list[dict[str, object]] = [
        values(a=port(1), b=port(2)),
        {"host/net/ports/b": port(1)},
        {"host/net/ports/c": {"device": "x"}},
        {"host/net/security_groups/g": {}},
        {"host/net/ports/d": port(4, security_groups=["g"])},
        {NET: None},
        {NET: DUAL},
        {"host/net/ports/a": None},
        {"host/net/ports/c": port(3)},
        {"host/net/ports/d": port(4, enabled=False, security_groups=["g"])},
        {"host/net/networks/x": {"subnets": []}},
    ]
    whole: dict[str, object] = {}
    intent = Intent()
    for step in steps:
        whole |= step
        intent = changed(intent, step)
        expected = build(whole, incumbents=[*intent.ports, *intent.disabled])
        assert intent == expected


def test_values_may_be_models() -> None:
    models = build(values(a=port(1)))
    again = build({NET: models.networks["net"], "host/net/ports/a": models.ports["a"]})
    assert again == models
    assert intents.problems(again) == []
