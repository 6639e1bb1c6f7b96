"""What the inventory asks of netlink: one request, all of its answers (netlink(7), genetlink).

Numbers are in host byte order, attributes are padded to four bytes. What does not hold to the
format raises `ProtocolError`, a refusal by the kernel `ToolFailed`.
"""

import os
import socket
import struct
from collections.abc import Iterator

from chronovisor.errors import ProtocolError, ToolFailed

ROUTE, GENERIC = 0, 16  # linux/netlink.h: NETLINK_ROUTE, NETLINK_GENERIC
_ERROR, _DONE = 2, 3
_REQUEST, _ACK, _DUMP = 0x1, 0x4, 0x300
_TYPE_MASK = 0x3FFF  # above: NLA_F_NESTED, NLA_F_NET_BYTEORDER
_NESTED = 0x8000
_HEADER = struct.Struct("=IHHII")
_ATTRIBUTE = struct.Struct("=HH")
_GENERIC_HEADER = struct.Struct("=BBxx")
_RECEIVE_BYTES = 1 << 18  # more than the kernel puts into one datagram of a dump
ANSWER_S = 5.0
"""How long the kernel may take; it answers at once unless something is very wrong."""

# linux/genetlink.h
_CONTROLLER = 16  # GENL_ID_CTRL
_GET_FAMILY, _FAMILY_ID, _FAMILY_NAME = 3, 1, 2

Attributes = dict[int, bytes]


class Netlink:
    """One netlink socket, a context manager; for one thread."""

    def __init__(self, protocol: int) -> None:
        self._protocol = protocol
        self._sequence = 0
        self._families: dict[str, int] = {}

    def __enter__(self) -> "Netlink":
        kind = socket.SOCK_RAW | socket.SOCK_CLOEXEC
        try:
            self._socket = socket.socket(socket.AF_NETLINK, kind, self._protocol)
        except OSError as error:
            raise ToolFailed(f"the kernel offers no netlink: {error.strerror}") from error
        self._socket.settimeout(ANSWER_S)
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()

    def ask(self, kind: int, body: bytes, *, dump: bool = False) -> list[bytes]:
        """Return the bodies of all answers to one request. Raises `ToolFailed`, `ProtocolError`."""
        self._sequence += 1
        flags = _REQUEST | (_DUMP if dump else _ACK)
        head = _HEADER.pack(_HEADER.size + len(body), kind, flags, self._sequence, 0)
        answers: list[bytes] = []
        try:
            self._socket.send(head + body)
            while True:
                for found, sequence, content in messages(self._socket.recv(_RECEIVE_BYTES)):
                    if sequence != self._sequence:  # of a request that was given up on
                        continue
                    if found == _DONE:
                        return answers
                    if found == _ERROR:
                        _raise_refusal(content)
                        return answers
                    answers.append(content)
        except OSError as error:
            raise ToolFailed(f"netlink: {error.strerror or error}") from error

    def ask_generic(self, family: str, command: int, body: bytes) -> list[Attributes]:
        """Return the attributes of all answers of a generic netlink family to one command."""
        if family not in self._families:
            name = attribute(_FAMILY_NAME, family.encode() + b"\0")
            asked = _GENERIC_HEADER.pack(_GET_FAMILY, 1) + name
            found = attributes(self.ask(_CONTROLLER, asked)[0], _GENERIC_HEADER.size)
            self._families[family] = u16(found.get(_FAMILY_ID, b""))
        answers = self.ask(self._families[family], _GENERIC_HEADER.pack(command, 1) + body)
        return [attributes(answer, _GENERIC_HEADER.size) for answer in answers]


def _raise_refusal(content: bytes) -> None:
    if len(content) < 4:
        raise ProtocolError("netlink: an error message without an error number")
    (number,) = struct.unpack_from("=i", content)
    if number:
        raise ToolFailed(f"netlink: {os.strerror(-number)}")


def messages(data: bytes) -> Iterator[tuple[int, int, bytes]]:
    """Yield type, sequence number and body of each message of a datagram."""
    at = 0
    while at < len(data):
        if len(data) - at < _HEADER.size:
            raise ProtocolError(f"netlink: {len(data) - at} bytes where a message should begin")
        length, kind, _, sequence, _ = _HEADER.unpack_from(data, at)
        if not _HEADER.size <= length <= len(data) - at:
            raise ProtocolError(f"netlink: a message of {length} bytes in {len(data) - at} bytes")
        yield kind, sequence, data[at + _HEADER.size : at + length]
        at += (length + 3) & ~3


def walk(data: bytes, start: int = 0) -> Iterator[tuple[int, bytes]]:
    """Yield type and value of each attribute from `start` on."""
    at, end = start, len(data)
    while at < end:
        if end - at < _ATTRIBUTE.size:
            raise ProtocolError(f"netlink: {end - at} bytes where an attribute should begin")
        length, kind = _ATTRIBUTE.unpack_from(data, at)
        if not _ATTRIBUTE.size <= length <= end - at:
            raise ProtocolError(f"netlink: an attribute of {length} bytes in {end - at} bytes")
        yield kind & _TYPE_MASK, data[at + _ATTRIBUTE.size : at + length]
        at += (length + 3) & ~3


def attributes(data: bytes, start: int = 0) -> Attributes:
    """Return the attributes from `start` on by type; of twins the last one."""
    if len(data) < start:
        raise ProtocolError(f"netlink: an answer of {len(data)} bytes; {start} are the least")
    return dict(walk(data, start))


def attribute(kind: int, value: bytes) -> bytes:
    """Return an attribute as bytes."""
    length = _ATTRIBUTE.size + len(value)
    return _ATTRIBUTE.pack(length, kind) + value + b"\0" * (-length % 4)


def nested(kind: int, *inner: bytes) -> bytes:
    """Return an attribute that holds attributes."""
    return attribute(kind | _NESTED, b"".join(inner))


def u16(value: bytes) -> int:
    """Return a number of two bytes."""
    return _number("=H", value)


def u32(value: bytes) -> int:
    """Return a number of four bytes."""
    return _number("=I", value)


def i32(value: bytes) -> int:
    """Return a signed number of four bytes."""
    return _number("=i", value)


def _number(layout: str, value: bytes) -> int:
    size = struct.calcsize(layout)
    if len(value) != size:
        raise ProtocolError(f"netlink: a number of {len(value)} bytes where {size} are due")
    number: int = struct.unpack(layout, value)[0]
    return number


def text(value: bytes) -> str:
    """Return a value as text; what is no UTF-8 is shown as a replacement character."""
    return value.rstrip(b"\0").decode("utf-8", "replace")
