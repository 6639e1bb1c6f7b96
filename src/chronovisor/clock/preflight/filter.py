"""A classic BPF program that lets PTP over any transport and LLDP through, and nothing else.

For an AF_PACKET socket of type SOCK_DGRAM. See the kernel's Documentation/networking/filter.rst.
"""

import ctypes
import socket
import struct

_INSTRUCTION = struct.Struct("=HBBI")  # struct sock_filter
_SO_ATTACH_FILTER = 26
_PROTOCOL = 0xFFFFF000  # SKF_AD_OFF + SKF_AD_PROTOCOL
_LOAD_WORD, _LOAD_HALF, _LOAD_BYTE = 0x20, 0x28, 0x30
_LOAD_HALF_INDEXED, _LOAD_IPV4_LENGTH = 0x48, 0xB1
_EQUAL, _ANY_BIT, _RETURN = 0x15, 0x45, 0x06
_EVENT, _GENERAL = 319, 320  # IEEE 1588-2019 annexes C and D
_UDP = 17
_NEXT = ""

# (label, code, operand, jump if true, jump if false); a jump names a label.
_PROGRAM = (
    ("", _LOAD_WORD, _PROTOCOL, _NEXT, _NEXT),
    ("", _EQUAL, 0x88F7, "accept", _NEXT),
    ("", _EQUAL, 0x88CC, "accept", _NEXT),
    ("", _EQUAL, 0x0800, "ipv4", _NEXT),
    ("", _EQUAL, 0x86DD, _NEXT, "drop"),
    ("", _LOAD_BYTE, 6, _NEXT, _NEXT),
    ("", _EQUAL, _UDP, _NEXT, "drop"),
    ("", _LOAD_HALF, 42, _NEXT, _NEXT),
    ("", _EQUAL, _EVENT, "accept", _NEXT),
    ("", _EQUAL, _GENERAL, "accept", "drop"),
    ("ipv4", _LOAD_BYTE, 9, _NEXT, _NEXT),
    ("", _EQUAL, _UDP, _NEXT, "drop"),
    ("", _LOAD_HALF, 6, _NEXT, _NEXT),
    ("", _ANY_BIT, 0x1FFF, "drop", _NEXT),  # a later fragment has no UDP header
    ("", _LOAD_IPV4_LENGTH, 0, _NEXT, _NEXT),
    ("", _LOAD_HALF_INDEXED, 2, _NEXT, _NEXT),
    ("", _EQUAL, _EVENT, "accept", _NEXT),
    ("", _EQUAL, _GENERAL, "accept", "drop"),
    ("accept", _RETURN, 0xFFFF, _NEXT, _NEXT),
    ("drop", _RETURN, 0, _NEXT, _NEXT),
)


class _Program(ctypes.Structure):
    """struct sock_fprog."""

    _fields_ = (("len", ctypes.c_ushort), ("filter", ctypes.c_void_p))


def assemble() -> bytes:
    """Return the program as the kernel reads it: an array of struct sock_filter."""
    labels = {label: at for at, (label, *_) in enumerate(_PROGRAM) if label}

    def distance(at: int, label: str) -> int:
        return labels[label] - at - 1 if label else 0

    return b"".join(
        _INSTRUCTION.pack(code, distance(at, true), distance(at, false), operand)
        for at, (_, code, operand, true, false) in enumerate(_PROGRAM)
    )


def attach(channel: socket.socket) -> None:
    """Attach the program to a packet socket; raises `OSError`."""
    code = assemble()
    buffer = ctypes.create_string_buffer(code, len(code))
    program = _Program(len(code) // _INSTRUCTION.size, ctypes.addressof(buffer))
    channel.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, bytes(program))
