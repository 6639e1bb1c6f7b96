"""Trace messages: what is packed is unpacked again, hostile bytes are a ProtocolError."""

import random
import struct
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chronovisor.errors import ProtocolError
from chronovisor.net.trace.follow import Packets, events
from chronovisor.net.trace.message import VERDICTS, Event, Kind, describe
from chronovisor.net.trace.names import RuleText, meaning, parse

_names = st.text("abcdefghijklmnopqrstuvwxyz0123456789-", min_size=1, max_size=20)
_u32 = st.integers(0, 2**32 - 1)
_events = st.builds(
    Event,
    packet=_u32,
    family=st.integers(0, 255),
    table=_names,
    chain=_names,
    kind=st.sampled_from(Kind),
    verdict=st.sampled_from([*VERDICTS.values(), "stolen", "queue"]),
    handle=st.integers(0, 2**64 - 1),
    iif=_u32,
    oif=_u32,
    network=st.binary(max_size=60),
    transport=st.binary(max_size=20),
)
UDP4 = bytes.fromhex("4500001c00004000401100000a0000010a000002")
TCP6 = bytes.fromhex("6000000000140640") + bytes(15) + b"\x01" + bytes(15) + b"\x02"


def datagram(event: Event) -> bytes:
    """Return a message as the kernel sends it."""
    body = event.pack()
    return struct.pack("=IHHII", 16 + len(body), 10 << 8 | 17, 0, 0, 0) + body


@given(_events)
def test_what_is_packed_is_unpacked_again(event: Event) -> None:
    assert Event.unpack(event.pack()) == event
    assert events(datagram(event)) == [event]
    describe(event)


@given(st.binary(max_size=200))
def test_hostile_bytes_are_a_protocol_error(data: bytes) -> None:
    for read in (Event.unpack, events):
        try:
            found: Any = read(data)
        except ProtocolError:
            continue
        for one in found if isinstance(found, list) else [found]:
            describe(one)


@pytest.mark.parametrize("seed", range(4))
def test_damaged_messages_are_a_protocol_error_or_another_event(seed: int) -> None:
    chance = random.Random(seed)
    event = Event(7, 1, "t", "c", Kind.RULE, "jump", "d", 9, 1, 2, UDP4, b"\0\x35\0\x35")
    for _ in range(5000):
        data = bytearray(datagram(event))
        for _ in range(chance.randint(1, 6)):
            data[chance.randrange(len(data))] = chance.randrange(256)
        try:
            found = events(bytes(data[: chance.randint(0, len(data))]))
        except ProtocolError:
            continue
        for one in found:
            describe(one)


@pytest.mark.parametrize(
    ("network", "transport", "words"),
    [
        (UDP4, b"\x00\x35\x04\x00", "udp 10.0.0.1:53 > 10.0.0.2:1024"),
        (TCP6, b"\x00\x50\x04\x00" + bytes(9) + b"\x12", "tcp [::1]:80 > [::2]:1024 flags syn+ack"),
        (UDP4, b"", "protocol 17 10.0.0.1 > 10.0.0.2"),
        (b"", b"", ""),
    ],
)
def test_a_packet_in_words(network: bytes, transport: bytes, words: str) -> None:
    event = Event(1, 1, "t", "c", Kind.RULE, network=network, transport=transport)
    assert describe(event) == words


def test_packets_are_told_apart_though_the_kernels_numbers_come_again() -> None:
    packets = Packets("mine", 2)

    def seen(packet: int, table: str = "t", handle: int = 1) -> int | None:
        return packets.number(Event(packet, 1, table, "c", Kind.RULE, handle=handle))

    assert seen(5) is None  # somebody else's trace
    assert [seen(5, "mine"), seen(5, "mine", 0), seen(5), seen(5)] == [None, None, 1, 1]
    assert [seen(5, "mine"), seen(5)] == [None, 2]
    assert [seen(6, "mine"), seen(6)] == [None, None]  # more than were asked for
    assert packets.begun == 3


LISTING = """table inet chronovisor {
	chain group-to-web { # handle 7
		meta l4proto tcp th dport 443 accept comment "web.3 0a1b2c3d" # handle 12
		ct state vmap { invalid : drop, established : accept } # handle 13
	}
}
"""


def test_rules_by_handle() -> None:
    assert parse(LISTING) == {
        12: RuleText("meta l4proto tcp th dport 443 accept", "web.3"),
        13: RuleText("ct state vmap { invalid : drop, established : accept }"),
    }


@pytest.mark.parametrize(
    ("table", "chain", "origin", "words"),
    [
        ("chronovisor", "group-to-web", "web.3", "what security group web lets in, rule 3"),
        ("chronovisor", "group-from-a.b", "a.b.0", "what security group a.b lets out, rule 0"),
        ("chronovisor", "to-vm1", "vm1", "what may be sent to port vm1"),
        ("chronovisor", "spoof_check", "", ""),
        ("filter", "to-vm1", "vm1", ""),
    ],
)
def test_whose_a_rule_is(table: str, chain: str, origin: str, words: str) -> None:
    assert meaning(table, chain, origin) == words
