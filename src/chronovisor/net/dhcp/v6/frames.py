"""Answers as whole IPv6 packets, sent to a VM's MAC address without asking for a neighbour.

The kernel's table of neighbours holds 1,024 entries for all devices together unless it is told
otherwise (`gc_thresh3`), so with a thousand VMs an ordinary socket fails to answer some of them
(seen: "neighbor table overflow"). The MAC address is the port's and known. Neither need the tap
have its own address yet.
"""

import socket
import struct
from ipaddress import IPv6Address

ALL_NODES = IPv6Address("ff02::1")
ALL_NODES_MAC = bytes.fromhex("333300000001")  # RFC 2464 section 7
UDP, ICMP6 = 17, 58
_ETHERTYPE = 0x86DD
_HOP_LIMIT = 255  # RFC 4861 section 4.2 demands it of advertisements; DHCPv6 does not mind


def open_wire() -> socket.socket:
    """Return the socket for `send`; it hears nothing."""
    return socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, 0)


def send(wire: socket.socket, device: str, mac: bytes, packet: bytes) -> None:
    """Send an IPv6 packet through a device to a MAC address. Raises OSError."""
    wire.sendto(packet, (device, _ETHERTYPE, 0, 0, mac))


def icmp6(source: IPv6Address, to: IPv6Address, message: bytes) -> bytes:
    """Return an ICMPv6 message, whose checksum field is 0, as a packet."""
    total = checksum(source, to, ICMP6, message)
    return _packet(source, to, ICMP6, message[:2] + struct.pack("!H", total) + message[4:])


def udp(source: IPv6Address, to: IPv6Address, ports: tuple[int, int], data: bytes) -> bytes:
    """Return a datagram between two ports (from, to) as a packet."""
    datagram = struct.pack("!HHHH", *ports, 8 + len(data), 0) + data
    total = checksum(source, to, UDP, datagram) or 0xFFFF  # RFC 8200 section 8.1: never 0
    return _packet(source, to, UDP, datagram[:6] + struct.pack("!H", total) + datagram[8:])


def checksum(source: IPv6Address, to: IPv6Address, protocol: int, data: bytes) -> int:
    """Return the checksum of upper-layer data with its pseudo-header (RFC 8200 section 8.1)."""
    whole = source.packed + to.packed + struct.pack("!II", len(data), protocol) + data
    whole += bytes(len(whole) % 2)
    # A big-endian number modulo 0xFFFF is the one's complement sum of its 16-bit words.
    total = int.from_bytes(whole, "big") % 0xFFFF
    return 0xFFFF - total


def _packet(source: IPv6Address, to: IPv6Address, protocol: int, data: bytes) -> bytes:
    head = struct.pack("!IHBB", 6 << 28, len(data), protocol, _HOP_LIMIT)
    return head + source.packed + to.packed + data
