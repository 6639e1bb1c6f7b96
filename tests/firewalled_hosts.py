"""A host and its VMs for tests of the firewall: network namespaces of the test's own.

The host is a namespace that the test's thread enters; a VM is a namespace behind a veth whose end
in the host plays the tap. Sockets opened `inside` a VM stay there, so one process plays everybody.
"""

import contextlib
import ctypes
import os
import select
import socket
import struct
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv6Address, ip_address
from pathlib import Path
from typing import Any

CLONE_NEWNET = 0x40000000
DEADLINE_S = 60.0
GATEWAY4, GATEWAY6, LINK_LOCAL = "10.0.0.1", "2001:db8::1", "fe80::1"
METADATA4, METADATA6 = "169.254.169.254", "fe80::a9fe:a9fe"
NETWORK = {
    "subnets": [
        {"prefix": "10.0.0.0/16", "gateway": GATEWAY4, "dns_servers": [GATEWAY4]},
        {"prefix": "2001:db8::/64", "gateway": GATEWAY6},
    ]
}
BROADCAST_MAC = "ff:ff:ff:ff:ff:ff"
ETH_P_ALL, ETH_P_IP, ETH_P_IPV6, ETH_P_ARP = 3, 0x0800, 0x86DD, 0x0806

_libc = ctypes.CDLL(None, use_errno=True)


def setns(descriptor: int) -> None:
    """Bring this thread into a network namespace."""
    if _libc.setns(descriptor, CLONE_NEWNET):
        raise OSError(ctypes.get_errno(), "setns")


@contextlib.contextmanager
def new_namespace() -> Iterator[int]:
    """Make a network namespace, stay where we are, and give a descriptor that keeps it."""
    here = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
    if _libc.unshare(CLONE_NEWNET):
        raise OSError(ctypes.get_errno(), "unshare")
    there = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
    setns(here)
    try:
        yield there
    finally:
        setns(here)
        os.close(there)
        os.close(here)


@contextlib.contextmanager
def inside(descriptor: int) -> Iterator[None]:
    """Be in a network namespace for a while."""
    here = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
    setns(descriptor)
    try:
        yield
    finally:
        setns(here)
        os.close(here)


def run(*words: str, text: str | None = None) -> str:
    """Run a program here and return what it says."""
    done = subprocess.run(words, input=text, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{words}: {done.stderr}"
    return done.stdout


def sysctl(path: str, value: int) -> None:
    """Set a sysctl of this namespace."""
    Path("/proc/sys/net", path).write_text(f"{value}\n")


@dataclass
class Vm:
    """One VM: its number gives device `tap<n>`, MAC and addresses."""

    number: int
    namespace: int
    tap: str
    sockets: list[socket.socket] = field(default_factory=list)

    @property
    def mac(self) -> str:
        """Return the VM's MAC address."""
        return f"02:00:00:00:00:{self.number:02x}"

    @property
    def address4(self) -> str:
        """Return the VM's IPv4 address."""
        return f"10.0.0.{self.number + 10}"

    @property
    def address6(self) -> str:
        """Return the VM's IPv6 address."""
        return f"2001:db8::{self.number + 16:x}"

    def open(self, family: int, kind: int, protocol: int = 0) -> socket.socket:
        """Open a socket in the VM."""
        with inside(self.namespace):
            opened = socket.socket(family, kind, protocol)
        opened.settimeout(DEADLINE_S)
        self.sockets.append(opened)
        return opened

    def close(self) -> None:
        """Close all sockets of the VM."""
        for one in self.sockets:
            one.close()

    def udp(self, address: str, port: int = 0) -> socket.socket:
        """Return a UDP socket bound in the VM."""
        opened = self.open(family_of(address), socket.SOCK_DGRAM)
        opened.bind((address, port))
        return opened

    def raw(self) -> socket.socket:
        """Return a packet socket on the VM's interface: whole frames."""
        opened = self.open(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ETH_P_ALL))
        with inside(self.namespace):
            opened.bind(("eth0", ETH_P_ALL))
        opened.setsockopt(socket.SOL_SOCKET, 33, 4 << 20)  # SO_RCVBUFFORCE
        return opened

    def port(self, **more: Any) -> dict[str, Any]:
        """Return the VM's port as a setting."""
        return {
            "device": self.tap,
            "mac": self.mac,
            "network": "lan",
            "addresses": [self.address4, self.address6],
            **more,
        }


class Host:
    """The host: a namespace, entered by this thread, with VMs behind taps."""

    def __init__(self, stack: contextlib.ExitStack) -> None:
        self._stack = stack
        self.namespace = stack.enter_context(new_namespace())
        stack.enter_context(inside(self.namespace))
        for family in ("ipv4/conf/all/forwarding", "ipv6/conf/all/forwarding"):
            sysctl(family, 1)
        sysctl("ipv6/conf/default/accept_dad", 0)
        sysctl("ipv4/conf/all/rp_filter", 0)
        sysctl("ipv4/conf/default/rp_filter", 0)
        run("ip", "link", "set", "lo", "up")
        run("ip", "address", "add", f"{METADATA4}/32", "dev", "lo")

    def add_vm(self, number: int, tap: str | None = None) -> Vm:
        """Add a VM with its routes; no firewall yet."""
        vm = Vm(number, self._stack.enter_context(new_namespace()), tap or f"tap{number}")
        run(
            *("ip", "link", "add", vm.tap, "type", "veth", "peer", "name", "eth0"),
            *("address", vm.mac, "netns", f"/proc/{os.getpid()}/fd/{vm.namespace}"),
        )
        run(
            *("ip", "-batch", "-"),
            text=f"""link set {vm.tap} up
address add {GATEWAY4}/32 dev {vm.tap}
address add {GATEWAY6}/128 dev {vm.tap} nodad
address add {LINK_LOCAL}/64 dev {vm.tap} nodad
address add {METADATA6}/64 dev {vm.tap} nodad
route add {vm.address4}/32 dev {vm.tap}
route add {vm.address6}/128 dev {vm.tap}
neighbour add {vm.address4} lladdr {vm.mac} dev {vm.tap}
neighbour add {vm.address6} lladdr {vm.mac} dev {vm.tap}
""",
        )
        with inside(vm.namespace):
            sysctl("ipv6/conf/default/accept_dad", 0)
            sysctl("ipv6/conf/eth0/accept_dad", 0)
            sysctl("ipv6/conf/eth0/router_solicitations", 0)
            run(
                *("ip", "-batch", "-"),
                text=f"""link set lo up
link set eth0 up
address add {vm.address4}/32 dev eth0
address add {vm.address6}/128 dev eth0 nodad
route add {GATEWAY4}/32 dev eth0
route add {METADATA4}/32 via {GATEWAY4}
route add default via {GATEWAY4}
route add default via {LINK_LOCAL} dev eth0
""",
            )
            wait_until_ready("eth0")
        wait_until_ready(vm.tap)
        self._stack.callback(vm.close)
        return vm

    def open(self, family: int, kind: int, protocol: int = 0) -> socket.socket:
        """Open a socket on the host."""
        opened = self._stack.enter_context(socket.socket(family, kind, protocol))
        opened.settimeout(DEADLINE_S)
        return opened


def mac_of(vm: Vm) -> str:
    """Return the MAC address of the host's end of a VM's tap."""
    words = run("ip", "-o", "link", "show", "dev", vm.tap).split()
    return words[words.index("link/ether") + 1]


@contextlib.contextmanager
def firewalled_host() -> Iterator[Host]:
    """Make a host; everything of it is gone afterwards."""
    with contextlib.ExitStack() as stack:
        yield Host(stack)


def family_of(address: str) -> socket.AddressFamily:
    """Return the socket family of an address."""
    return socket.AF_INET6 if ":" in address else socket.AF_INET


def arrived(waiting: socket.socket) -> bytes | None:
    """Return what has arrived already, without waiting."""
    readable, _, _ = select.select([waiting], [], [], 0)
    return waiting.recv(65536) if readable else None


def wait_for(condition: Callable[[], bool], what: str) -> None:
    """Wait until something is so; fail when it never is."""
    deadline = time.monotonic() + DEADLINE_S
    while not condition():
        assert time.monotonic() < deadline, f"never: {what}"
        select.select([], [], [], 0.01)


def wait_until_ready(device: str) -> None:
    """Wait until a device has its queue: what is sent before that is lost without a word."""
    wait_for(
        lambda: " qdisc noqueue state UP " in run("ip", "-o", "link", "show", "dev", device),
        f"{device} is ready",
    )


def read_until(waiting: socket.socket, mark: bytes) -> list[bytes]:
    """Return all frames or datagrams up to the one that holds a mark."""
    found: list[bytes] = []
    while True:
        found.append(waiting.recv(65536))
        if mark in found[-1]:
            return found


def checksum(data: bytes) -> int:
    """Return the Internet checksum (RFC 1071)."""
    padded = data + b"\0" * (len(data) % 2)
    total: int = sum(struct.unpack(f">{len(padded) // 2}H", padded))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def mac_bytes(mac: str) -> bytes:
    """Return a MAC address as bytes."""
    return bytes.fromhex(mac.replace(":", ""))


def frame(target: str, source: str, kind: int, payload: bytes) -> bytes:
    """Return an Ethernet frame."""
    return mac_bytes(target) + mac_bytes(source) + struct.pack(">H", kind) + payload


def ipv4(source: str, target: str, protocol: int, payload: bytes) -> bytes:
    """Return an IPv4 packet."""
    addresses = IPv4Address(source).packed + IPv4Address(target).packed
    head = struct.pack(">BBHHHBBH", 0x45, 0, 20 + len(payload), 1, 0, 64, protocol, 0) + addresses
    return head[:10] + struct.pack(">H", checksum(head)) + head[12:] + payload


def ipv6(source: str, target: str, protocol: int, payload: bytes, hops: int = 255) -> bytes:
    """Return an IPv6 packet."""
    head = struct.pack(">IHBB", 0x60000000, len(payload), protocol, hops)
    return head + IPv6Address(source).packed + IPv6Address(target).packed + payload


def udp(source: str, target: str, ports: tuple[int, int], data: bytes) -> bytes:
    """Return an IP packet with a UDP datagram."""
    one, other = ip_address(source).packed, ip_address(target).packed
    head = struct.pack(">HHHH", *ports, 8 + len(data), 0)
    pseudo = one + other + struct.pack(">IHBB", 8 + len(data), 0, 0, 17)
    total = checksum(pseudo + head + data) or 0xFFFF
    datagram = head[:6] + struct.pack(">H", total) + data
    build = ipv4 if len(one) == 4 else ipv6
    return build(source, target, 17, datagram)


def icmpv6(source: str, target: str, kind: int, body: bytes) -> bytes:
    """Return an IPv6 packet with an ICMPv6 message of code 0."""
    message = struct.pack(">BBH", kind, 0, 0) + body
    pseudo = IPv6Address(source).packed + IPv6Address(target).packed
    total = checksum(pseudo + struct.pack(">II", len(message), 58) + message)
    return ipv6(source, target, 58, message[:2] + struct.pack(">H", total) + message[4:])


def arp(operation: int, mac: str, address: str, asked: str) -> bytes:
    """Return an ARP message for Ethernet and IPv4 (RFC 826)."""
    head = struct.pack(">HHBBH", 1, ETH_P_IP, 6, 4, operation)
    sender = mac_bytes(mac) + IPv4Address(address).packed
    return head + sender + bytes(6) + IPv4Address(asked).packed
