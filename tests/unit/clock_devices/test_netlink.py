"""Answers of the kernel, read by hand: ethtool's time stamping, links, addresses, link modes."""

import contextlib
import random
import struct
from collections.abc import Callable

import pytest

from chronovisor.clock.devices import links, management, netlink, stamping
from chronovisor.clock.devices.netlink import attribute, nested
from chronovisor.clock.preflight import frames, measure, stamps
from chronovisor.errors import ProtocolError


def bits(value: int, size: int = 32) -> bytes:
    words = struct.pack("=I", value) if size <= 32 else struct.pack("=2I", value, 0)
    return attribute(1, b"") + attribute(2, struct.pack("=I", size)) + attribute(4, words)


def tsinfo(phc: int = 3) -> bytes:
    return b"".join(
        (
            nested(2, bits(0b1111111 | 1 << 7)),
            nested(3, bits(0b11)),
            nested(4, bits(1 | 1 << 12)),
            attribute(5, struct.pack("=i", phc)),
        )
    )


def test_time_stamping_by_name() -> None:
    found = stamping.read(netlink.attributes(tsinfo()))
    assert found.capabilities == stamping.CAPABILITIES
    assert found.tx_types == ("off", "on")
    assert found.rx_filters == ("none", "ptpv2-event")
    assert found.phc_index == 3
    assert found.hardware
    assert found.software


def test_no_clock_is_no_hardware_stamps() -> None:
    found = stamping.read(netlink.attributes(tsinfo(-1)))
    assert found.phc_index is None
    assert not found.hardware
    assert stamping.read({}) == stamping.Stamping()


def test_a_bit_without_a_name_is_shown_by_its_number() -> None:
    assert stamping.named(1 << 40 | 1, ("a",)) == ("a", "bit-40")


@pytest.mark.parametrize(
    "data", [b"\x02\0\1\0", b"\x09\0\1\0abcd", b"\x08\0\1", bytes(4)], ids=repr
)
def test_attributes_that_are_not_whole_are_no_attributes(data: bytes) -> None:
    with pytest.raises(ProtocolError, match="netlink: "):
        netlink.attributes(data)


def link_body(*inner: bytes, index: int = 2, flags: int = 0x41, kind: int = 1) -> bytes:
    return struct.pack("=BxHiII", 0, kind, index, flags, 0) + b"".join(inner)


def test_links_with_what_they_rest_on() -> None:
    kinds = {
        1: link_body(attribute(3, b"eth0\0"), attribute(10, struct.pack("=I", 3)), index=1),
        2: link_body(attribute(3, b"eth1\0"), attribute(10, struct.pack("=I", 3)), index=2),
        3: link_body(attribute(3, b"bond0\0"), nested(18, attribute(1, b"bond\0")), index=3),
        4: link_body(
            attribute(3, b"bond0.7\0"),
            attribute(5, struct.pack("=I", 3)),
            nested(18, attribute(1, b"vlan\0"), nested(2, attribute(1, struct.pack("=H", 7)))),
            index=4,
        ),
        5: link_body(attribute(3, b"lo\0"), index=5, kind=772),
        6: link_body(
            attribute(3, b"mac0\0"),
            attribute(5, struct.pack("=I", 1)),
            attribute(37, struct.pack("=i", 0)),
            index=6,
        ),
    }
    known = {index: links.read(body) for index, body in kinds.items()}
    assert [one.name for one in links.grounds(known, 4)] == ["bond0", "eth0", "eth1"]
    assert known[4].vlan_id == 7
    assert [one.name for one in links.members(known, 3)] == ["eth0", "eth1"]
    assert known[5].loopback
    assert known[6].lower is None, "an index of another namespace"
    reasons = management.reasons(known, [], ["bond0.7"], [])
    assert set(reasons) == {"bond0.7", "bond0", "eth0", "eth1"}


def test_links_that_rest_on_each_other_end() -> None:
    one = link_body(attribute(3, b"a\0"), attribute(5, struct.pack("=I", 2)), index=1)
    two = link_body(attribute(3, b"b\0"), attribute(5, struct.pack("=I", 1)), index=2)
    known = {1: links.read(one), 2: links.read(two)}
    assert [one.name for one in links.grounds(known, 1)] == ["b"]


READERS: dict[str, tuple[bytes, Callable[[bytes], object]]] = {
    "tsinfo": (tsinfo(), lambda data: stamping.read(netlink.attributes(data))),
    "link": (
        link_body(
            attribute(3, b"bond0.7\0"),
            attribute(5, struct.pack("=I", 3)),
            nested(18, attribute(1, b"vlan\0"), nested(2, attribute(1, struct.pack("=H", 7)))),
        ),
        links.read,
    ),
    "address": (
        struct.pack("=BBBBi", 2, 24, 0, 0, 4) + attribute(1, bytes(4)),
        management.read_address,
    ),
    "link mode": (
        attribute(5, struct.pack("=I", 10000)) + attribute(6, b"\1"),
        lambda data: measure.read_link_mode(netlink.attributes(data)),
    ),
    "messages": (
        struct.pack("=IHHII", 20, 16, 0, 1, 0) + b"abcd",
        lambda data: list(netlink.messages(data)),
    ),
    "ptp": (frames.delay_request(bytes(6), 1)[14:], lambda data: frames.message(0x88F7, data)),
    "ptp in IPv4": (
        b"\x45" + bytes(27) + frames.delay_request(bytes(6), 1)[14:],
        lambda data: frames.message(0x0800, data),
    ),
    "lldp": (
        b"\x02\x07\x04abcdef\x04\x03\x05p1\x0a\x02sw\x00\x00",
        frames.neighbour,
    ),
    "stamps": (
        struct.pack("=6q", *range(6)),
        lambda data: stamps.hardware_ns([(1, 37, data)]),
    ),
    "packet number": (
        struct.pack("=IBBBBII", 42, 4, 0, 0, 0, 0, 9),
        lambda data: stamps.packet_number([(263, 16, data)]),
    ),
}


@pytest.mark.parametrize("name", READERS)
def test_every_reader_takes_what_is_right(name: str) -> None:
    good, reader = READERS[name]
    assert reader(good) is not None


@pytest.mark.parametrize("name", READERS)
@pytest.mark.parametrize("seed", range(5))
def test_no_bytes_break_a_reader(name: str, seed: int) -> None:
    good, reader = READERS[name]
    chance = random.Random(f"{name} {seed}")
    for _ in range(300):
        data = bytearray(good)
        for _ in range(chance.randint(1, 5)):
            if data and chance.random() < 0.7:
                data[chance.randrange(len(data))] = chance.randrange(256)
            elif data:
                del data[chance.randrange(len(data)) :]
            else:
                data += chance.randbytes(8)
        with contextlib.suppress(ProtocolError):
            reader(bytes(data))


def test_lldp_neighbour_and_ptp_message() -> None:
    good, _ = READERS["lldp"]
    assert frames.neighbour(good) == frames.Neighbour("61:62:63:64:65:66", "p1", "sw")
    seen = frames.message(0x88F7, frames.delay_request(bytes.fromhex("020000000001"), 5)[14:])
    assert (seen.name, seen.event, seen.domain) == ("DELAY_REQ", True, 127)
    assert seen.transport == "L2"
    with pytest.raises(ProtocolError, match="chassis or port is missing"):
        frames.neighbour(b"\0\0")


ROUTE = (
    "Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT\n"
    "eth0\t00000000\t010200C0\t0003\t0\t0\t0\t00000000\t0\t0\t0\n"
    "eth1\t000200C0\t00000000\t0001\t0\t0\t0\t00FFFFFF\t0\t0\t0\n"
)
ROUTE6 = (
    f"{'0' * 32} 00 {'0' * 32} 00 fe800000000000000000000000000001 00000400 1 0 00000003 eth2\n"
    f"{'0' * 32} 00 {'0' * 32} 00 {'0' * 32} ffffffff 1 0 00200200 lo\n"
)
TCP = (
    "  sl  local_address rem_address   st\n"
    "   0: 0100007F:0016 00000000:0000 0A 0 0\n"
    "   1: 020200C0:0016 010200C0:C350 01 0 0\n"
    "   2: 030200C0:01BB 010200C0:C351 01 0 0\n"
)


def test_default_routes_and_logins_are_read() -> None:
    assert list(management.default_devices(ROUTE, ROUTE6)) == ["eth0", "eth2"]
    assert [str(one) for one in management.ssh_addresses(TCP)] == ["192.0.2.2"]


def test_management_is_default_route_only_address_or_login() -> None:
    from ipaddress import ip_address as ip

    known = {n: links.read(link_body(attribute(3, f"e{n}\0".encode()), index=n)) for n in (1, 2)}
    only = [(1, ip("192.0.2.1"))]
    both = [*only, (2, ip("192.0.2.2"))]
    assert set(management.reasons(known, only, [], [])) == {"e1"}
    assert management.reasons(known, only, [], [], ours=[ip("192.0.2.1")]) == {}
    assert management.reasons(known, both, [], []) == {}
    assert set(management.reasons(known, both, [], [ip("192.0.2.2")])) == {"e2"}
    assert set(management.reasons(known, both, ["e1"], [])) == {"e1"}
