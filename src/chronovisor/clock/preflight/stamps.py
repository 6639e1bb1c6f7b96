"""Time stamps of packets as the kernel hands them over: SO_TIMESTAMPING and the error queue.

Sources: Documentation/networking/timestamping.rst sections 1.3, 2.1 and 3, linux/errqueue.h.
"""

import select
import socket
import struct
import time
from collections.abc import Iterable
from dataclasses import dataclass

from chronovisor.clock.preflight import filter
from chronovisor.clock.preflight.frames import GROUPS
from chronovisor.errors import Denied, ToolFailed

SO_TIMESTAMPING = 37  # asm-generic/socket.h
_TX_HARDWARE, _RX_HARDWARE, _RAW_HARDWARE = 1 << 0, 1 << 2, 1 << 6
_OPT_ID, _OPT_CMSG, _OPT_TSONLY = 1 << 7, 1 << 10, 1 << 11
_SOL_PACKET, _PACKET_TX_TIMESTAMP = 263, 16
_PACKET_ADD_MEMBERSHIP, _MULTICAST, _IGNORE_OUTGOING = 1, 0, 23
_MEMBERSHIP = struct.Struct("=iHH8s")
_SCM_TIMESTAMPING = struct.Struct("=6q")
_EXTENDED_ERROR = struct.Struct("=IBBBBII")
_ORIGIN_TIMESTAMPING = 4  # SO_EE_ORIGIN_TIMESTAMPING
_ANCILLARY_BYTES = 512
_ALL = 0x0003  # ETH_P_ALL


@dataclass(frozen=True, slots=True)
class Stamp:
    """A transmit stamp: number of the packet on its socket, the NIC's time, when it was there."""

    number: int
    hardware_ns: int
    at_monotonic_ns: int


def hardware_ns(ancillary: Iterable[tuple[int, int, bytes]]) -> int | None:
    """Return the NIC's own stamp among control messages, None where it made none."""
    for level, kind, data in ancillary:
        if (level, kind) == (socket.SOL_SOCKET, SO_TIMESTAMPING) and len(data) >= 48:
            *_, seconds, nanoseconds = _SCM_TIMESTAMPING.unpack_from(data)
            return seconds * 1_000_000_000 + nanoseconds or None
    return None


def packet_number(ancillary: Iterable[tuple[int, int, bytes]]) -> int | None:
    """Return the number of the packet that a message of the error queue is about."""
    for level, kind, data in ancillary:
        if (level, kind) == (_SOL_PACKET, _PACKET_TX_TIMESTAMP) and len(data) >= 16:
            _, origin, *_, number = _EXTENDED_ERROR.unpack_from(data)
            return number if origin == _ORIGIN_TIMESTAMPING else None
    return None


def sender(device: str) -> socket.socket:
    """Return a socket whose sent frames are stamped by the NIC."""
    flags = _TX_HARDWARE | _RAW_HARDWARE | _OPT_ID | _OPT_CMSG | _OPT_TSONLY
    return _packet_socket(device, socket.SOCK_RAW, 0, flags)


def listener(device: str) -> socket.socket:
    """Return a socket that receives what PTP and LLDP send, with the NIC's stamps."""
    found = _packet_socket(device, socket.SOCK_DGRAM, _ALL, _RX_HARDWARE | _RAW_HARDWARE)
    index = socket.if_nametoindex(device)
    for group in GROUPS:
        request = _MEMBERSHIP.pack(index, _MULTICAST, len(group), group)
        found.setsockopt(_SOL_PACKET, _PACKET_ADD_MEMBERSHIP, request)
    found.setsockopt(_SOL_PACKET, _IGNORE_OUTGOING, 1)
    return found


def _packet_socket(device: str, kind: int, protocol: int, flags: int) -> socket.socket:
    try:
        found = socket.socket(socket.AF_PACKET, kind | socket.SOCK_CLOEXEC, 0)
    except PermissionError as error:
        raise Denied(f"may not send on {device}: CAP_NET_RAW is missing") from error
    try:
        found.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMPING, flags)
        if protocol:  # with protocol 0 nothing is received before bind, so the filter misses none
            filter.attach(found)
        found.bind((device, protocol))
    except OSError as error:
        found.close()
        raise ToolFailed(f"{device}: no socket with time stamps: {error.strerror}") from error
    return found


def receive(channel: socket.socket) -> tuple[bytes, int, int | None]:
    """Return the next packet behind its link header, its ethertype and the NIC's stamp."""
    data, ancillary, _, address = channel.recvmsg(2048, _ANCILLARY_BYTES, socket.MSG_DONTWAIT)
    return data, address[1], hardware_ns(ancillary)


def next_stamp(channel: socket.socket, deadline_ns: int) -> Stamp | None:
    """Return the next transmit stamp, None when none came until a time of CLOCK_MONOTONIC."""
    poll = select.poll()
    poll.register(channel, 0)  # POLLERR comes without being asked for
    while (left_ns := deadline_ns - time.monotonic_ns()) > 0:
        poll.poll(max(1, left_ns // 1_000_000))
        try:
            _, ancillary, _, _ = channel.recvmsg(
                256, _ANCILLARY_BYTES, socket.MSG_ERRQUEUE | socket.MSG_DONTWAIT
            )
        except BlockingIOError:
            continue
        now_ns = time.monotonic_ns()
        number, stamp_ns = packet_number(ancillary), hardware_ns(ancillary)
        if number is not None and stamp_ns is not None:
            return Stamp(number, stamp_ns, now_ns)
    return None
