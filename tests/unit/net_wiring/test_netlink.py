"""The netlink codec: what is packed is unpacked again, what is broken is a ProtocolError."""

import struct
from collections.abc import Callable
from ipaddress import IPv4Address, IPv6Address
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chronovisor.errors import ProtocolError
from chronovisor.net.wiring.events import events
from chronovisor.net.wiring.netlink import message as m
from chronovisor.net.wiring.netlink.address import DeviceAddress
from chronovisor.net.wiring.netlink.link import Link, LinkChange, NewLink
from chronovisor.net.wiring.netlink.message import Message, Refusal
from chronovisor.net.wiring.netlink.neighbour import Neighbour
from chronovisor.net.wiring.netlink.route import Route, leads_to_a_host
from chronovisor.net.wiring.netlink.traffic import Qdisc, Redirect

_indexes = st.integers(1, 2**31 - 1)
_bytes = st.integers(0, 255)
_u32 = st.integers(0, 2**32 - 1)
_settings = st.lists(st.integers(-(2**31), 2**31 - 1), max_size=60).map(tuple)
_macs = st.binary(min_size=6, max_size=6).map(lambda raw: raw.hex(":"))
_names = st.text("abcdefghijklmnopqrstuvwxyz0123456789._-", min_size=1, max_size=15)
_addresses = st.one_of(
    st.integers(0, 2**32 - 1).map(IPv4Address), st.integers(0, 2**128 - 1).map(IPv6Address)
)


@st.composite
def _prefixes(draw: Any) -> tuple[m.Address, int]:
    address = draw(_addresses)
    return address, draw(st.integers(1, address.max_prefixlen))


_MESSAGES: dict[str, st.SearchStrategy[Any]] = {
    "link": st.builds(
        Link,
        index=_indexes,
        name=_names,
        up=st.booleans(),
        mtu=_u32,
        mac=_macs,
        master=_u32,
        kind=st.sampled_from(["", "tun", "veth"]),
        ethernet=st.booleans(),
        ipv4=_settings,
        ipv6=_settings,
        ipv6_mode=_bytes,
    ),
    "link change": st.builds(
        LinkChange,
        index=_indexes,
        up=st.none() | st.booleans(),
        mtu=st.none() | _u32,
        mac=st.none() | _macs,
        ipv4=st.dictionaries(st.integers(1, 60), _u32).map(lambda one: tuple(one.items())),
        ipv6_mode=st.none() | _bytes,
    ),
    "new link": st.builds(NewLink, name=_names, kind=st.sampled_from(["ifb", "veth"])),
    "address": st.builds(
        lambda prefix, **more: DeviceAddress(address=prefix[0], prefix_length=prefix[1], **more),
        _prefixes(),
        index=_indexes,
        flags=_u32,
        scope=_bytes,
        protocol=_bytes,
    ),
    "route": st.builds(
        lambda prefix, **more: Route(destination=prefix[0], prefix_length=prefix[1], **more),
        _prefixes(),
        index=_indexes,
        protocol=_bytes,
        metric=_u32,
        table=st.integers(1, 2**32 - 1),
        scope=_bytes,
        kind=_bytes,
    ),
    "neighbour": st.builds(
        Neighbour,
        index=_indexes,
        address=_addresses,
        mac=_macs,
        state=st.integers(0, 2**16 - 1),
        flags=_bytes,
        protocol=_bytes,
    ),
    "token bucket": st.builds(
        Qdisc,
        index=_indexes,
        kind=st.just("tbf"),
        handle=_u32,
        parent=_u32,
        rate_byte_s=st.integers(0, 2**40),
        limit_byte=_u32,
        burst_byte=_u32,
    ),
    "qdisc": st.builds(
        Qdisc, index=_indexes, kind=st.sampled_from(["clsact", "noqueue"]), handle=_u32
    ),
    "redirect": st.builds(Redirect, index=_indexes, to=_u32),
}

_UNPACK: tuple[Callable[[bytes], object], ...] = (
    Link.unpack,
    LinkChange.unpack,
    NewLink.unpack,
    DeviceAddress.unpack,
    Route.unpack,
    Neighbour.unpack,
    Qdisc.unpack,
    Redirect.unpack,
    leads_to_a_host,
    m.attributes,
    lambda data: list(m.split(data)),
    lambda data: list(events(data)),
    lambda data: m.refusal(Message(m.ERROR, m.ACK_TLVS, 1, 0, data)),
    lambda data: m.refusal(Message(m.ERROR, m.ACK_TLVS | m.CAPPED, 1, 0, data)),
    lambda data: m.refusal(Message(m.DONE, m.ACK_TLVS, 1, 0, data)),
)


@pytest.mark.parametrize("name", _MESSAGES)
@given(data=st.data())
def test_what_is_packed_is_unpacked_again(name: str, data: st.DataObject) -> None:
    one = data.draw(_MESSAGES[name])
    body = one.pack()
    assert len(body) % 4 == 0
    assert type(one).unpack(body) == one


@given(data=st.binary(max_size=200))
def test_hostile_bytes_are_a_protocol_error(data: bytes) -> None:
    for unpack in _UNPACK:
        try:
            unpack(data)
        except ProtocolError:
            continue


@pytest.mark.parametrize("name", _MESSAGES)
@given(data=st.data())
def test_damaged_messages_are_a_protocol_error_or_another_message(
    name: str, data: st.DataObject
) -> None:
    body = bytearray(data.draw(_MESSAGES[name]).pack())
    at = data.draw(st.integers(0, len(body) - 1))
    body[at] = data.draw(_bytes)
    cut = bytes(body[: data.draw(st.integers(0, len(body)))])
    for unpack in _UNPACK:
        try:
            unpack(cut)
        except ProtocolError:
            continue


@given(
    st.lists(
        st.builds(
            Message,
            kind=st.integers(0, 2**16 - 1),
            flags=st.integers(0, 2**16 - 1),
            sequence=_u32,
            port=_u32,
            body=st.binary(max_size=40),
        )
    )
)
def test_a_datagram_is_split_into_its_messages(messages: list[Message]) -> None:
    assert list(m.split(b"".join(one.pack() for one in messages))) == messages


@pytest.mark.parametrize(
    "data",
    [
        b"\0" * 15,
        struct.pack("=IHHII", 12, 2, 0, 0, 0),
        struct.pack("=IHHII", 17, 2, 0, 0, 0),
        struct.pack("=IHHII", 0, 2, 0, 0, 0),
    ],
)
def test_a_length_that_lies_is_refused(data: bytes) -> None:
    with pytest.raises(ProtocolError, match="netlink"):
        list(m.split(data))


@pytest.mark.parametrize("data", [b"\x09\0\1\0abcd", b"\x03\0\1\0", b"\x08\0\1\0abcd\x04"])
def test_an_attribute_whose_length_lies_is_refused(data: bytes) -> None:
    with pytest.raises(ProtocolError, match="netlink"):
        m.attributes(data)


def _error(number: int, flags: int, more: bytes = b"") -> Message:
    return Message(m.ERROR, flags, 7, 0, struct.pack("=i", -number) + more)


def test_a_refusal_carries_the_kernels_words() -> None:
    text = m.attribute(1, b"no such thing\0")
    asked = struct.pack("=IHHII", 22, 24, 5, 7, 0)
    capped = _error(17, m.ACK_TLVS | m.CAPPED, asked + text)
    whole = _error(17, m.ACK_TLVS, asked + b"123456\0\0" + text)
    assert m.refusal(capped) == m.refusal(whole) == Refusal(17, "no such thing")
    assert m.refusal(_error(0, m.CAPPED, asked)) == Refusal(0)
    with pytest.raises(ProtocolError):
        m.refusal(_error(-5, 0))


def test_host_routes_of_the_main_table_are_known_by_their_head() -> None:
    host = Route(IPv4Address("10.0.0.1"), 32, 3)
    assert leads_to_a_host(host.pack())
    assert leads_to_a_host(Route(IPv6Address("::1"), 128, 3).pack())
    assert not leads_to_a_host(Route(IPv4Address("10.0.0.0"), 24, 3).pack())
    assert not leads_to_a_host(Route(IPv4Address("10.0.0.1"), 32, 3, table=255).pack())
    assert not leads_to_a_host(b"")
