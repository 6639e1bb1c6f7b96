"""Hosts and VMs of the DHCP tests: namespaces with taps, and what a VM sends and gets.

A tap is a veth whose other end plays the VM. The client speaks DHCP from raw frames, as a VM
without an address must, so nothing of this machine's own network stack helps it.
"""

import contextlib
import ctypes
import os
import select
import socket
import struct
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address
from pathlib import Path
from types import TracebackType
from typing import TypeVar

T = TypeVar("T")

CLONE_NEWNET = 0x40000000
COOKIE = bytes((99, 130, 83, 99))  # RFC 2131 section 3
DISCOVER, OFFER, REQUEST, ACK, NAK = 1, 2, 3, 5, 6  # RFC 2132 section 9.6
ASKED_FOR = bytes((1, 3, 6, 12, 15, 26, 28, 42, 51, 58, 59, 121))
SOLICIT, ADVERTISE, REQUEST6, REPLY, INFORMATION_REQUEST = 1, 2, 3, 7, 11  # RFC 8415 7.3
WAIT_S = 20.0
RETRY_S = 0.5


@contextlib.contextmanager
def entered(namespace: str) -> Iterator[None]:
    """Have the calling thread, and the processes it starts, in the namespace meanwhile."""
    with (
        Path("/proc/thread-self/ns/net").open() as home,
        Path(f"/run/netns/{namespace}").open() as away,
    ):
        _enter(away.fileno())
        try:
            yield
        finally:
            _enter(home.fileno())


def _enter(fd: int) -> None:
    if ctypes.CDLL(None, use_errno=True).setns(fd, CLONE_NEWNET):
        raise OSError(ctypes.get_errno(), "setns")


def inside(namespace: str, make: Callable[[], T]) -> T:
    """Return what `make` makes in a thread that entered the namespace; sockets stay in it."""
    made: list[T] = []
    failed: list[BaseException] = []

    def work() -> None:
        try:
            with entered(namespace):
                made.append(make())
        except BaseException as error:  # noqa: BLE001 - raised again in the caller's thread
            failed.append(error)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    if failed:
        raise failed[0]
    return made[0]


def ip(*words: str, namespace: str = "") -> str:
    """Run ip(8) and return its output."""
    command = ["ip", *(["-n", namespace] if namespace else []), *words]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


@dataclass(frozen=True, slots=True)
class Lease:
    """What a server granted: the address and the options by number."""

    address: IPv4Address
    options: dict[int, bytes]


@dataclass(frozen=True, slots=True)
class Lease6:
    """What a DHCPv6 server granted: addresses and top-level options by number."""

    addresses: tuple[IPv6Address, ...]
    options: dict[int, bytes]


class Nobody(Exception):
    """No server answered."""


class Guest:
    """A VM's network interface in `namespace`, which talks for itself."""

    def __init__(self, namespace: str, device: str, mac: str) -> None:
        self.namespace = namespace
        self.device = device
        self.mac = bytes.fromhex(mac.replace(":", ""))
        self._number = 0

    def lease(self, wait_s: float = WAIT_S) -> Lease:
        """Discover and request; return the lease. Raises `Nobody`."""
        deadline = time.monotonic() + wait_s
        with inside(self.namespace, self._packet_socket) as wire:
            while True:
                try:
                    return self._exchange(wire, deadline)
                except Nobody:
                    if time.monotonic() >= deadline:
                        raise

    def lease_took_s(self) -> float:
        """Return how long a lease takes from the first message to the last.

        Making a packet socket and closing it, not counted here, takes the kernel much longer.
        """
        with inside(self.namespace, self._packet_socket) as wire:
            began = time.monotonic()
            self._exchange(wire, began + WAIT_S)
            return time.monotonic() - began

    def discover(self, wait_s: float) -> Lease:
        """Return the first offer."""
        with inside(self.namespace, self._packet_socket) as wire:
            return self._ask(wire, DISCOVER, OFFER, b"", time.monotonic() + wait_s)

    def request(self, address: IPv4Address, wait_s: float = WAIT_S) -> int:
        """Ask for an address, as after a reboot; return the kind of the answer (ACK or NAK)."""
        with inside(self.namespace, self._packet_socket) as wire:
            extra = bytes((50, 4)) + address.packed
            return self._ask(wire, REQUEST, 0, extra, time.monotonic() + wait_s).options[53][0]

    def lease6(self, wait_s: float = WAIT_S, *, duid: bytes = b"") -> Lease6:
        """Solicit and request an IA_NA; return the lease. Raises `Nobody`."""
        deadline = time.monotonic() + wait_s
        duid = duid or struct.pack("!HH", 3, 1) + self.mac  # DUID-LL, RFC 8415 section 11.4
        with inside(self.namespace, self._udp6_socket) as wire:
            ours = _option6(1, duid) + _option6(3, struct.pack("!III", 7, 0, 0))
            offer = self._ask6(wire, SOLICIT, ADVERTISE, ours, deadline)
            if not offer.addresses:
                raise Nobody(f"{self.device}: {offer.options}")
            chosen = ours + _option6(2, offer.options[2])
            return self._ask6(wire, REQUEST6, REPLY, chosen, deadline)

    def information6(self, wait_s: float = WAIT_S) -> Lease6:
        """Ask for options only (stateless DHCPv6)."""
        with inside(self.namespace, self._udp6_socket) as wire:
            ours = _option6(1, struct.pack("!HH", 3, 1) + self.mac)
            return self._ask6(wire, INFORMATION_REQUEST, REPLY, ours, time.monotonic() + wait_s)

    def advertisement(self, wait_s: float = WAIT_S, *, solicit: bool = True) -> bytes:
        """Return a router advertisement (ICMPv6 from its type on), solicited or awaited."""
        deadline = time.monotonic() + wait_s
        with inside(self.namespace, self._icmp6_socket) as wire:
            while True:
                if solicit:
                    source = bytes((1, 1)) + self.mac
                    # RFC 4861 section 4.1
                    _multicast(wire, bytes((133, 0, 0, 0, 0, 0, 0, 0)) + source, "ff02::2", 0)
                again = min(time.monotonic() + RETRY_S, deadline)
                while _readable(wire, again):
                    packet = wire.recv(4096)
                    if packet[0] == 134:
                        return packet
                if time.monotonic() >= deadline:
                    raise Nobody(f"{self.device}: no router advertisement")

    def _exchange(self, wire: socket.socket, deadline: float) -> Lease:
        offer = self._ask(wire, DISCOVER, OFFER, b"", deadline)
        extra = bytes((50, 4)) + offer.address.packed + bytes((54, 4)) + offer.options[54]
        answer = self._ask(wire, REQUEST, 0, extra, min(time.monotonic() + 2, deadline))
        if answer.options[53][0] != ACK:
            raise Nobody(f"{self.device}: refused")
        return answer

    def udp6(self) -> socket.socket:
        """Return a socket as DHCPv6 clients have it."""
        return inside(self.namespace, self._udp6_socket)

    def _packet_socket(self) -> socket.socket:
        wire = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(0x0800))
        wire.bind((self.device, 0x0800))
        return wire

    def _udp6_socket(self) -> socket.socket:
        index = socket.if_nametoindex(self.device)
        wire = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
        wire.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, self.device.encode())
        wire.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_IF, index)
        wire.bind(("::", 546))
        return wire

    def _icmp6_socket(self) -> socket.socket:
        index = socket.if_nametoindex(self.device)
        wire = socket.socket(socket.AF_INET6, socket.SOCK_RAW, socket.IPPROTO_ICMPV6)
        wire.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, self.device.encode())
        wire.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_IF, index)
        wire.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_HOPS, 255)
        return wire

    def _ask(
        self, wire: socket.socket, kind: int, wanted: int, extra: bytes, deadline: float
    ) -> Lease:
        """Send a message, again each second, until an answer of the wanted kind (0: any)."""
        self._number += 1
        xid = os.urandom(4)
        frame = _frame(self.mac, _message(self.mac, xid, kind, extra))
        while True:
            wire.send(frame)
            again = min(time.monotonic() + RETRY_S, deadline)
            while _readable(wire, again):
                answer = _answer(wire.recv(65535), xid)
                if answer and wanted in (0, answer.options[53][0]):
                    return answer
            if time.monotonic() >= deadline:
                raise Nobody(f"{self.device}: nobody answered")

    def _ask6(
        self, wire: socket.socket, kind: int, wanted: int, options: bytes, deadline: float
    ) -> Lease6:
        xid = os.urandom(3)
        asked = _option6(6, struct.pack("!6H", 23, 24, 31, 56, 39, 21)) + _option6(8, b"\0\0")
        while True:
            _multicast(wire, bytes((kind,)) + xid + options + asked, "ff02::1:2", 547)
            again = min(time.monotonic() + RETRY_S, deadline)
            while _readable(wire, again):
                packet = wire.recv(65535)
                if packet[0] == wanted and packet[1:4] == xid:
                    return _lease6(packet[4:])
            if time.monotonic() >= deadline:
                raise Nobody(f"{self.device}: nobody answered")


class Host:
    """A host's namespace and one for its VMs, both removed at the end."""

    def __init__(self, name: str) -> None:
        self.namespace = f"{name}h"
        self.guests = f"{name}v"

    def __enter__(self) -> "Host":
        for namespace in (self.namespace, self.guests):
            ip("netns", "add", namespace)
            ip("link", "set", "lo", "up", namespace=namespace)
        # As the host of a routed network has it; the kernel then hears router solicitations.
        inside(self.namespace, lambda: _sysctl("net/ipv6/conf/all/forwarding", "1"))
        inside(self.namespace, lambda: _sysctl("net/ipv6/conf/default/accept_dad", "0"))
        inside(self.guests, lambda: _sysctl("net/ipv6/conf/default/accept_dad", "0"))
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        for namespace in (self.namespace, self.guests):
            ip("netns", "del", namespace)

    def tap(self, device: str, mac: str, *gateways: str) -> Guest:
        """Add a tap with the gateway's addresses; return the VM's end."""
        guest = f"vm{device[3:]}"
        ip("link", "add", device, "type", "veth", "peer", "name", guest, "netns", self.guests,
           namespace=self.namespace)  # fmt: skip
        ip("link", "set", guest, "address", mac, "up", namespace=self.guests)
        ip("link", "set", device, "up", namespace=self.namespace)
        for gateway in gateways:
            ip("address", "add", gateway, "dev", device, "noprefixroute", namespace=self.namespace)
        return Guest(self.guests, guest, mac)

    def taps(self, macs: Mapping[str, str], *gateways: str) -> list[Guest]:
        """Add many taps at once, by device name with the MAC addresses of their VMs."""
        ours, theirs = [], []
        for device, mac in macs.items():
            guest = f"vm{device[3:]}"
            ours.append(f"link add {device} type veth peer name {guest} netns {self.guests}")
            ours.append(f"link set {device} up")
            ours += [f"address add {one} dev {device} noprefixroute" for one in gateways]
            theirs.append(f"link set {guest} address {mac} up")
        for namespace, lines in ((self.namespace, ours), (self.guests, theirs)):
            command = ["ip", "-n", namespace, "-batch", "-"]
            subprocess.run(command, input="\n".join(lines), text=True, check=True)
        return [Guest(self.guests, f"vm{device[3:]}", mac) for device, mac in macs.items()]

    def remove(self, device: str) -> None:
        """Remove a tap with its VM."""
        ip("link", "del", device, namespace=self.namespace)


def _sysctl(name: str, value: str) -> None:
    Path("/proc/sys", name).write_text(value)


def _multicast(wire: socket.socket, data: bytes, to: str, port: int) -> None:
    with contextlib.suppress(OSError):  # no link-local address yet; it is sent again
        wire.sendto(data, (to, port))


def _readable(wire: socket.socket, until: float) -> bool:
    wait_s = until - time.monotonic()
    return wait_s > 0 and bool(select.select([wire], [], [], wait_s)[0])


def _message(mac: bytes, xid: bytes, kind: int, extra: bytes) -> bytes:
    head = struct.pack("!BBBB4sHH16x16s64x128x", 1, 1, 6, 0, xid, 0, 0, mac)
    asked = bytes((55, len(ASKED_FOR))) + ASKED_FOR
    largest = struct.pack("!BBH", 57, 2, 1500)
    return head + COOKIE + bytes((53, 1, kind)) + extra + largest + asked + b"\xff"


def _frame(mac: bytes, message: bytes) -> bytes:
    udp = struct.pack("!HHHH", 68, 67, 8 + len(message), 0) + message  # no checksum, RFC 768
    head = struct.pack(
        "!BBHHHBBH4s4s", 0x45, 0, 20 + len(udp), 0, 0, 64, 17, 0, bytes(4), b"\xff" * 4
    )
    head = head[:10] + struct.pack("!H", _checksum(head)) + head[12:]
    return b"\xff" * 6 + mac + b"\x08\x00" + head + udp


def _checksum(data: bytes) -> int:
    total: int = sum(struct.unpack(f"!{len(data) // 2}H", data))
    total = (total >> 16) + (total & 0xFFFF)
    return ~(total + (total >> 16)) & 0xFFFF


def _answer(frame: bytes, xid: bytes) -> Lease | None:
    """Return the DHCP answer in a frame if it is one to this transaction."""
    packet = frame[14:]
    head = (packet[0] & 15) * 4
    if packet[9] != 17 or packet[head : head + 4] != struct.pack("!HH", 67, 68):
        return None
    message = packet[head + 8 :]
    if message[0] != 2 or message[4:8] != xid or message[236:240] != COOKIE:
        return None
    options: dict[int, bytes] = {}
    rest = message[240:]
    while rest and rest[0] != 255:
        if rest[0] == 0:
            rest = rest[1:]
            continue
        options[rest[0]] = options.get(rest[0], b"") + rest[2 : 2 + rest[1]]  # RFC 3396
        rest = rest[2 + rest[1] :]
    return Lease(IPv4Address(message[16:20]), options)


def _option6(code: int, value: bytes) -> bytes:
    return struct.pack("!HH", code, len(value)) + value


def _options6(data: bytes) -> list[tuple[int, bytes]]:
    found = []
    while len(data) >= 4:
        code, length = struct.unpack_from("!HH", data)
        found.append((code, data[4 : 4 + length]))
        data = data[4 + length :]
    return found


def _lease6(data: bytes) -> Lease6:
    options = _options6(data)
    addresses = [
        IPv6Address(inner[:16])
        for code, value in options
        if code == 3
        for kind, inner in _options6(value[12:])
        if kind == 5
    ]
    return Lease6(tuple(addresses), dict(options))
