"""Sockets that hear what VMs multicast to routers and DHCPv6 servers, tap by tap."""

import contextlib
import socket
import struct
from dataclasses import dataclass
from ipaddress import IPv6Address

ALL_ROUTERS, ALL_SERVERS = IPv6Address("ff02::2"), IPv6Address("ff02::1:2")
SERVER_PORT, CLIENT_PORT = 547, 546  # RFC 8415 section 7.2

TAPS_A_SOCKET = 128
"""Memberships of one socket: net.core.optmem_max, 20 KiB on older kernels, holds about 280."""

_ICMP6_FILTER = 1  # linux/icmpv6.h
_MULTICAST_ALL = 29  # linux/in6.h, IPV6_MULTICAST_ALL
_ROUTER_SOLICITATION = 133
_LONGEST = 65536


@dataclass(frozen=True, slots=True)
class Heard:
    """A packet, the index of the device it came in on, its sender and its hop limit."""

    data: bytes
    index: int
    sender: IPv6Address
    hop_limit: int


class Ear:
    """A pair of sockets that listen on up to `TAPS_A_SOCKET` taps."""

    def __init__(self) -> None:
        self.indexes: set[int] = set()
        self.icmp = socket.socket(socket.AF_INET6, socket.SOCK_RAW, socket.IPPROTO_ICMPV6)
        passing = bytearray(b"\xff" * 32)
        passing[_ROUTER_SOLICITATION // 8] &= ~(1 << (_ROUTER_SOLICITATION % 8))
        self.icmp.setsockopt(socket.IPPROTO_ICMPV6, _ICMP6_FILTER, bytes(passing))
        self.udp = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
        self.udp.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.udp.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        self.udp.bind(("::", SERVER_PORT))
        for wire in (self.icmp, self.udp):
            wire.setblocking(False)
            wire.setsockopt(socket.IPPROTO_IPV6, _MULTICAST_ALL, 0)
            wire.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_RECVPKTINFO, 1)
            wire.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_RECVHOPLIMIT, 1)

    def join(self, index: int) -> None:
        """Hear a tap. Raises OSError."""
        _member(self.icmp, socket.IPV6_JOIN_GROUP, ALL_ROUTERS, index)
        _member(self.udp, socket.IPV6_JOIN_GROUP, ALL_SERVERS, index)
        self.indexes.add(index)

    def leave(self, index: int) -> None:
        """Hear a tap no more; one that is gone was left by the kernel."""
        self.indexes.discard(index)
        for wire, group in ((self.icmp, ALL_ROUTERS), (self.udp, ALL_SERVERS)):
            with contextlib.suppress(OSError):
                _member(wire, socket.IPV6_LEAVE_GROUP, group, index)


def receive(wire: socket.socket) -> Heard | None:
    """Return the next packet; None when there is none or its tap is not told."""
    try:
        data, ancillary, _, sender = wire.recvmsg(_LONGEST, 256)
    except OSError:
        return None  # nothing there, or an error that an earlier answer caused
    index, hop_limit = 0, -1
    for _, kind, value in ancillary:
        if kind == socket.IPV6_PKTINFO:
            index = struct.unpack("@16sI", value)[1]
        elif kind == socket.IPV6_HOPLIMIT:
            hop_limit = struct.unpack("@i", value)[0]
    return Heard(data, index, IPv6Address(sender[0].partition("%")[0]), hop_limit)


def _member(wire: socket.socket, change: int, group: IPv6Address, index: int) -> None:
    wire.setsockopt(socket.IPPROTO_IPV6, change, struct.pack("@16sI", group.packed, index))
