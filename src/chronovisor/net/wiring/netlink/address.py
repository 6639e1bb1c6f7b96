"""Addresses of devices: RTM_NEWADDR, RTM_DELADDR, RTM_GETADDR."""

import struct
from dataclasses import dataclass

from chronovisor.errors import ProtocolError
from chronovisor.net.wiring.netlink import message as m

NEW, DELETE, GET = 20, 21, 22  # RTM_*ADDR
NO_DAD, NO_PREFIX_ROUTE = 0x02, 0x200  # IFA_F_*
KERNEL_LINK_LOCAL = 2  # IFAPROT_KERNEL_LL
PERMANENT, SECONDARY = 0x80, 0x01

_LAYOUT = struct.Struct("=BBBBI")  # ifaddrmsg: family, prefix length, flags, scope, index
_ADDRESS, _LOCAL, _FLAGS, _PROTOCOL = 1, 2, 8, 11  # IFA_*
_INET, _INET6 = 2, 10


@dataclass(frozen=True, slots=True)
class DeviceAddress:
    """An address with its prefix length on a device; `protocol` says who put it there."""

    index: int
    address: m.Address
    prefix_length: int
    flags: int = 0
    scope: int = 0
    protocol: int = 0

    def pack(self) -> bytes:
        """Return the body of RTM_NEWADDR or RTM_DELADDR."""
        four = self.address.version == 4
        family = _INET if four else _INET6
        raw = self.address.packed
        parts = [
            _LAYOUT.pack(family, self.prefix_length, self.flags & 0xFF, self.scope, self.index),
            m.attribute(_ADDRESS, raw),
            m.attribute(_LOCAL, raw) if four else b"",
            m.pack_u32(_FLAGS, self.flags) if self.flags else b"",
            m.attribute(_PROTOCOL, bytes([self.protocol])) if self.protocol else b"",
        ]
        return b"".join(parts)

    @classmethod
    def unpack(cls, body: bytes) -> "DeviceAddress":
        """Return the address that a message tells of. Raises `ProtocolError`."""
        family, length, short, scope, index = m.header(_LAYOUT, body, "an address of a device")
        found = m.attributes(body, _LAYOUT.size)
        raw = found.get(_LOCAL) or found.get(_ADDRESS)
        if raw is None:
            raise ProtocolError(f"netlink: an address of device {index} is missing")
        address = m.address(raw)
        if family != (_INET if address.version == 4 else _INET6) or length > address.max_prefixlen:
            raise ProtocolError(f"netlink: {address}/{length} is no address of family {family}")
        return cls(
            index=index,
            address=address,
            prefix_length=length,
            flags=m.u32(found[_FLAGS]) if _FLAGS in found else short,
            scope=scope,
            protocol=m.u8(found[_PROTOCOL]) if _PROTOCOL in found else 0,
        )


def ask(index: int = 0) -> bytes:
    """Return the body of RTM_GETADDR for a dump, of one device if given (strict checking)."""
    return _LAYOUT.pack(0, 0, 0, 0, index)
