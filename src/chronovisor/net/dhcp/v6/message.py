"""DHCPv6 messages between client and server (RFC 8415 sections 7.3, 8 and 21)."""

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum
from ipaddress import IPv6Address

from chronovisor.errors import ProtocolError

Option = tuple[int, bytes]


class Kind(IntEnum):
    """Messages that are exchanged without a relay (RFC 8415 section 7.3)."""

    SOLICIT = 1
    ADVERTISE = 2
    REQUEST = 3
    CONFIRM = 4
    RENEW = 5
    REBIND = 6
    REPLY = 7
    RELEASE = 8
    DECLINE = 9
    RECONFIGURE = 10
    INFORMATION_REQUEST = 11


class Code(IntEnum):
    """Options that we read or write (RFC 8415 section 21 and the RFCs named)."""

    CLIENT_ID = 1
    SERVER_ID = 2
    IA_NA = 3
    IA_TA = 4
    IA_ADDRESS = 5
    REQUESTED = 6
    STATUS = 13
    RAPID_COMMIT = 14
    DNS_SERVERS = 23  # RFC 3646
    DOMAINS = 24  # RFC 3646
    IA_PD = 25
    SNTP_SERVERS = 31  # RFC 4075
    REFRESH_TIME = 32
    FQDN = 39  # RFC 4704
    NTP_SERVER = 56  # RFC 5908


class Status(IntEnum):
    """Status codes (RFC 8415 section 21.13)."""

    SUCCESS = 0
    NO_ADDRESSES = 2
    NOT_ON_LINK = 4
    NO_PREFIX = 6


@dataclass(frozen=True, slots=True)
class Message:
    """A message: its kind, three bytes of transaction id, options in their order."""

    kind: Kind
    transaction: bytes
    options: tuple[Option, ...] = ()

    def first(self, code: Code) -> bytes | None:
        """Return the first option of a kind."""
        return next((value for number, value in self.options if number == code), None)

    def all(self, code: Code) -> list[bytes]:
        """Return all options of a kind."""
        return [value for number, value in self.options if number == code]


def unpack(data: bytes) -> Message:
    """Return the message in a datagram. Raises `ProtocolError`."""
    if len(data) < 4:
        raise ProtocolError(f"a DHCPv6 message of {len(data)} bytes; the shortest has 4")
    try:
        kind = Kind(data[0])
    except ValueError:
        raise ProtocolError(
            f"DHCPv6 message type {data[0]} is not between client and server"
        ) from None
    return Message(kind, data[1:4], unpack_options(data[4:]))


def pack(message: Message) -> bytes:
    """Return a message as a datagram."""
    return bytes((message.kind,)) + message.transaction + pack_options(message.options)


def unpack_options(data: bytes) -> tuple[Option, ...]:
    """Return a run of options (RFC 8415 section 21.1). Raises `ProtocolError`."""
    found = []
    place = 0
    while place < len(data):
        if len(data) - place < 4:
            raise ProtocolError(f"a DHCPv6 option is cut off at byte {place}")
        code, length = struct.unpack_from("!HH", data, place)
        place += 4
        if length > len(data) - place:
            raise ProtocolError(
                f"DHCPv6 option {code} has {length} bytes and claims more than left"
            )
        found.append((code, data[place : place + length]))
        place += length
    return tuple(found)


def pack_options(options: Sequence[Option]) -> bytes:
    """Return options as bytes."""
    return b"".join(struct.pack("!HH", code, len(value)) + value for code, value in options)


@dataclass(frozen=True, slots=True)
class Association:
    """An identity association for addresses (IA_NA, RFC 8415 section 21.4)."""

    iaid: bytes
    addresses: tuple[IPv6Address, ...] = ()


def unpack_association(value: bytes) -> Association:
    """Return the IA_NA in an option. Raises `ProtocolError`."""
    if len(value) < 12:
        raise ProtocolError(f"an IA_NA of {len(value)} bytes; the shortest has 12")
    addresses = []
    for code, inner in unpack_options(value[12:]):
        if code == Code.IA_ADDRESS:
            if len(inner) < 24:
                raise ProtocolError(f"an IA address of {len(inner)} bytes; the shortest has 24")
            addresses.append(IPv6Address(inner[:16]))
    return Association(value[:4], tuple(addresses))


def status(code: Status, words: str = "") -> Option:
    """Return a status code option."""
    return Code.STATUS, struct.pack("!H", code) + words.encode()


def address(one: IPv6Address, lifetime_s: int) -> Option:
    """Return an IA address option; a lifetime of 0 takes the address away."""
    return Code.IA_ADDRESS, one.packed + struct.pack("!II", lifetime_s, lifetime_s)
