"""Asks on a tap who is there: the guest itself answers, whatever the kernel or a lease says.

The host's own neighbour entries are permanent, so the kernel never asks. One ARP request (RFC 826)
or neighbour solicitation (RFC 4861 section 4.3) goes out with the host's usual MAC address, and an
echo request to all nodes of the link, which tells a guest with other addresses from none at all.
A packet socket hears the answer before any firewall.
"""

import contextlib
import select
import socket
import struct
import time
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address

from chronovisor.net.dhcp.v6.frames import icmp6
from chronovisor.net.explain.observed import Answers
from chronovisor.net.marks import GATEWAY_LINK_LOCAL, GATEWAY_MAC
from chronovisor.net.settings import Address

WAIT_S = 1.0
"""How long a silent guest is waited for; a busy one may need some of it."""

AGAIN_S = 0.25

_ARP, _IPV6, _ALL = 0x0806, 0x86DD, 3  # ETH_P_*
_MOST_FRAMES = 4096
_SOLICITATION, _ADVERTISEMENT, _ECHO = 135, 136, 128  # ICMPv6 types
_OUTGOING = 4  # PACKET_OUTGOING


@dataclass(frozen=True, slots=True)
class Ask:
    """Whom to ask for, on which device, in whose name (an address of the host on it)."""

    device: str
    address: Address
    sender: Address


def ask(question: Ask, wait_s: float = WAIT_S) -> Answers:
    """Return who answers. Blocks up to `wait_s`; a device that goes meanwhile is a `problem`."""
    try:
        with contextlib.closing(_opened(question.device)) as wire:
            return _exchange(wire, question, wait_s)
    except OSError as error:
        return Answers(problem=f"cannot ask on {question.device}: {error.strerror or error}")


def _opened(device: str) -> socket.socket:
    wire = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
    try:
        wire.bind((device, _ALL))
    except OSError:
        wire.close()
        raise
    wire.setblocking(False)
    return wire


def _exchange(wire: socket.socket, question: Ask, wait_s: float) -> Answers:
    began = time.monotonic()
    deadline, again = began + wait_s, began
    others: set[str] = set()
    for _ in range(_MOST_FRAMES):
        now = time.monotonic()
        if now >= deadline:
            break
        if now >= again:
            again = now + AGAIN_S
            for frame in _frames(question):
                wire.send(frame)
        select.select([wire], [], [], max(0.0, min(again, deadline) - time.monotonic()))
        with contextlib.suppress(BlockingIOError):
            frame, origin = wire.recvfrom(2048)
            if origin[2] == _OUTGOING:
                continue
            others.add(frame[6:12].hex(":"))
            if mac := answered(frame, question.address):
                return Answers(mac, frozenset(others), time.monotonic() - began)
    return Answers("", frozenset(others), time.monotonic() - began)


def _frames(question: Ask) -> list[bytes]:
    echo = struct.pack(">BBHHH", _ECHO, 0, 0, 0x5643, 1)
    everybody = IPv6Address("ff02::1")
    hello = icmp6(GATEWAY_LINK_LOCAL, everybody, echo)
    first = _solicitation(question) if question.address.version == 6 else _arp(question)
    return [first, _ethernet(b"\x33\x33" + everybody.packed[12:], _IPV6, hello)]


def _arp(question: Ask) -> bytes:
    sender, target = question.sender, question.address
    assert isinstance(sender, IPv4Address)
    body = struct.pack(">HHBBH", 1, 0x0800, 6, 4, 1)
    body += _mac() + sender.packed + bytes(6) + target.packed
    return _ethernet(b"\xff" * 6, _ARP, body)


def _solicitation(question: Ask) -> bytes:
    target = question.address
    assert isinstance(target, IPv6Address)
    group = IPv6Address(b"\xff\x02" + bytes(9) + b"\x01\xff" + target.packed[13:])
    body = struct.pack(">BBHI", _SOLICITATION, 0, 0, 0) + target.packed + b"\x01\x01" + _mac()
    packet = icmp6(GATEWAY_LINK_LOCAL, group, body)
    return _ethernet(b"\x33\x33" + group.packed[12:], _IPV6, packet)


def answered(frame: bytes, address: Address) -> str:
    """Return the MAC address that a frame says an address has; empty when it says nothing of it."""
    kind = frame[12:14]
    if address.version == 4:
        is_reply = kind == b"\x08\x06" and frame[20:22] == b"\x00\x02" and len(frame) >= 42
        return frame[22:28].hex(":") if is_reply and frame[28:32] == address.packed else ""
    is_advert = kind == b"\x86\xdd" and len(frame) >= 78 and frame[20] == 58
    if not is_advert or frame[54] != _ADVERTISEMENT or frame[62:78] != address.packed:
        return ""
    has_option = len(frame) >= 86 and frame[78:80] == b"\x02\x01"
    return (frame[80:86] if has_option else frame[6:12]).hex(":")


def _ethernet(to: bytes, kind: int, payload: bytes) -> bytes:
    return (to + _mac() + struct.pack(">H", kind) + payload).ljust(60, b"\0")


def _mac() -> bytes:
    return bytes.fromhex(GATEWAY_MAC.replace(":", ""))
