"""chronyd's command protocol, version 6: the few questions asked here, and their answers.

A request is a header of 20 octets, data and padding: chronyd takes none that is shorter than its
reply. Everything is big-endian. Facts: candm.h of chrony 4.3; the version has been 6 since chrony
2.2 (2015), and libchrony, chrony's own client library, speaks it too.
"""

import struct
from dataclasses import dataclass
from enum import IntEnum
from ipaddress import IPv4Address, IPv6Address

from chronovisor.errors import ProtocolError

VERSION = 6
MOST_SOURCES = 64
"""More sources than anybody configures; bounds how often chronyd is asked."""

LARGEST_REPLY = 512
_REQUEST, _REPLY = 1, 2
_REQUEST_HEADER = struct.Struct("!BBBBHHIII")
_REPLY_HEADER = struct.Struct("!BBBBHHHHHHIII")
_ADDRESS = struct.Struct("!16sHH")
_N_SOURCES = struct.Struct("!I")
_SOURCE = struct.Struct("!20sHHHHHHIIII")
_TRACKING = struct.Struct("!I20sHHIIIIIIIIIIII")
_STATISTICS = struct.Struct("!I20sIIIIIIII")
_NAME = struct.Struct("!256s")
_LONGEST_POLL = 32  # chrony's own is 24
_INET4, _INET6, _ID = 1, 2, 3  # addressing.h
_NO_HIGH_SECONDS = 0x7FFFFFFF  # candm.h: TV_NOHIGHSEC
_EXPONENT_BITS, _FRACTION_BITS = 7, 25  # candm.h: Float


class Command(IntEnum):
    """What chronyd is asked."""

    N_SOURCES = 14
    SOURCE_DATA = 15
    TRACKING = 33
    SOURCESTATS = 34
    NTP_SOURCE_NAME = 65


_ANSWERS = {
    Command.N_SOURCES: (2, _N_SOURCES),
    Command.SOURCE_DATA: (3, _SOURCE),
    Command.TRACKING: (5, _TRACKING),
    Command.SOURCESTATS: (6, _STATISTICS),
    Command.NTP_SOURCE_NAME: (19, _NAME),
}
"""The reply's type and layout, by what was asked."""


class SourceState(IntEnum):
    """What chronyd makes of a source (chronyc(1), `sources`)."""

    SELECTED = 0
    NONSELECTABLE = 1
    FALSETICKER = 2
    JITTERY = 3
    COMBINED = 4
    SELECTABLE = 5


@dataclass(frozen=True, slots=True)
class Tracking:
    """How chronyd's time is: `reference` is None while it follows nothing.

    `correction_s` is what must be added to the system clock to get NTP's time; with `-x` that is
    all of the difference, for nothing is ever corrected.
    """

    reference: str | None
    stratum: int
    reference_time_s: float
    correction_s: float
    last_offset_s: float
    rms_offset_s: float
    frequency_ppm: float
    skew_ppm: float
    root_delay_s: float
    root_dispersion_s: float
    update_interval_s: float


@dataclass(frozen=True, slots=True)
class Source:
    """A source as chronyd sees it; `reach` has a bit for each of the last eight polls.

    `address` is the 20 octets that name it in requests. `poll` is a power of two in seconds.
    """

    address: bytes
    poll: int
    stratum: int
    state: SourceState
    reach: int
    age_s: int
    offset_s: float
    error_s: float


@dataclass(frozen=True, slots=True)
class Statistics:
    """Over the last `samples` measurements of a source: their deviation and estimated offset."""

    samples: int
    span_s: int
    deviation_s: float
    offset_s: float
    offset_error_s: float


def request(command: Command, sequence: int, data: bytes = b"") -> bytes:
    """Return a request, padded to the length of its reply."""
    packet = _REQUEST_HEADER.pack(VERSION, _REQUEST, 0, 0, command, 0, sequence, 0, 0) + data
    return packet.ljust(_REPLY_HEADER.size + _ANSWERS[command][1].size, b"\0")


def index_data(index: int) -> bytes:
    """Return the data that name a source by its place."""
    return struct.pack("!I", index)


def body(packet: bytes, command: Command, sequence: int) -> bytes | None:
    """Return a reply's data, None where it answers another request.

    Raises `ProtocolError` where it is no reply of this protocol or a refusal.
    """
    if len(packet) < _REPLY_HEADER.size:
        raise ProtocolError(
            f"chronyd's reply has {len(packet)} octets, a header {_REPLY_HEADER.size}"
        )
    version, kind, _, _, asked, reply, status, _, _, _, number, _, _ = _REPLY_HEADER.unpack_from(
        packet
    )
    if (version, kind) != (VERSION, _REPLY):
        raise ProtocolError(f"not a reply of chronyd's protocol 6 (version {version}, type {kind})")
    if (asked, number) != (command, sequence):
        return None
    if status != 0:
        raise ProtocolError(f"chronyd refuses {command.name} with status {status}")
    wanted, layout = _ANSWERS[command]
    data = packet[_REPLY_HEADER.size :]
    if reply != wanted or len(data) < layout.size:
        raise ProtocolError(
            f"chronyd answers {command.name} with type {reply} of {len(data)} octets; "
            f"type {wanted} of {layout.size} was expected"
        )
    return data[: layout.size]


def source_count(data: bytes) -> int:
    """Return how many sources there are, `MOST_SOURCES` at most."""
    return min(int(_N_SOURCES.unpack(data)[0]), MOST_SOURCES)


def source(data: bytes) -> Source:
    """Return a source; raises `ProtocolError` for a state that this protocol does not have."""
    address, poll, stratum, state, _, _, reach, age_s, _, offset, error = _SOURCE.unpack(data)
    try:
        known = SourceState(state)
    except ValueError:
        raise ProtocolError(f"chronyd names state {state} of a source") from None
    signed = poll - 0x10000 if poll & 0x8000 else poll
    if abs(signed) > _LONGEST_POLL:
        raise ProtocolError(f"chronyd names a poll interval of 2^{signed} s")
    return Source(
        address, signed, stratum, known, reach & 0xFF, age_s, number(offset), number(error)
    )


def tracking(data: bytes) -> Tracking:
    """Return what chronyd says of its time."""
    (_, address, stratum, _, high, low, nanoseconds, *floats) = _TRACKING.unpack(data)
    values = [number(one) for one in floats]
    seconds = (0 if high == _NO_HIGH_SECONDS else high) << 32 | low
    return Tracking(
        reference=address_text(address),
        stratum=stratum,
        reference_time_s=seconds + min(nanoseconds, 999_999_999) / 1e9,
        correction_s=values[0],
        last_offset_s=values[1],
        rms_offset_s=values[2],
        frequency_ppm=values[3],
        skew_ppm=values[5],
        root_delay_s=values[6],
        root_dispersion_s=values[7],
        update_interval_s=values[8],
    )


def statistics(data: bytes) -> Statistics:
    """Return the statistics of a source."""
    _, _, samples, _, span_s, deviation, _, _, offset, error = _STATISTICS.unpack(data)
    return Statistics(samples, span_s, number(deviation), number(offset), number(error))


def name(data: bytes) -> str:
    """Return the name that a source was configured with; what cannot be printed is replaced."""
    text = data.split(b"\0", 1)[0].decode("utf-8", "replace")
    return "".join(
        letter if letter.isprintable() else "\N{REPLACEMENT CHARACTER}" for letter in text
    )


def address_text(address: bytes) -> str | None:
    """Return an address as people write it, None where there is none (yet)."""
    octets, family, _ = _ADDRESS.unpack(address)
    if family == _INET4:
        return str(IPv4Address(octets[:4]))
    if family == _INET6:
        return str(IPv6Address(octets))
    return None


def number(word: int) -> float:
    """Return the number in a word of 7 bits exponent and 25 bits coefficient, both signed."""
    exponent = word >> _FRACTION_BITS
    if exponent >= 1 << (_EXPONENT_BITS - 1):
        exponent -= 1 << _EXPONENT_BITS
    coefficient = word & ((1 << _FRACTION_BITS) - 1)
    if coefficient >= 1 << (_FRACTION_BITS - 1):
        coefficient -= 1 << _FRACTION_BITS
    return float(coefficient) * 2.0 ** (exponent - _FRACTION_BITS)
