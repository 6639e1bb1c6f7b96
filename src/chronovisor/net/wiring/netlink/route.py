"""Routes: RTM_NEWROUTE, RTM_DELROUTE, RTM_GETROUTE (rtnetlink(7))."""

import struct
import sys
from dataclasses import dataclass

from chronovisor.errors import ProtocolError
from chronovisor.net.wiring.netlink import message as m

NEW, DELETE, GET = 24, 25, 26  # RTM_*ROUTE
MAIN = 254  # RT_TABLE_MAIN
UNICAST, SCOPE_LINK, SCOPE_UNIVERSE = 1, 253, 0  # RTN_UNICAST, RT_SCOPE_*

_LAYOUT = struct.Struct("=BBBBBBBBI")
# rtmsg: family, destination length, source length, tos, table, protocol, scope, type, flags
_DESTINATION, _DEVICE, _PRIORITY, _TABLE = 1, 4, 6, 15  # RTA_*
_CLONED, _FIB_MATCH = 0x200, 0x2000  # RTM_F_*
_INET, _INET6 = 2, 10


@dataclass(frozen=True, slots=True)
class Route:
    """A route to a prefix; `index` is 0 where it names no device (several paths, a nexthop)."""

    destination: m.Address
    prefix_length: int
    index: int = 0
    protocol: int = 0
    metric: int = 0
    table: int = MAIN
    scope: int = SCOPE_UNIVERSE
    kind: int = UNICAST

    @property
    def is_host(self) -> bool:
        """Whether it leads to one address."""
        return self.prefix_length == self.destination.max_prefixlen

    def pack(self) -> bytes:
        """Return the body of RTM_NEWROUTE or RTM_DELROUTE."""
        destination = self.destination
        family = _INET if destination.version == 4 else _INET6
        table = self.table if self.table < 256 else 0
        parts = [
            _LAYOUT.pack(
                family,
                self.prefix_length,
                0,
                0,
                table,
                self.protocol,
                self.scope,
                self.kind,
                0,
            ),
            m.attribute(_DESTINATION, destination.packed) if self.prefix_length else b"",
            m.pack_u32(_TABLE, self.table) if self.table > 255 else b"",
            m.pack_u32(_PRIORITY, self.metric) if self.metric else b"",
            m.pack_u32(_DEVICE, self.index) if self.index else b"",
        ]
        return b"".join(parts)

    @classmethod
    def unpack(cls, body: bytes) -> "Route":
        """Return the route that a message tells of. Raises `ProtocolError`."""
        family, length, _, _, table, protocol, scope, kind, _ = m.header(_LAYOUT, body, "a route")
        found = m.attributes(body, _LAYOUT.size)
        nothing = bytes({_INET: 4, _INET6: 16}.get(family, 0))
        destination = m.address(found.get(_DESTINATION, nothing))
        if len(nothing) != len(destination.packed) or length > destination.max_prefixlen:
            raise ProtocolError(f"netlink: {destination}/{length} is no route of family {family}")
        return cls(
            destination=destination,
            prefix_length=length,
            index=m.u32(found[_DEVICE]) if _DEVICE in found else 0,
            protocol=protocol,
            metric=m.u32(found[_PRIORITY]) if _PRIORITY in found else 0,
            table=m.u32(found[_TABLE]) if _TABLE in found else table,
            scope=scope,
            kind=kind,
        )


def leads_to_a_host(body: bytes) -> bool:
    """Return whether a route message is of one address of the main table, without reading on."""
    return (
        len(body) >= _LAYOUT.size
        and (body[0], body[1]) in ((_INET, 32), (_INET6, 128))
        and body[4] == MAIN
        and not int.from_bytes(body[8:12], sys.byteorder) & _CLONED
    )


def ask(version: int, *, index: int = 0, protocol: int = 0) -> bytes:
    """Return the body of RTM_GETROUTE for a dump of the main table (strict checking)."""
    family = _INET if version == 4 else _INET6
    fixed = _LAYOUT.pack(family, 0, 0, 0, MAIN, protocol, 0, 0, 0)
    return fixed + (m.pack_u32(_DEVICE, index) if index else b"")


def ask_match(address: m.Address) -> bytes:
    """Return the body of RTM_GETROUTE for the table entry that packets to an address follow."""
    family = _INET if address.version == 4 else _INET6
    length = address.max_prefixlen
    fixed = _LAYOUT.pack(family, length, 0, 0, 0, 0, 0, 0, _FIB_MATCH)
    return fixed + m.attribute(_DESTINATION, address.packed)
