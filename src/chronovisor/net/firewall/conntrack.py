"""Tracked connections of the kernel: read them, and end those that the rules refuse now.

ctnetlink, linux/netfilter/nfnetlink_conntrack.h. Ending a TCP connection also notes its reverse
in the sets `cut4` and `cut6`, before its entry goes: conntrack would take it up again in its
middle from the end whose direction is still allowed, and the connection would live on.
"""

import struct
from collections.abc import Iterator, Sequence

from chronovisor.net.firewall import messages
from chronovisor.net.firewall.bytecode import attribute, nested
from chronovisor.net.firewall.flows import Flow, unpacked
from chronovisor.net.firewall.messages import attributes
from chronovisor.net.firewall.names import INET
from chronovisor.net.firewall.netfilter import NetfilterSocket, Refused
from chronovisor.net.firewall.rules import Element, SetName
from chronovisor.net.settings import Address

_SUBSYSTEM = 1  # NFNL_SUBSYS_CTNETLINK
_GET, _DELETE, _GET_STATS = 1, 2, 5  # IPCTNL_MSG_CT_*
_ORIGINAL, _REPLY, _STATUS, _ID, _ZONE, _FILTER = 1, 2, 3, 12, 18, 25  # CTA_*
_EXPECTED = 1  # IPS_EXPECTED: opened by a helper for another connection
_SOURCE = 1  # CTA_FILTER_F_CTA_IP_SRC
_TCP = 6
_AF = {4: 2, 6: 10}
_GONE = 2  # ENOENT

FEW = 2000
"""Up to so many flows all are read: the kernel walks its whole table for each question."""

MOST_ASKED = 8
"""Up to so many addresses the kernel is asked one by one; more, and all flows are read."""


def flows(netfilter: NetfilterSocket, addresses: frozenset[Address] | None) -> list[Flow]:
    """Return the flows of some addresses, of either end; of all addresses when None.

    Raises:
        ToolFailed: the kernel does not let us read them.
    """
    count = _count(netfilter)
    if not count:
        return []
    if addresses is None or count < FEW or len(addresses) > MOST_ASKED:
        found = _read(netfilter, _request(_GET, messages.DUMP, 0, b""))
        if addresses is None:
            return found
        return [one for one in found if not addresses.isdisjoint((one.source, one.target))]
    one_by_one = (
        flow
        for one in addresses
        for request in _filtered(one)
        for flow in _read(netfilter, request)
    )
    return list({flow.raw: flow for flow in one_by_one}.values())


def end(netfilter: NetfilterSocket, ended: Sequence[Flow]) -> None:
    """End connections for good; one that is gone already is no fault.

    Raises:
        ToolFailed: the kernel refused.
    """
    for one in ended:
        if one.protocol == _TCP:
            _note_cut(netfilter, one)
        family = _AF[one.source.version]
        try:
            netfilter.ask(_request(_DELETE, messages.ACK, family, one.raw), bytes)
        except Refused as refusal:
            if refusal.code != _GONE:
                raise


def read_flow(body: bytes) -> Flow:
    """Return a flow from the attributes of a ctnetlink message.

    Addresses and the port of the target are those after translation of the target and before
    translation of the source, as the forward hook sees them.
    """
    found = dict(attributes(body))
    began, answer = _tuple(found.get(_ORIGINAL, b"")), _tuple(found.get(_REPLY, b""))
    raw = attribute(_ORIGINAL | 0x8000, found.get(_ORIGINAL, b""))
    for kind in (_ID, _ZONE):
        if kind in found:
            raw += attribute(kind, found[kind])
    status = struct.unpack(">I", found.get(_STATUS, b"\0\0\0\0"))[0]
    return Flow(
        source=unpacked(began["source"]),
        target=unpacked(answer["source"]),
        protocol=began["protocol"][0],
        source_port=int.from_bytes(began.get("source_port", b""), "big"),
        target_port=int.from_bytes(answer.get("source_port", b""), "big"),
        icmp_type=int.from_bytes(began.get("icmp_type", b""), "big"),
        icmp_code=int.from_bytes(began.get("icmp_code", b""), "big"),
        expected=bool(status & _EXPECTED),
        raw=raw,
    )


_IP = {1: "source", 2: "target", 3: "source", 4: "target"}  # CTA_IP_*
_PROTOCOL = {  # CTA_PROTO_*
    1: "protocol",
    2: "source_port",
    3: "target_port",
    5: "icmp_type",
    6: "icmp_code",
    8: "icmp_type",
    9: "icmp_code",
}


def _tuple(body: bytes) -> dict[str, bytes]:
    """Return the fields of CTA_TUPLE_*: its CTA_TUPLE_IP and CTA_TUPLE_PROTO."""
    found: dict[str, bytes] = {}
    for part, inner in attributes(body):
        names = {1: _IP, 2: _PROTOCOL}.get(part, {})
        found |= {names[kind]: value for kind, value in attributes(inner) if kind in names}
    return found


def _read(netfilter: NetfilterSocket, request: bytes) -> list[Flow]:
    return netfilter.ask(request, read_flow)


def _count(netfilter: NetfilterSocket) -> int:
    """Return the number of flows in this network namespace (CTA_STATS_GLOBAL_ENTRIES)."""
    request = _request(_GET_STATS, 0, 0, b"")
    (found,) = netfilter.ask(request, lambda body: dict(attributes(body)))
    return int(struct.unpack(">I", found[1])[0])


def _filtered(one: Address) -> Iterator[bytes]:
    """Yield dumps that the kernel filters: of what an address began, and of what it answers."""
    which = nested(1, attribute(1 if one.version == 4 else 3, one.packed))
    for side, flags in ((_ORIGINAL, (_SOURCE, 0)), (_REPLY, (0, _SOURCE))):
        pairs = (attribute(n + 1, struct.pack("=I", flag)) for n, flag in enumerate(flags))
        body = nested(side, which) + nested(_FILTER, *pairs)
        yield _request(_GET, messages.DUMP, _AF[one.version], body)


def _request(kind: int, flags: int, family: int, body: bytes) -> bytes:
    packed = messages.message(kind, flags | messages.REQUEST, family, body)
    return packed[:4] + struct.pack("=H", _SUBSYSTEM << 8 | kind) + packed[6:]


def _note_cut(netfilter: NetfilterSocket, flow: Flow) -> None:
    """Note the reverse direction of a TCP connection as one not to be taken up in its middle."""
    where = SetName(INET, "cut4" if flow.source.version == 4 else "cut6")
    back = ((flow.target, flow.target_port), (flow.source, flow.source_port))
    packed = b"".join(one.packed + struct.pack(">HH", port, 0) for one, port in back)
    element = Element(where, packed)
    netfilter.commit(list(messages.elements(messages.NEW_ELEMENT, where, [element])))
