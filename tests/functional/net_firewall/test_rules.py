"""Security groups judge real traffic between VMs, in both directions, for every kind of rule."""

import socket
import struct
from typing import Any

import pytest

from firewalled_hosts import METADATA4, METADATA6, Vm, arrived, inside, run

MARK_PORT = 9999
MARKS = [
    {
        "direction": "ingress",
        "family": family,
        "protocol": "udp",
        "port_min": 9999,
        "port_max": 9999,
    }
    for family in ("ipv4", "ipv6")
]


def passes(sender: Vm, receiver: Vm, port: int, version: int = 4) -> bool:
    """Return whether a datagram to a port arrives; a later one to an open port shows when."""
    one, other = (
        (sender.address4, receiver.address4)
        if version == 4
        else (sender.address6, receiver.address6)
    )
    judged, marked = receiver.udp(other, port), receiver.udp(other, MARK_PORT)
    out = sender.udp(one)
    out.sendto(b"judged", (other, port))
    out.sendto(b"mark", (other, MARK_PORT))
    assert marked.recv(100) == b"mark"
    found = arrived(judged)
    for each in (judged, marked, out):
        each.close()
    return found == b"judged"


def rule(**words: Any) -> dict[str, Any]:
    """Return a rule for what comes to a VM by UDP, with some words changed."""
    return {"direction": "ingress", "family": "ipv4", "protocol": "udp", **words}


@pytest.mark.parametrize(
    ("rules", "port", "version", "expected"),
    [
        ([], 53, 4, False),
        ([rule()], 53, 4, True),
        ([rule(protocol=None)], 53, 4, True),
        ([rule(protocol=None)], 53, 6, False),
        ([rule(family="ipv6")], 53, 6, True),
        ([rule(protocol="tcp")], 53, 4, False),
        ([rule(port_min=50, port_max=53)], 53, 4, True),
        ([rule(port_min=53, port_max=60)], 53, 4, True),
        ([rule(port_min=54, port_max=60)], 53, 4, False),
        ([rule(port_min=53, port_max=53)], 53, 4, True),
        ([rule(remote_prefix="10.0.0.11/32")], 53, 4, True),
        ([rule(remote_prefix="10.0.0.8/29")], 53, 4, True),
        ([rule(remote_prefix="10.0.0.16/29")], 53, 4, False),
        ([rule(remote_prefix="0.0.0.0/0")], 53, 4, True),
        ([rule(family="ipv6", remote_prefix="2001:db8::10/127")], 53, 6, True),
        ([rule(family="ipv6", remote_prefix="2001:db8:1::/48")], 53, 6, False),
        ([rule(remote_group="friends")], 53, 4, True),
        ([rule(family="ipv6", remote_group="friends")], 53, 6, True),
        ([rule(remote_group="strangers")], 53, 4, False),
        ([rule(remote_group="elsewhere")], 53, 4, True),
    ],
)
def test_what_comes_to_a_vm_is_judged_by_its_groups(
    site: Any, rules: list[dict[str, Any]], port: int, version: int, expected: bool
) -> None:
    site.group("friends", [])
    site.group("strangers", [])
    site.group("elsewhere", [], members=["192.0.2.1/32", "10.0.0.8/30"])
    site.group("judging", [*MARKS, *rules])
    site.port(site.a, "open", "friends")
    site.port(site.b, "judging")
    site.sync()
    assert passes(site.a, site.b, port, version) is expected


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ({}, True),
        ({"remote_prefix": "10.0.0.12/32"}, True),
        ({"remote_prefix": "10.0.0.13/32"}, False),
        ({"port_min": 1, "port_max": 52}, False),
    ],
)
def test_what_a_vm_sends_is_judged_by_its_groups(
    site: Any, words: dict[str, Any], expected: bool
) -> None:
    judged = rule(direction="egress", **words)
    site.group("judging", [judged, *({**one, "direction": "egress"} for one in MARKS)])
    site.port(site.a, "judging")
    site.sync()
    assert passes(site.a, site.b, 53) is expected


def echo(vm: Vm, version: int) -> socket.socket:
    """Return a socket for ICMP echo in a VM."""
    family, protocol = (socket.AF_INET, 1) if version == 4 else (socket.AF_INET6, 58)
    return vm.open(family, socket.SOCK_RAW, protocol)


@pytest.mark.parametrize(
    ("version", "kind", "asked", "expected"),
    [
        (4, 8, None, True),
        (4, 8, 0, True),
        (4, 8, 1, False),
        (4, 13, None, False),
        (6, 128, None, True),
        (6, 129, None, False),
    ],
)
def test_icmp_is_judged_by_type_and_code(
    site: Any, version: int, kind: int, asked: int | None, expected: bool
) -> None:
    family = "ipv4" if version == 4 else "ipv6"
    judged = {"direction": "ingress", "family": family, "protocol": "icmp", "icmp_type": kind}
    site.group("judging", [*MARKS, judged | ({} if asked is None else {"icmp_code": asked})])
    site.port(site.b, "judging")
    site.sync()
    out, seen = echo(site.a, version), echo(site.b, version)
    target = site.b.address4 if version == 4 else site.b.address6
    body = struct.pack(">HH", 77, 1) + b"judged"
    head = struct.pack(">BB", 8 if version == 4 else 128, 0)
    total = 0
    if version == 4:
        words = struct.unpack(">7H", head + b"\0\0" + body)
        total = ~(sum(words) % 0xFFFF) & 0xFFFF
    out.sendto(head + struct.pack(">H", total) + body, (target, 0))
    marked = site.b.udp(target, MARK_PORT)
    site.a.udp(site.a.address4 if version == 4 else site.a.address6).sendto(
        b"mark", (target, MARK_PORT)
    )
    assert marked.recv(10) == b"mark"
    found: list[bytes] = []
    while (got := arrived(seen)) is not None:
        found.append(got)
    assert any(b"judged" in one for one in found) is expected


def test_answers_to_what_a_vm_began_come_in(site: Any) -> None:
    site.port(site.a, "quiet")
    site.sync()
    one, other = site.a.udp(site.a.address4), site.b.udp(site.b.address4, 53)
    one.sendto(b"question", (site.b.address4, 53))
    _, back = other.recvfrom(100)
    other.sendto(b"answer", back)
    assert one.recv(100) == b"answer"


def test_stateless_groups_judge_every_packet(site: Any) -> None:
    both = [rule(direction="egress"), *MARKS]
    site.group("judging", both, stateful=False)
    site.port(site.a, "judging")
    site.sync()
    one, other = site.a.udp(site.a.address4), site.b.udp(site.b.address4, 53)
    marked = site.a.udp(site.a.address4, MARK_PORT)
    one.sendto(b"question", (site.b.address4, 53))
    _, back = other.recvfrom(100)
    other.sendto(b"answer", back)
    other.sendto(b"mark", (site.a.address4, MARK_PORT))
    assert marked.recv(10) == b"mark"
    assert arrived(one) is None
    site.group("judging", [*both, rule(port_min=back[1], port_max=back[1])], stateful=False)
    site.change()
    other.sendto(b"answer", back)
    assert one.recv(100) == b"answer"


def test_without_port_security_everything_passes_and_any_source_is_believed(site: Any) -> None:
    site.port(site.b, port_security=False)
    site.sync()
    assert passes(site.a, site.b, 53)
    with inside(site.b.namespace):
        run("ip", "address", "add", "192.0.2.7/32", "dev", "eth0")
    seen = site.a.udp(site.a.address4, 53)
    site.b.udp("192.0.2.7").sendto(b"as another", (site.a.address4, 53))
    assert seen.recv(100) == b"as another"


@pytest.mark.parametrize("prefix", ["10.0.7.7/32", "10.0.7.0/24", "0.0.0.0/0"])
def test_allowed_address_pairs_may_be_sent_from(site: Any, prefix: str) -> None:
    site.port(site.a, "open", allowed_address_pairs=[{"prefix": prefix}])
    site.sync()
    with inside(site.a.namespace):
        run("ip", "address", "add", "10.0.7.7/32", "dev", "eth0")
    seen = site.b.udp(site.b.address4, 53)
    site.a.udp("10.0.7.7").sendto(b"from the pair", (site.b.address4, 53))
    assert seen.recv(100) == b"from the pair"


def test_a_vm_reaches_of_the_host_only_its_services(site: Any) -> None:
    site.sync()
    judged = site.host.open(socket.AF_INET, socket.SOCK_DGRAM)
    judged.bind(("0.0.0.0", 5000))
    names = site.host.open(socket.AF_INET, socket.SOCK_DGRAM)
    names.bind(("0.0.0.0", 53))
    out = site.a.udp(site.a.address4)
    out.sendto(b"closed", ("10.0.0.1", 5000))
    out.sendto(b"name?", ("10.0.0.1", 53))
    question, back = names.recvfrom(100)
    assert question == b"name?"
    assert arrived(judged) is None
    names.sendto(b"name!", back)
    assert out.recv(100) == b"name!"


@pytest.mark.parametrize(("address", "version"), [(METADATA4, 4), (METADATA6, 6)])
def test_a_vm_reaches_the_metadata_service(site: Any, address: str, version: int) -> None:
    site.sync()
    family = socket.AF_INET if version == 4 else socket.AF_INET6
    service = site.host.open(family, socket.SOCK_STREAM)
    service.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    service.bind(("" if version == 4 else "::", 80))
    service.listen()
    guest = site.a.open(family, socket.SOCK_STREAM)
    scope = 0
    if version == 6:
        with inside(site.a.namespace):
            scope = socket.if_nametoindex("eth0")
    guest.connect((address, 80) if version == 4 else (address, 80, 0, scope))
    accepted, _ = service.accept()
    with accepted:
        accepted.sendall(b"instance-id")
        assert guest.recv(100) == b"instance-id"


def test_a_member_that_joins_and_leaves_changes_only_a_set(site: Any) -> None:
    site.group("friends", [])
    site.group("judging", [*MARKS, rule(remote_group="friends")])
    site.port(site.b, "judging")
    site.sync()
    assert not passes(site.a, site.b, 53)
    site.port(site.a, "open", "friends")
    actions = site.firewall.change(site.intent)
    assert any("members4-friends" in str(one) for one in actions)
    assert not any("chain inet chronovisor group" in str(one) for one in actions)
    assert passes(site.a, site.b, 53)
    site.port(site.a, "open")
    site.change()
    assert not passes(site.a, site.b, 53)
