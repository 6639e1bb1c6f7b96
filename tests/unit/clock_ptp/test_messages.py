"""Management and Announce messages: golden octets, round trips, hostile octets."""

import contextlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chronovisor.clock.ptp.announce import Announce
from chronovisor.clock.ptp.header import Header
from chronovisor.clock.ptp.identity import ALL_CLOCKS, ALL_PORTS, ClockIdentity, PortIdentity
from chronovisor.clock.ptp.management import ErrorStatus, ManagementMessage
from chronovisor.clock.ptp.primitives import ClockQuality
from chronovisor.clock.ptp.vocabulary import (
    ClockAccuracy,
    ManagementAction,
    ManagementError,
    ManagementId,
    MessageType,
    TimeSource,
)
from chronovisor.errors import InvalidInput, ProtocolError

OURS = PortIdentity(ClockIdentity.from_text("010203.0405.060708"), 1)
GET_PRIORITY1 = ManagementMessage(
    ManagementAction.GET,
    ManagementId.PRIORITY1,
    b"",
    OURS,
    PortIdentity(ALL_CLOCKS, ALL_PORTS),
    0x1234,
    domain_number=24,
)
# IEEE 1588-2019 tables 35, 56 and 58, field by field.
GOLDEN_GET = bytes.fromhex(
    "0d 02 0036 18 00 0000 0000000000000000 00000000 0102030405060708 0001 1234 04 7f"
    "ffffffffffffffff ffff 00 00 00 00"
    "0001 0002 2005"
)
GOLDEN_ERROR = bytes.fromhex(
    "0d 12 003c 18 00 0000 0000000000000000 00000000 8a30acfffea7ddaf 0000 1234 04 7f"
    "0102030405060708 0001 00 00 02 00"
    "0002 0008 0006 2005 00000000"
)
GOLDEN_ANNOUNCE = bytes.fromhex(
    "0b 02 0040 00 00 0008 0000000000000000 00000000 eefcdffffe6930ee 0001 00ff 05 fe"
    "00000000000000000000 0025 00 64 f8 fe ffff 80 eefcdffffe6930ee 0000 a0"
)

IDENTITIES = st.binary(min_size=8, max_size=8).map(ClockIdentity)
PORT_IDENTITIES = st.builds(PortIdentity, IDENTITIES, st.integers(0, 0xFFFF))
MESSAGES = st.builds(
    ManagementMessage,
    st.sampled_from(ManagementAction),
    st.integers(0, 0xFFFF),
    st.integers(0, 40).flatmap(lambda n: st.binary(min_size=2 * n, max_size=2 * n)),
    PORT_IDENTITIES,
    PORT_IDENTITIES,
    st.integers(0, 0xFFFF),
    st.integers(0, 255),
    st.integers(0, 0xFFF),
    st.integers(0, 15),
    st.integers(0, 255),
    st.integers(0, 255),
)
FEW = settings(max_examples=200, deadline=None)


def test_golden_get() -> None:
    assert GET_PRIORITY1.pack() == GOLDEN_GET
    assert ManagementMessage.unpack(GOLDEN_GET) == GET_PRIORITY1


def test_golden_error() -> None:
    message = ManagementMessage.unpack(GOLDEN_ERROR)
    assert message.body == ErrorStatus(ManagementError.NOT_SUPPORTED, ManagementId.PRIORITY1)
    assert message.management_id == ManagementId.PRIORITY1
    assert message.minor_version == 1
    assert message.pack() == GOLDEN_ERROR


def test_an_error_may_have_words() -> None:
    error = ErrorStatus(ManagementError.GENERAL_ERROR, 0x2005, "no")
    message = GET_PRIORITY1._replace(body=error)
    assert ManagementMessage.unpack(message.pack()).body == error


@FEW
@given(MESSAGES)
def test_round_trip(message: ManagementMessage) -> None:
    assert ManagementMessage.unpack(message.pack()) == message
    assert ManagementMessage.unpack(message.pack() + b"padding") == message


@pytest.mark.parametrize("valid", [GOLDEN_GET, GOLDEN_ERROR])
def test_every_truncation(valid: bytes) -> None:
    for cut in range(len(valid)):
        with pytest.raises(ProtocolError, match=r"truncated|PTP header|management message"):
            ManagementMessage.unpack(valid[:cut])


@FEW
@given(
    st.sampled_from([GOLDEN_GET, GOLDEN_ERROR, GOLDEN_ANNOUNCE]),
    st.lists(st.integers(0, 64 * 8 - 1), max_size=5),
    st.binary(max_size=120),
)
def test_hostile_octets(valid: bytes, flips: list[int], noise: bytes) -> None:
    octets = bytearray(valid)
    for position in flips:
        octets[position // 8 % len(octets)] ^= 1 << position % 8
    for hostile in (bytes(octets), noise, bytes(octets) + noise):
        for reader in (ManagementMessage.unpack, Announce.unpack, Header.unpack):
            with contextlib.suppress(ProtocolError):
                reader(hostile)


@pytest.mark.parametrize(
    ("position", "octet", "reason"),
    [
        (0, 0x0B, "is not Management"),
        (1, 0x01, "PTP version 1"),
        (3, 0x37, "messageLength 55"),
        (46, 0x05, "actionField 5"),
        (49, 0x03, "tlvType 0x0003"),
        (51, 0x04, "TLV ends at 56"),
        (51, 0x00, "lengthField 0"),
        (51, 0x01, "lengthField 1"),
    ],
)
def test_each_check_names_what_is_wrong(position: int, octet: int, reason: str) -> None:
    octets = bytearray(GOLDEN_GET)
    octets[position] = octet
    with pytest.raises(ProtocolError, match=reason):
        ManagementMessage.unpack(bytes(octets))


def test_golden_announce() -> None:
    announce = Announce.unpack(GOLDEN_ANNOUNCE)
    grandmaster = ClockIdentity.from_text("eefcdf.fffe.6930ee")
    header = Header(
        MessageType.ANNOUNCE,
        64,
        0,
        PortIdentity(grandmaster, 1),
        255,
        flags=8,
        log_message_interval=-2,
    )
    quality = ClockQuality(248, ClockAccuracy.UNKNOWN, 0xFFFF)
    assert announce == Announce(
        header, 37, 100, quality, 128, grandmaster, 0, TimeSource.INTERNAL_OSCILLATOR
    )
    assert announce.pack() == GOLDEN_ANNOUNCE


ANNOUNCE_HEADERS = st.builds(
    Header,
    st.just(MessageType.ANNOUNCE),
    st.just(64),
    st.integers(0, 255),
    PORT_IDENTITIES,
    st.integers(0, 0xFFFF),
    st.integers(0, 0xFFF),
    st.integers(0, 15),
    st.integers(0, 0xFFFF),
    st.integers(-(2**47), 2**47).map(lambda n: n / 65536),
    st.integers(-128, 127),
)
ANNOUNCES = st.builds(
    Announce,
    ANNOUNCE_HEADERS,
    st.integers(-(2**15), 2**15 - 1),
    st.integers(0, 255),
    st.builds(
        ClockQuality, st.integers(0, 255), st.sampled_from(ClockAccuracy), st.integers(0, 0xFFFF)
    ),
    st.integers(0, 255),
    IDENTITIES,
    st.integers(0, 0xFFFF),
    st.sampled_from(TimeSource),
)


@settings(max_examples=50, deadline=None)
@given(ANNOUNCES)
def test_announce_round_trip(announce: Announce) -> None:
    assert Announce.unpack(announce.pack()) == announce
    for cut in range(64):
        with pytest.raises(ProtocolError):
            Announce.unpack(announce.pack()[:cut])


@pytest.mark.parametrize("text", ["8a30ac.fffe.a7ddaf-1", "000000.0000.000000-65535"])
def test_identities_read_what_they_write(text: str) -> None:
    assert str(PortIdentity.from_text(text)) == text


@pytest.mark.parametrize("text", ["", "8a30ac.fffe.a7ddaf", "8a30ac-1", "8a30ac.fffe.a7ddaf-65536"])
def test_identities_refuse_nonsense(text: str) -> None:
    with pytest.raises(InvalidInput):
        PortIdentity.from_text(text)
