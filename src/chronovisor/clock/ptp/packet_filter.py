"""A classic BPF program that lets through PTP Announce messages and nothing else.

It is for an AF_PACKET socket of type SOCK_DGRAM: octet 0 is the first behind the link header, so
that one program serves every link type. See the kernel's Documentation/networking/filter.rst.
"""

import ctypes
import socket
from struct import Struct

_INSTRUCTION = Struct("=HBBI")  # struct sock_filter

# linux/filter.h, linux/bpf_common.h
_LOAD_WORD = 0x20  # BPF_LD | BPF_W | BPF_ABS
_LOAD_HALF = 0x28
_LOAD_BYTE = 0x30
_LOAD_HALF_INDEXED = 0x48  # BPF_LD | BPF_H | BPF_IND
_LOAD_BYTE_INDEXED = 0x50
_LOAD_IPV4_LENGTH = 0xB1  # BPF_LDX | BPF_B | BPF_MSH
_EQUAL = 0x15  # BPF_JMP | BPF_JEQ | BPF_K
_ANY_BIT = 0x45  # BPF_JMP | BPF_JSET | BPF_K
_AND = 0x54  # BPF_ALU | BPF_AND | BPF_K
_RETURN = 0x06
_ANCILLARY = 0xFFFFF000  # SKF_AD_OFF
_PROTOCOL = _ANCILLARY + 0  # SKF_AD_PROTOCOL
_SO_ATTACH_FILTER = 26  # asm-generic/socket.h; the socket module does not name it

ETHERTYPE_PTP = 0x88F7  # IEEE 1588-2019 annex E
_ETHERTYPE_IPV4 = 0x0800
_ETHERTYPE_IPV6 = 0x86DD
PORT_GENERAL = 320  # IEEE 1588-2019 annexes C and D
_UDP = 17
_ANNOUNCE = 0xB  # IEEE 1588-2019 table 36
UDP_HEADER = 8
IPV6_HEADER = 40

_ACCEPT = "accept"
_DROP = "drop"
_NEXT = ""

# (label, code, operand, jump if true, jump if false); a jump names a label.
_PROGRAM: tuple[tuple[str, int, int, str, str], ...] = (
    ("", _LOAD_WORD, _PROTOCOL, _NEXT, _NEXT),
    ("", _EQUAL, ETHERTYPE_PTP, "ethernet", _NEXT),
    ("", _EQUAL, _ETHERTYPE_IPV4, "ipv4", _NEXT),
    ("", _EQUAL, _ETHERTYPE_IPV6, "ipv6", _DROP),
    ("ethernet", _LOAD_BYTE, 0, _NEXT, _NEXT),
    ("", _AND, 0x0F, _NEXT, _NEXT),
    ("", _EQUAL, _ANNOUNCE, _ACCEPT, _DROP),
    ("ipv4", _LOAD_BYTE, 9, _NEXT, _NEXT),
    ("", _EQUAL, _UDP, _NEXT, _DROP),
    ("", _LOAD_HALF, 6, _NEXT, _NEXT),
    ("", _ANY_BIT, 0x1FFF, _DROP, _NEXT),  # a later fragment has no UDP header
    ("", _LOAD_IPV4_LENGTH, 0, _NEXT, _NEXT),
    ("", _LOAD_HALF_INDEXED, 2, _NEXT, _NEXT),
    ("", _EQUAL, PORT_GENERAL, _NEXT, _DROP),
    ("", _LOAD_BYTE_INDEXED, UDP_HEADER, _NEXT, _NEXT),
    ("", _AND, 0x0F, _NEXT, _NEXT),
    ("", _EQUAL, _ANNOUNCE, _ACCEPT, _DROP),
    ("ipv6", _LOAD_BYTE, 6, _NEXT, _NEXT),
    ("", _EQUAL, _UDP, _NEXT, _DROP),
    ("", _LOAD_HALF, IPV6_HEADER + 2, _NEXT, _NEXT),
    ("", _EQUAL, PORT_GENERAL, _NEXT, _DROP),
    ("", _LOAD_BYTE, IPV6_HEADER + UDP_HEADER, _NEXT, _NEXT),
    ("", _AND, 0x0F, _NEXT, _NEXT),
    ("", _EQUAL, _ANNOUNCE, _ACCEPT, _DROP),
    (_ACCEPT, _RETURN, 0xFFFF, _NEXT, _NEXT),
    (_DROP, _RETURN, 0, _NEXT, _NEXT),
)


def assemble() -> bytes:
    """Return the program as the kernel reads it: an array of struct sock_filter."""
    labels = {label: index for index, (label, *_) in enumerate(_PROGRAM) if label}

    def distance(index: int, label: str) -> int:
        return labels[label] - index - 1 if label else 0

    return b"".join(
        _INSTRUCTION.pack(code, distance(index, true), distance(index, false), operand)
        for index, (_, code, operand, true, false) in enumerate(_PROGRAM)
    )


class _SockFprog(ctypes.Structure):
    _fields_ = (("len", ctypes.c_ushort), ("filter", ctypes.c_void_p))


def attach(sock: socket.socket) -> None:
    """Attach the program to a packet socket; raises `OSError`."""
    code = assemble()
    buffer = ctypes.create_string_buffer(code, len(code))
    program = _SockFprog(len(code) // _INSTRUCTION.size, ctypes.addressof(buffer))
    sock.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, bytes(program))
