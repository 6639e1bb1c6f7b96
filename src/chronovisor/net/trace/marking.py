"""The table that marks packets to be traced: ours alone, and gone with the socket that made it.

NFT_TABLE_F_OWNER (Linux 5.12) ties a table to its netlink socket: whatever ends this process, the
kernel takes the table away. A rule marks the asked flow alone, at most so many packets each way.
"""

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from ipaddress import ip_network

from chronovisor.net.firewall import messages
from chronovisor.net.firewall.bytecode import attribute, expressions, nested, number, string
from chronovisor.net.firewall.compile import ICMP, PROTOCOLS
from chronovisor.net.firewall.messages import CREATE, REQUEST
from chronovisor.net.firewall.names import INET
from chronovisor.net.firewall.rules import ACCEPT, MatchAddress, MatchProtocol
from chronovisor.net.settings import Address, IpProtocol

TABLE = "chronovisor-trace"
"""What names of these tables begin with; a number follows, so that several may be at once."""

_NEW_TABLE, _OWNER = 0, 0x2  # NFT_MSG_NEWTABLE, NFT_TABLE_F_OWNER
_FIRST = -301  # before priority raw, where our firewall begins
_PREROUTING, _OUTPUT = 0, 3  # NF_INET_PRE_ROUTING, NF_INET_LOCAL_OUT
_META_NFTRACE = 12  # enum nft_meta_keys
_A_DAY_S = 86_400


@dataclass(frozen=True, slots=True)
class Selection:
    """Which packets: to `target`, from `source` if given, and the answers; at most `count`.

    `protocol` None means all; `port` 0 all of its ports.
    """

    target: Address
    source: Address | None = None
    protocol: IpProtocol | None = None
    port: int = 0
    count: int = 20


def marking(name: str, selection: Selection) -> Iterator[bytes]:
    """Yield the messages that make the table."""
    yield messages.message(_NEW_TABLE, REQUEST | CREATE, INET, string(1, name) + number(2, _OWNER))
    for chain, hook in (("prerouting", _PREROUTING), ("output", _OUTPUT)):
        place = nested(4, number(1, hook), number(2, _FIRST))
        body = string(1, name) + string(3, chain) + place + number(5, 1) + string(7, "filter")
        yield messages.message(messages.NEW_CHAIN, REQUEST | CREATE, INET, body)
        for answers in (False, True):
            rule = string(1, name) + string(2, chain) + nested(4, *_mark(selection, answers))
            flags = REQUEST | CREATE | messages.APPEND
            yield messages.message(messages.NEW_RULE, flags, INET, rule)


def _mark(selection: Selection, answers: bool) -> Iterator[bytes]:
    """Yield the expressions of one rule: match, limit, mark."""
    yield from _match(selection, answers)
    yield _expression(
        "limit",
        attribute(1, struct.pack(">Q", 1)),
        attribute(2, struct.pack(">Q", _A_DAY_S)),
        number(3, max(1, selection.count)),
        number(4, 0),  # packets
        number(5, 0),
    )
    yield _expression("immediate", number(1, 1), nested(2, attribute(1, b"\x01")))
    yield _expression("meta", number(2, _META_NFTRACE), number(3, 1))


def _match(selection: Selection, answers: bool) -> Iterator[bytes]:
    sides = ("saddr", "daddr") if answers else ("daddr", "saddr")
    matches: list[MatchAddress | MatchProtocol] = [_address(sides[0], selection.target)]
    if selection.source is not None:
        matches.append(_address(sides[1], selection.source))
    if selection.protocol is not None:
        version = selection.target.version
        is_icmp = selection.protocol is IpProtocol.ICMP
        value = ICMP[version] if is_icmp else PROTOCOLS[selection.protocol]
        matches.append(MatchProtocol(value))
    yield _without_verdict(expressions(tuple(matches), ACCEPT))
    if selection.port:
        offset = 0 if answers else 2
        yield _expression("payload", number(1, 1), number(2, 2), number(3, offset), number(4, 2))
        wanted = nested(3, attribute(1, struct.pack(">H", selection.port)))
        yield _expression("cmp", number(1, 1), number(2, 0), wanted)


def _address(side: str, address: Address) -> MatchAddress:
    return MatchAddress(side, ip_network(address))


def _without_verdict(packed: bytes) -> bytes:
    """Return the elements of a list of expressions, without the verdict at its end."""
    elements = [nested(1, one) for _, one in messages.attributes(packed[4:])]
    return b"".join(elements[:-1])


def _expression(name: str, *parts: bytes) -> bytes:
    return nested(1, string(1, name), nested(2, *parts))
