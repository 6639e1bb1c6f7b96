"""Names, addresses and ip(8) commands of a lab."""

import pytest

from chronovisor.lab import topology
from chronovisor.lab.spec import LabSpec
from chronovisor.lab.topology import (
    Kind,
    belongs_to,
    fabric_commands,
    fabric_rules,
    node_commands,
    nodes,
)


@pytest.mark.parametrize(
    ("lab", "namespace", "belongs"),
    [
        ("a", "cv-a-fabric", True),
        ("a", "cv-a-gm1", True),
        ("a", "cv-a-host12", True),
        ("a", "cv-a-b-host1", False),  # of the lab a-b
        ("a-b", "cv-a-b-host1", True),
        ("a", "cv-a-gm1-host1", False),  # of the lab a-gm1
        ("a-gm1", "cv-a-gm1-host1", True),
        ("a", "cv-a", False),
        ("a", "cv-a-host1x", False),
        ("a", "cv-a-other", False),
        ("a", "xcv-a-host1", False),
    ],
)
def test_a_namespace_belongs_to_one_lab_by_its_name(
    lab: str, namespace: str, belongs: bool
) -> None:
    assert belongs_to(lab, namespace) is belongs


def test_every_namespace_of_a_lab_belongs_to_it() -> None:
    spec = LabSpec("a-b", hosts=12, grandmasters=3)
    names = topology.namespaces(spec)
    assert len(names) == 1 + 3 + 12
    assert all(belongs_to("a-b", name) and not belongs_to("a", name) for name in names)


def test_no_two_nodes_share_an_address() -> None:
    every = nodes(LabSpec(hosts=64, grandmasters=8))
    for what in ("name", "mac", "ipv4", "ipv6", "link_local", "port"):
        assert len({getattr(node, what) for node in every}) == len(every), what


def test_device_names_are_short_enough() -> None:
    every = nodes(LabSpec("a" * 24, hosts=64, grandmasters=8))
    assert all(len(name) <= 15 for node in every for name in (node.port, node.interface))


def test_peer_delay_messages_stay_on_their_cable() -> None:
    rules = fabric_rules(LabSpec(hosts=2))
    assert (
        'elements = { "host1" . "sw1", "sw1" . "host1", "host2" . "sw2", "sw2" . "host2" }' in rules
    )
    assert "elements" not in fabric_rules(LabSpec(hosts=0))


def test_every_cable_ends_at_the_bridge() -> None:
    spec = LabSpec(hosts=2)
    lines = fabric_commands(spec)
    for node in nodes(spec):
        assert f"link set {node.port} master br0 addrgenmode none up" in lines
        made = next(line for line in lines if line.startswith(f"link add {node.port} "))
        assert made.endswith(node.namespace) is (node.kind is not Kind.SWITCH_PORT)


def test_addresses_are_usable_at_once() -> None:
    lines = [line for node in nodes(LabSpec()) for line in node_commands(node)]
    v6 = [line for line in lines if line.startswith("address add f")]
    assert v6
    assert all(line.endswith(" nodad") for line in v6)
