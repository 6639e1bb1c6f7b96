"""From settings to rules and set elements, as a table."""

from typing import Any

import pytest

from chronovisor.net.firewall.plan import merged
from chronovisor.net.firewall.rules import Part
from chronovisor.net.firewall.text import part_text
from chronovisor.net.firewall.wanted import Wanted
from chronovisor.net.intent import build

NETWORK = {
    "subnets": [
        {"prefix": "10.0.0.0/16", "gateway": "10.0.0.1", "dns_servers": ["10.0.0.1"]},
        {"prefix": "2001:db8::/64", "gateway": "2001:db8::1", "dns_servers": ["2001:db8::53"]},
    ]
}
PORT = {
    "device": "tap1",
    "mac": "02:00:00:00:00:01",
    "network": "lan",
    "addresses": ["10.0.0.2", "2001:db8::2"],
    "security_groups": ["web"],
}
WAYS = {"direction": "ingress", "family": "ipv4"}


def values(rules: list[dict[str, Any]], **port: Any) -> dict[str, Any]:
    """Return settings with one port in the group `web` of some rules, and the group `db`."""
    return {
        "host/net/networks/lan": NETWORK,
        "host/net/security_groups/web": {"rules": rules},
        "host/net/security_groups/db": {"members": ["192.0.2.1", "192.0.2.128/25"]},
        "host/net/ports/vm1": PORT | port,
    }


def lines(found: dict[str, Any]) -> list[str]:
    """Return what stands in nftables for settings, without digests."""
    intent = build(found)
    assert not intent.refused, intent.refused
    whole: Part = merged(Wanted.of(intent).parts.values())
    return [line.rpartition(" comment ")[0] or line for line in part_text(whole).splitlines()]


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ({}, ["meta nfproto ipv4 accept"]),
        ({"family": "ipv6"}, ["meta nfproto ipv6 accept"]),
        ({"protocol": "tcp"}, ["meta nfproto ipv4 meta l4proto tcp accept"]),
        (
            {"protocol": "udp", "port_min": 5, "port_max": 9},
            ["meta nfproto ipv4 meta l4proto udp th dport 5-9 accept"],
        ),
        (
            {"protocol": "sctp", "port_min": 5, "port_max": 5, "remote_prefix": "10.9.0.0/16"},
            ["ip saddr 10.9.0.0/16 meta l4proto sctp th dport 5 accept"],
        ),
        ({"remote_prefix": "192.0.2.7/32"}, ["ip saddr 192.0.2.7 accept"]),
        ({"remote_prefix": "0.0.0.0/0"}, ["meta nfproto ipv4 accept"]),
        (
            {"protocol": "icmp", "icmp_type": 3, "icmp_code": 4},
            ["meta nfproto ipv4 meta l4proto icmp icmp type 3 icmp code 4 accept"],
        ),
        (
            {"family": "ipv6", "protocol": "icmp", "icmp_type": 128},
            ["meta nfproto ipv6 meta l4proto ipv6-icmp icmpv6 type 128 accept"],
        ),
        (
            {"remote_group": "db"},
            ["ip saddr @members4-db accept", "ip saddr 192.0.2.128/25 accept"],
        ),
        ({"remote_group": "db", "family": "ipv6"}, ["ip6 saddr @members6-db accept"]),
        ({"remote_group": "nobody"}, []),
    ],
)
def test_a_rule_of_a_group(words: dict[str, Any], expected: list[str]) -> None:
    prefix = "add rule inet chronovisor group-to-web "
    found = lines(values([WAYS | words]))
    assert [one.removeprefix(prefix) for one in found if one.startswith(prefix)] == expected
    assert not any("group-from-web " in one and "rule" in one for one in found)


def test_egress_rules_look_at_where_a_packet_goes() -> None:
    found = lines(values([{"direction": "egress", "remote_prefix": "192.0.2.0/24"}]))
    assert "add rule inet chronovisor group-from-web ip daddr 192.0.2.0/24 accept" in found


def test_elements_of_a_port() -> None:
    found = lines(values([]))
    elements = [one for one in found if one.startswith("add element")]
    assert elements == [
        'add element arp chronovisor claimed { "tap1" }',
        'add element arp chronovisor guard { "tap1" . 02:00:00:00:00:01 . 0.0.0.0 }',
        'add element arp chronovisor guard { "tap1" . 02:00:00:00:00:01 . 10.0.0.2 }',
        'add element inet chronovisor claimed { "tap1" }',
        'add element inet chronovisor dns4 { "tap1" . 10.0.0.1 }',
        'add element inet chronovisor from_vm { "tap1" : jump from-vm1 }',
        'add element inet chronovisor guard4 { "tap1" . 02:00:00:00:00:01 . 10.0.0.2 }',
        'add element inet chronovisor guard6 { "tap1" . 02:00:00:00:00:01 . 2001:db8::2 }',
        'add element inet chronovisor macs { "tap1" . 02:00:00:00:00:01 }',
        'add element inet chronovisor targets { "tap1" . 0x20010db8000000000000000000000002 }',
        'add element inet chronovisor to_vm { "tap1" : jump to-vm1 }',
    ]


def test_the_members_of_a_remote_group_are_elements() -> None:
    settings = values([WAYS | {"remote_group": "db"}], security_groups=["web", "db"])
    settings["host/net/ports/vm1"]["allowed_address_pairs"] = [
        {"prefix": "10.0.0.99"},
        {"prefix": "10.0.9.0/24"},
    ]
    members = [one for one in lines(settings) if "element inet chronovisor members4-db" in one]
    assert [one.split("{ ")[1] for one in members] == ["10.0.0.2 }", "10.0.0.99 }", "192.0.2.1 }"]


def test_nobody_keeps_sets_of_a_group_that_no_rule_names() -> None:
    assert not any("members" in one for one in lines(values([], security_groups=["web", "db"])))


@pytest.mark.parametrize(
    ("pair", "expected"),
    [
        (
            {"prefix": "10.0.9.0/24"},
            [
                "arp chronovisor guard-vm1 ether saddr 02:00:00:00:00:01"
                " arp saddr ether 02:00:00:00:00:01 arp saddr ip 10.0.9.0/24 accept",
                "inet chronovisor guard-vm1 ether saddr 02:00:00:00:00:01"
                " ip saddr 10.0.9.0/24 accept",
            ],
        ),
        (
            {"prefix": "2001:db8:1::/48", "mac": "02:00:00:00:00:99"},
            [
                "inet chronovisor guard-vm1 ether saddr 02:00:00:00:00:99"
                " ip6 saddr 2001:db8:1::/48 accept"
            ],
        ),
        ({"prefix": "10.0.0.99"}, []),
    ],
)
def test_prefixes_that_a_port_may_send_from_are_rules(
    pair: dict[str, Any], expected: list[str]
) -> None:
    found = lines(values([], allowed_address_pairs=[pair]))
    rules = sorted(one.removeprefix("add rule ") for one in found if "add rule" in one)
    assert [one for one in rules if "guard-" in one] == expected


def test_port_security_off_is_elements_alone() -> None:
    found = lines(values([], port_security=False))
    assert 'add element inet chronovisor from_vm { "tap1" : accept }' in found
    assert 'add element arp chronovisor unguarded { "tap1" }' in found
    assert not any("guard4" in one or "vm1" in one for one in found)


def test_a_port_is_stateless_when_all_its_groups_are() -> None:
    settings = values([], security_groups=["web", "db"])
    settings["host/net/security_groups/web"]["stateful"] = False
    assert not any("stateless" in one for one in lines(settings))
    settings["host/net/security_groups/db"]["stateful"] = False
    assert 'add element inet chronovisor stateless { "tap1" }' in lines(settings)


@pytest.mark.parametrize("broken", [{"enabled": False}, {"network": "missing"}])
def test_a_port_that_does_not_hold_claims_its_device_and_no_more(broken: dict[str, Any]) -> None:
    settings = values([])
    settings["host/net/ports/vm1"] |= broken
    whole = merged(Wanted.of(build(settings)).parts.values())
    found = [line for line in part_text(whole).splitlines() if "tap1" in line]
    assert found == [
        'add element arp chronovisor claimed { "tap1" }',
        'add element inet chronovisor claimed { "tap1" }',
    ]


def test_a_refused_device_of_the_host_stays_open() -> None:
    settings = values([], device="lo")
    whole = merged(Wanted.of(build(settings)).parts.values())
    assert '"lo"' not in part_text(whole)
