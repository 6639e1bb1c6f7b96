"""Frames that a preflight sends and hears: PTP event messages and LLDP announcements.

Whatever comes from the network is hostile until read: what is not whole raises `ProtocolError`.
Sources: IEEE 1588-2019 annexes C to E and clause 13, IEEE 802.1AB-2016 clauses 8 and 9.
"""

import struct
from dataclasses import dataclass

from chronovisor.clock.ptp.header import Header
from chronovisor.clock.ptp.identity import ClockIdentity, PortIdentity
from chronovisor.clock.ptp.vocabulary import MessageType
from chronovisor.errors import ProtocolError

ETHERTYPE_PTP, ETHERTYPE_LLDP = 0x88F7, 0x88CC
ETHERTYPE_IPV4, ETHERTYPE_IPV6 = 0x0800, 0x86DD
PTP_GROUP = bytes.fromhex("011b19000000")  # IEEE 1588-2019 annex E
GROUPS = (
    PTP_GROUP,
    bytes.fromhex("0180c200000e"),  # LLDP and peer delay, IEEE 802.1Q table 8-1
    bytes.fromhex("01005e000181"),  # 224.0.1.129
    bytes.fromhex("01005e00006b"),  # 224.0.0.107
    bytes.fromhex("333300000181"),  # ff0e::181
    bytes.fromhex("33330000006b"),  # ff02::6b
)
DOMAIN = 127
"""Domain of the messages sent: no profile uses it, so that nobody takes them for its own."""

_SHORTEST = 60  # octets of an Ethernet frame without its check sequence
_UDP_HEADER, _IPV6_HEADER = 8, 40
_TIMESTAMP = b"\0" * 10
_EVENTS = {
    MessageType.SYNC,
    MessageType.DELAY_REQ,
    MessageType.PDELAY_REQ,
    MessageType.PDELAY_RESP,
}
_CHASSIS_ID, _PORT_ID, _SYSTEM_NAME = 1, 2, 5
_MAC_SUBTYPES = {_CHASSIS_ID: 4, _PORT_ID: 3}


@dataclass(frozen=True, slots=True)
class Message:
    """A PTP message that was heard; `event` ones are those that a NIC has to stamp."""

    name: str
    event: bool
    domain: int
    transport: str
    source: str


@dataclass(frozen=True, slots=True)
class Neighbour:
    """Who says to be at the other end of the link (LLDP)."""

    chassis: str
    port: str
    system: str


def delay_request(mac: bytes, sequence: int) -> bytes:
    """Return an Ethernet frame with a Delay_Req: an event message that asks nobody to follow."""
    identity = ClockIdentity(mac[:3] + b"\xff\xfe" + mac[3:])
    body = Header(
        MessageType.DELAY_REQ,
        34 + len(_TIMESTAMP),
        DOMAIN,
        PortIdentity(identity, 1),
        sequence & 0xFFFF,
    ).pack()
    frame = PTP_GROUP + mac + struct.pack(">H", ETHERTYPE_PTP) + body + _TIMESTAMP
    return frame.ljust(_SHORTEST, b"\0")


def message(ethertype: int, data: bytes) -> Message:
    """Return the PTP message in a packet; `data` begins behind the link header."""
    try:
        if ethertype == ETHERTYPE_PTP:
            transport, start = "L2", 0
        elif ethertype == ETHERTYPE_IPV4:
            transport, start = "UDPv4", (data[0] & 0xF) * 4 + _UDP_HEADER
        elif ethertype == ETHERTYPE_IPV6:
            transport, start = "UDPv6", _IPV6_HEADER + _UDP_HEADER
        else:
            raise ProtocolError(f"ethertype 0x{ethertype:04x} carries no PTP")
    except IndexError as reason:
        raise ProtocolError("an empty packet") from reason
    header = Header.unpack(data[start:])
    return Message(
        header.message_type.name,
        header.message_type in _EVENTS,
        header.domain_number,
        transport,
        str(header.source),
    )


def neighbour(data: bytes) -> Neighbour:
    """Return who announces itself in an LLDP packet; `data` begins behind the link header."""
    found: dict[int, bytes] = {}
    at = 0
    while at + 2 <= len(data):
        (head,) = struct.unpack_from(">H", data, at)
        kind, length = head >> 9, head & 0x1FF
        if kind == 0:
            break
        if at + 2 + length > len(data):
            raise ProtocolError(f"LLDP: a value of {length} octets in {len(data) - at - 2}")
        found.setdefault(kind, data[at + 2 : at + 2 + length])
        at += 2 + length
    if not {_CHASSIS_ID, _PORT_ID} <= found.keys():
        raise ProtocolError("LLDP: chassis or port is missing")
    name = found.get(_SYSTEM_NAME, b"")
    return Neighbour(_id(_CHASSIS_ID, found), _id(_PORT_ID, found), _text(name))


def _id(kind: int, found: dict[int, bytes]) -> str:
    value = found[kind]
    if value[:1] == bytes([_MAC_SUBTYPES[kind]]) and len(value) == 7:
        return value[1:].hex(":")
    return _text(value[1:])


def _text(value: bytes) -> str:
    text = value.decode("utf-8", "replace")
    return "".join(one if one.isprintable() else "?" for one in text)
