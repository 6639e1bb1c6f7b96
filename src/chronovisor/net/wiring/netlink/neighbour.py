"""Neighbours, known and answered for: RTM_NEWNEIGH, RTM_DELNEIGH, RTM_GETNEIGH (arp(7))."""

import struct
import sys
from dataclasses import dataclass

from chronovisor.errors import ProtocolError
from chronovisor.net.wiring.netlink import message as m

NEW, DELETE, GET = 28, 29, 30  # RTM_*NEIGH
PERMANENT = 0x80  # NUD_PERMANENT
PROXY = 0x08  # NTF_PROXY

_LAYOUT = struct.Struct("=BxxxiHBB")  # ndmsg: family, index, state, flags, type
_DESTINATION, _MAC, _PROTOCOL = 1, 2, 12  # NDA_*
_INET, _INET6 = 2, 10


@dataclass(frozen=True, slots=True)
class Neighbour:
    """An address on a device's link with its MAC address; with flag `PROXY` one we answer for."""

    index: int
    address: m.Address
    mac: str = ""
    state: int = PERMANENT
    flags: int = 0
    protocol: int = 0

    def pack(self) -> bytes:
        """Return the body of RTM_NEWNEIGH or RTM_DELNEIGH."""
        family = _INET if self.address.version == 4 else _INET6
        parts = [
            _LAYOUT.pack(family, self.index, self.state, self.flags, 0),
            m.attribute(_DESTINATION, self.address.packed),
            m.attribute(_MAC, m.pack_mac(self.mac)) if self.mac else b"",
            m.attribute(_PROTOCOL, bytes([self.protocol])) if self.protocol else b"",
        ]
        return b"".join(parts)

    @classmethod
    def unpack(cls, body: bytes) -> "Neighbour":
        """Return the neighbour that a message tells of. Raises `ProtocolError`."""
        family, index, state, flags, _ = m.header(_LAYOUT, body, "a neighbour")
        found = m.attributes(body, _LAYOUT.size)
        address = m.address(found.get(_DESTINATION, b""))
        if family != (_INET if address.version == 4 else _INET6):
            raise ProtocolError(f"netlink: {address} is no neighbour of family {family}")
        return cls(
            index=index,
            address=address,
            mac=m.mac(found.get(_MAC, b"")),
            state=state,
            flags=flags,
            protocol=m.u8(found[_PROTOCOL]) if _PROTOCOL in found else 0,
        )


def is_permanent(body: bytes) -> bool:
    """Return whether a neighbour message is of a permanent entry, without reading on."""
    return len(body) >= _LAYOUT.size and bool(int.from_bytes(body[8:10], sys.byteorder) & PERMANENT)


def ask(index: int = 0) -> bytes:
    """Return the body of RTM_GETNEIGH for a dump, of one device if given (strict checking)."""
    fixed = _LAYOUT.pack(0, 0, 0, 0, 0)
    return fixed + (m.pack_u32(8, index) if index else b"")  # NDA_IFINDEX filters
