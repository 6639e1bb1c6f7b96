"""Netlink messages and attributes as bytes (netlink(7), RFC 3549 section 2.3.2).

A message is a header (length, type, flags, sequence, port id; host byte order) and a body, padded
to four bytes; an attribute is a length, a type and a value, padded likewise. What does not hold to
that raises `ProtocolError`, never an error of Python's.
"""

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address

from chronovisor.errors import ProtocolError

HEADER = struct.Struct("=IHHII")
_ATTRIBUTE = struct.Struct("=HH")
_ERRNO = struct.Struct("=i")
_U32 = struct.Struct("=I")
_U32_ATTRIBUTE = struct.Struct("=HHI")
_TYPE_MASK = 0x3FFF  # above: NLA_F_NESTED, NLA_F_NET_BYTEORDER
NESTED = 0x8000

# linux/netlink.h
ERROR, DONE, OVERRUN = 2, 3, 4
REQUEST, MULTI, ACK, ECHO, DUMP_INTERRUPTED = 0x01, 0x02, 0x04, 0x08, 0x10
CAPPED, ACK_TLVS = 0x100, 0x200
DUMP = 0x300
REPLACE, EXCLUSIVE, CREATE = 0x100, 0x200, 0x400

Address = IPv4Address | IPv6Address
Attributes = dict[int, bytes]


@dataclass(frozen=True, slots=True)
class Message:
    """One message: its type, flags, sequence number, port id and body."""

    kind: int
    flags: int
    sequence: int
    port: int
    body: bytes

    def pack(self) -> bytes:
        """Return the message as bytes."""
        length = HEADER.size + len(self.body)
        head = HEADER.pack(length, self.kind, self.flags, self.sequence, self.port)
        return head + self.body + b"\0" * (-length % 4)


@dataclass(frozen=True, slots=True)
class Refusal:
    """What an error message says: an errno (0 for an acknowledgement) and the kernel's words."""

    errno: int
    text: str = ""


def split(data: bytes) -> Iterator[Message]:
    """Yield the messages of one datagram. Raises `ProtocolError`."""
    at = 0
    while at < len(data):
        if len(data) - at < HEADER.size:
            raise ProtocolError(f"netlink: {len(data) - at} bytes where a message should begin")
        length, kind, flags, sequence, port = HEADER.unpack_from(data, at)
        if not HEADER.size <= length <= len(data) - at:
            left = len(data) - at
            raise ProtocolError(f"netlink: a message of {length} bytes in {left} bytes")
        yield Message(kind, flags, sequence, port, data[at + HEADER.size : at + length])
        at += (length + 3) & ~3


def attribute(kind: int, value: bytes) -> bytes:
    """Return an attribute as bytes."""
    length = 4 + len(value)
    return _ATTRIBUTE.pack(length, kind) + value + b"\0" * (-length % 4)


def attributes(data: bytes, start: int = 0) -> Attributes:
    """Return the attributes of a body from `start` on by type; of twins the last one.

    Raises `ProtocolError`.
    """
    found: Attributes = {}
    at, end = start, len(data)
    unpack = _ATTRIBUTE.unpack_from
    while at + 4 <= end:
        length, kind = unpack(data, at)
        if length < 4 or at + length > end:
            raise ProtocolError(f"netlink: an attribute of {length} bytes in {end - at} bytes")
        found[kind & _TYPE_MASK] = data[at + 4 : at + length]
        at += (length + 3) & ~3
    if at < end:
        raise ProtocolError(f"netlink: {end - at} bytes where an attribute should begin")
    return found


def refusal(message: Message) -> Refusal:
    """Return what a message of type ERROR or DONE says. Raises `ProtocolError`."""
    if len(message.body) < 4:
        raise ProtocolError("netlink: an error message without an error number")
    number: int = -_ERRNO.unpack_from(message.body)[0]
    if number < 0:
        raise ProtocolError(f"netlink: an error message with error {-number}")
    text = ""
    if message.flags & ACK_TLVS:
        start = 4
        if message.kind == ERROR:
            start = 4 + HEADER.size
            if not message.flags & CAPPED and number:  # the refused message stands in between
                start = 4 + ((u32(message.body[4:8]) + 3) & ~3)
        text = string(attributes(message.body, start).get(1, b""))  # NLMSGERR_ATTR_MSG
    return Refusal(number, text)


def header(layout: struct.Struct, body: bytes, what: str) -> tuple[int, ...]:
    """Return the fixed part of a body. Raises `ProtocolError` naming `what` it is."""
    if len(body) < layout.size:
        raise ProtocolError(f"netlink: {what} of {len(body)} bytes; {layout.size} are the least")
    return layout.unpack_from(body)


def u32(value: bytes) -> int:
    """Return an attribute's value as a number. Raises `ProtocolError`."""
    if len(value) != 4:
        raise ProtocolError(f"netlink: a number of {len(value)} bytes where 4 are due")
    number: int = _U32.unpack(value)[0]
    return number


def u8(value: bytes) -> int:
    """Return an attribute's value as a number. Raises `ProtocolError`."""
    if len(value) != 1:
        raise ProtocolError(f"netlink: a number of {len(value)} bytes where 1 is due")
    return value[0]


def pack_u32(kind: int, value: int) -> bytes:
    """Return an attribute that holds a number."""
    return _U32_ATTRIBUTE.pack(8, kind, value)


def string(value: bytes) -> str:
    """Return an attribute's value as text; bytes that are no UTF-8 stay as surrogates."""
    return value.rstrip(b"\0").decode("utf-8", "surrogateescape")


def pack_string(kind: int, value: str) -> bytes:
    """Return an attribute that holds text."""
    return attribute(kind, value.encode("utf-8", "surrogateescape") + b"\0")


def address(value: bytes) -> Address:
    """Return an attribute's value as an IP address. Raises `ProtocolError`."""
    if len(value) == 4:
        return IPv4Address(value)
    if len(value) == 16:
        return IPv6Address(value)
    raise ProtocolError(f"netlink: an IP address of {len(value)} bytes")


def mac(value: bytes) -> str:
    """Return a link-layer address as text, empty for none."""
    return value.hex(":")


def pack_mac(text: str) -> bytes:
    """Return a link-layer address as bytes."""
    return bytes.fromhex(text.replace(":", ""))
