"""A trace message of nf_tables: which rule or policy a marked packet met, and what became of it.

NFT_MSG_TRACE, attributes NFTA_TRACE_* of linux/netfilter/nf_tables.h, in network byte order. The
first message of each base chain brings the packet's headers. `Event.unpack(event.pack()) == event`.
"""

import struct
from dataclasses import dataclass
from enum import IntEnum
from ipaddress import IPv4Address, IPv6Address

from chronovisor.errors import ProtocolError
from chronovisor.net.firewall.bytecode import attribute, nested, number, string
from chronovisor.net.firewall.messages import attributes, text
from chronovisor.net.settings import Address

MESSAGE = 17  # NFT_MSG_TRACE
GROUP = 9  # NFNLGRP_NFTRACE

_TABLE, _CHAIN, _HANDLE, _TYPE, _VERDICT, _ID = 1, 2, 3, 4, 5, 6
_LINK_HEADER, _NETWORK_HEADER, _TRANSPORT_HEADER = 7, 8, 9
_IIF, _OIF, _POLICY = 10, 12, 16
_HANDLE_SIZE = 8
_FAMILY_HEADER = 4  # struct nfgenmsg

VERDICTS = {0: "drop", 1: "accept", -1: "continue", -3: "jump", -4: "goto", -5: "return"}
"""NF_DROP, NF_ACCEPT, NFT_CONTINUE, NFT_JUMP, NFT_GOTO, NFT_RETURN."""

_STOLEN, _QUEUE = 2, 3
_CODES = {word: code for code, word in VERDICTS.items()}
_NUMBERS = {"stolen": _STOLEN, "queue": _QUEUE}


class Kind(IntEnum):
    """What a message tells of (enum nft_trace_types)."""

    POLICY = 1
    RETURN = 2
    RULE = 3


@dataclass(frozen=True, slots=True)
class Event:
    """One step of a packet. `packet` is the kernel's number for it, used again for later ones.

    `family` is that of the table (NFPROTO_*); `handle` of the rule, 0 for none; `target`
    the chain of a jump. `iif` and `oif` are device numbers, headers are empty but in the first
    message of a base chain.
    """

    packet: int
    family: int
    table: str
    chain: str
    kind: Kind
    verdict: str = ""
    target: str = ""
    handle: int = 0
    iif: int = 0
    oif: int = 0
    network: bytes = b""
    transport: bytes = b""

    def pack(self) -> bytes:
        """Return the body of the message: struct nfgenmsg and attributes."""
        code = _CODES.get(self.verdict, _NUMBERS.get(self.verdict, 0))
        parts = [
            bytes((self.family, 0, 0, 0)),
            string(_TABLE, self.table),
            string(_CHAIN, self.chain),
            number(_TYPE, self.kind),
            number(_ID, self.packet),
        ]
        if self.handle:
            parts.append(attribute(_HANDLE, struct.pack(">Q", self.handle)))
        if self.verdict and self.kind is Kind.POLICY:
            parts.append(number(_POLICY, code))
        elif self.verdict:
            chain = string(2, self.target) if self.target else b""
            parts.append(nested(_VERDICT, number(1, code), chain))
        parts += [
            number(kind, value) for kind, value in ((_IIF, self.iif), (_OIF, self.oif)) if value
        ]
        for kind, header in ((_NETWORK_HEADER, self.network), (_TRANSPORT_HEADER, self.transport)):
            if header:
                parts.append(attribute(kind, header))
        return b"".join(parts)

    @classmethod
    def unpack(cls, body: bytes) -> "Event":
        """Return the step that a message tells of. Raises `ProtocolError`."""
        if len(body) < _FAMILY_HEADER:
            raise ProtocolError(f"nftables: a trace message of {len(body)} bytes")
        found = dict(attributes(body[_FAMILY_HEADER:]))
        if _ID not in found or _TYPE not in found:
            raise ProtocolError("nftables: a trace message without packet or type")
        code = _u32(found[_TYPE], "type")
        try:
            kind = Kind(code)
        except ValueError:
            raise ProtocolError(f"nftables: a trace message of type {code}") from None
        verdict, target = _verdict(found, kind)
        return cls(
            packet=_u32(found[_ID], "number"),
            family=body[0],
            table=text(found.get(_TABLE, b"")),
            chain=text(found.get(_CHAIN, b"")),
            kind=kind,
            verdict=verdict,
            target=target,
            handle=_handle(found.get(_HANDLE, b"")),
            iif=_u32(found.get(_IIF, bytes(4)), "device"),
            oif=_u32(found.get(_OIF, bytes(4)), "device"),
            network=found.get(_NETWORK_HEADER, b""),
            transport=found.get(_TRANSPORT_HEADER, b""),
        )


def _verdict(found: dict[int, bytes], kind: Kind) -> tuple[str, str]:
    if kind is Kind.POLICY:
        return (_word(found[_POLICY]), "") if _POLICY in found else ("", "")
    if _VERDICT not in found:
        return "", ""
    inner = dict(attributes(found[_VERDICT]))
    return _word(inner.get(1, b"")), text(inner.get(2, b""))


def _word(value: bytes) -> str:
    code = struct.unpack(">i", struct.pack(">I", _u32(value, "verdict")))[0]
    if code in VERDICTS:
        return VERDICTS[code]
    return {_STOLEN: "stolen", _QUEUE: "queue"}.get(code & 0xFF, f"verdict {code}")


def _handle(value: bytes) -> int:
    if value and len(value) != _HANDLE_SIZE:
        raise ProtocolError(f"nftables: a rule's handle of {len(value)} bytes in a trace")
    return int.from_bytes(value, "big")


def _u32(value: bytes, what: str) -> int:
    if len(value) != 4:
        raise ProtocolError(f"nftables: a {what} of {len(value)} bytes in a trace message")
    return int.from_bytes(value, "big")


def endpoints(event: Event) -> tuple[Address, Address] | None:
    """Return source and target of the packet's IP header; None where there is none."""
    head = event.network
    if head[:1] and head[0] >> 4 == 4 and len(head) >= 20:
        return IPv4Address(head[12:16]), IPv4Address(head[16:20])
    if head[:1] and head[0] >> 4 == 6 and len(head) >= 40:
        return IPv6Address(head[8:24]), IPv6Address(head[24:40])
    return None


def describe(event: Event) -> str:
    """Return the packet in words, from its headers; empty where the message brings none."""
    ends = endpoints(event)
    if ends is None:
        return ""
    protocol = event.network[9] if ends[0].version == 4 else event.network[6]
    head = event.transport
    if protocol in (6, 17, 132) and len(head) >= 4:
        word = {6: "tcp", 17: "udp", 132: "sctp"}[protocol]
        source, target = struct.unpack_from(">HH", head)
        flags = f" flags {_flags(head[13])}" if protocol == 6 and len(head) > 13 else ""
        return f"{word} {_at(ends[0], source)} > {_at(ends[1], target)}{flags}"
    if protocol in (1, 58) and len(head) >= 2:
        word = "icmp" if protocol == 1 else "icmpv6"
        return f"{word} {ends[0]} > {ends[1]} type {head[0]} code {head[1]}"
    return f"protocol {protocol} {ends[0]} > {ends[1]}"


def _at(address: Address, port: int) -> str:
    return f"[{address}]:{port}" if address.version == 6 else f"{address}:{port}"


def _flags(value: int) -> str:
    words = ("fin", "syn", "rst", "psh", "ack", "urg")
    return "+".join(word for bit, word in enumerate(words) if value >> bit & 1) or "none"
