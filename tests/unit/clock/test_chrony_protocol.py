"""chronyd's protocol: replies of every shape, and bytes that are none."""

import random
import struct

import pytest

from chronovisor.clock.chrony import protocol
from chronovisor.clock.chrony.observe import NtpReading, NtpSource, evidence
from chronovisor.clock.chrony.protocol import Command, Source, SourceState, Statistics, Tracking
from chronovisor.errors import ProtocolError

ROUNDS = 3000
TRACKING = Tracking("10.0.0.1", 2, 1.7e9, 0.25, 0, 0, 0, 0, 0.002, 0.003, 64)
SIZES = {
    Command.N_SOURCES: 4,
    Command.SOURCE_DATA: 48,
    Command.TRACKING: 76,
    Command.SOURCESTATS: 56,
    Command.NTP_SOURCE_NAME: 256,
}
REPLIES = {
    Command.N_SOURCES: 2,
    Command.SOURCE_DATA: 3,
    Command.TRACKING: 5,
    Command.SOURCESTATS: 6,
    Command.NTP_SOURCE_NAME: 19,
}
READERS = {
    Command.N_SOURCES: protocol.source_count,
    Command.SOURCE_DATA: protocol.source,
    Command.TRACKING: protocol.tracking,
    Command.SOURCESTATS: protocol.statistics,
    Command.NTP_SOURCE_NAME: protocol.name,
}


def reply(command: Command, data: bytes, *, status: int = 0, sequence: int = 7) -> bytes:
    """Return a reply as chronyd sends it."""
    return (
        struct.pack(
            "!BBBBHHHHHHIII", 6, 2, 0, 0, command, REPLIES[command], status, 0, 0, 0, sequence, 0, 0
        )
        + data
    )


@pytest.mark.parametrize("command", Command)
def test_a_request_is_as_long_as_its_reply(command: Command) -> None:
    packet = protocol.request(command, 7)
    assert len(packet) == len(reply(command, bytes(SIZES[command])))
    assert packet[:2] == b"\x06\x01"


@pytest.mark.parametrize("command", Command)
def test_an_answer_to_another_question_is_passed_over(command: Command) -> None:
    packet = reply(command, bytes(SIZES[command]), sequence=8)
    assert protocol.body(packet, command, 7) is None


@pytest.mark.parametrize("command", Command)
def test_a_refusal_and_a_short_reply_are_errors(command: Command) -> None:
    with pytest.raises(ProtocolError, match="status 3"):
        protocol.body(reply(command, bytes(SIZES[command]), status=3), command, 7)
    with pytest.raises(ProtocolError, match="octets"):
        protocol.body(reply(command, bytes(SIZES[command] - 1)), command, 7)


@pytest.mark.parametrize(
    ("word", "value"),
    [
        (0, 0.0),
        ((1 + 25) << 25 | 0, 0.0),
        (25 << 25 | 1, 1.0),
        (25 << 25 | ((1 << 25) - 1), -1.0),
        (24 << 25 | 3, 1.5),
        ((0x80 - 5 + 0) % 0x80 << 25 | 1, 2.0**-30),
        (0xFFFFFFFF, -(2.0**-26)),
    ],
)
def test_numbers(word: int, value: float) -> None:
    assert protocol.number(word) == value


def test_a_source_of_an_unknown_state_is_refused() -> None:
    data = bytearray(SIZES[Command.SOURCE_DATA])
    data[24:26] = b"\0\x09"
    with pytest.raises(ProtocolError, match="state 9"):
        protocol.source(bytes(data))


def test_a_poll_below_a_second_is_negative() -> None:
    data = bytearray(SIZES[Command.SOURCE_DATA])
    data[20:22] = b"\xff\xfe"
    assert protocol.source(bytes(data)).poll == -2


def test_a_name_cannot_steer_a_terminal() -> None:
    assert "\x1b" not in protocol.name(b"a\x1b[31m\0".ljust(256, b"\0"))


def test_no_more_sources_are_asked_for_than_anybody_has() -> None:
    assert protocol.source_count(b"\xff\xff\xff\xff") == protocol.MOST_SOURCES


@pytest.mark.parametrize("seed", range(4))
def test_hostile_replies_are_protocol_errors(seed: int) -> None:
    dice = random.Random(seed)
    for _ in range(ROUNDS):
        command = dice.choice(list(Command))
        size = dice.choice((SIZES[command], dice.randrange(600)))
        packet = bytearray(reply(command, dice.randbytes(size)))
        for _ in range(dice.choice((0, 0, 1, 3))):
            packet[dice.randrange(len(packet))] = dice.randrange(256)
        try:
            data = protocol.body(bytes(packet[: dice.randrange(600)]), command, 7)
            if data is not None:
                READERS[command](data)
        except ProtocolError:
            continue


def source(state: SourceState, reach: int = 0o377, name: str = "a") -> NtpSource:
    """Return a source that chronyd judges so."""
    return NtpSource(name, Source(bytes(20), 6, 2, state, reach, 1, 0.0, 0.0), STATISTICS)


STATISTICS = Statistics(8, 500, 1e-5, 0.0, 1e-5)


def test_a_selected_source_that_answers_is_evidence() -> None:
    found = evidence(NtpReading(TRACKING, (source(SourceState.SELECTED),)))
    assert found.available
    assert found.offset_s == -0.25  # the clock is behind by what must be added to it
    assert found.distance_s == pytest.approx(0.004)


@pytest.mark.parametrize(
    ("sources", "words"),
    [
        ((), "no NTP server"),
        ((source(SourceState.SELECTED, reach=0),), "no NTP server answers: a"),
        ((source(SourceState.NONSELECTABLE, 1),), "being measured: a"),
        (
            (source(SourceState.FALSETICKER), source(SourceState.FALSETICKER, name="b")),
            "none has a majority: a, b",
        ),
    ],
)
def test_why_ntp_cannot_be_followed(sources: tuple[NtpSource, ...], words: str) -> None:
    found = evidence(NtpReading(TRACKING, sources))
    assert not found.available
    assert words in found.reason
