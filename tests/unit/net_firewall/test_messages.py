"""What goes to the kernel and what comes from it, byte by byte."""

import contextlib
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chronovisor.errors import ChronovisorError, ProtocolError
from chronovisor.net.firewall import bytecode, messages
from chronovisor.net.firewall.keys import key, key_text
from chronovisor.net.firewall.names import IFNAME, INET, IPV4, MAC
from chronovisor.net.firewall.rules import ACCEPT, Chain, Element, SetName, Verdict


def test_a_batch_is_numbered_and_acknowledged_at_its_end() -> None:
    packed, count = messages.batch(messages.new_chain(Chain(INET, name)) for name in ("a", "b"))
    assert count == 2
    found, place = [], 0
    while place < len(packed):
        length, kind, flags, sequence = struct.unpack_from("=IHHI", packed, place)
        found.append((kind, flags & messages.ACK, sequence))
        place += length + -length % 4
    assert found == [(0x10, 0, 0), (0xA03, 0, 1), (0xA03, 4, 2), (0x11, 0, 3)]


def test_an_empty_batch_has_no_changes() -> None:
    assert messages.batch([])[1] == 0


@given(st.text(alphabet="abc.0-", min_size=1, max_size=60))
def test_comments_come_back(text: str) -> None:
    assert bytecode.comment_of(bytecode.user_data(text)) == text


@pytest.mark.parametrize("verdict", [None, ACCEPT, Verdict("jump", "from-vm1")])
def test_elements_come_back(verdict: Verdict | None) -> None:
    where = SetName(INET, "from_vm")
    element = Element(where, key("tap1"), verdict)
    (packed,) = messages.elements(messages.NEW_ELEMENT, where, [element])
    assert messages.read_elements(where, packed[20:]) == [element]


def test_many_elements_are_several_messages() -> None:
    where = SetName(INET, "claimed")
    many = [Element(where, key(f"tap{number}")) for number in range(1000)]
    packed = list(messages.elements(messages.NEW_ELEMENT, where, many))
    assert len(packed) == 3
    assert [one for body in packed for one in messages.read_elements(where, body[20:])] == many


def test_keys_as_people_read_them() -> None:
    packed = key("tap1", "02:00:00:00:00:01")
    assert len(packed) == 24
    assert key_text(packed, (IFNAME, MAC)) == '"tap1" . 02:00:00:00:00:01'
    with pytest.raises(ProtocolError):
        key_text(packed, (IFNAME, MAC, IPV4))


@given(st.binary(max_size=80))
def test_hostile_bytes_are_protocol_errors_or_nothing(body: bytes) -> None:
    for read in (messages.read_rule, messages.read_chain, messages.read_name):
        with contextlib.suppress(ChronovisorError):
            read(body)
