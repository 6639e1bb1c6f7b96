"""Network devices: RTM_NEWLINK as the kernel tells of one, RTM_SETLINK to change one.

Numbers of `ipv4` and `ipv6` settings are those of linux/ip.h (IPV4_DEVCONF_*) and linux/ipv6.h
(DEVCONF_*).
"""

import struct
from dataclasses import dataclass

from chronovisor.errors import ProtocolError
from chronovisor.net.wiring.netlink import message as m

NEW, DELETE, GET, SET = 16, 17, 18, 19  # RTM_*LINK
ETHER, UP = 1, 0x1  # ARPHRD_ETHER, IFF_UP
GENERATE_NO_ADDRESS = 1  # IN6_ADDR_GEN_MODE_NONE

_LAYOUT = struct.Struct("=BxHiII")  # ifinfomsg: family, ARPHRD_*, index, flags, change
_ADDRESS, _NAME, _MTU, _MASTER = 1, 3, 4, 10  # IFLA_*
_INFO, _AF_SPEC, _MASK = 18, 26, 29
_INFO_KIND = 1
_SKIP_STATS = 8  # RTEXT_FILTER_SKIP_STATS
_INET, _INET6 = 2, 10  # AF_*
_CONF, _INET6_CONF, _INET6_MODE = 1, 2, 8  # IFLA_INET_CONF, IFLA_INET6_CONF, ..._ADDR_GEN_MODE


@dataclass(frozen=True, slots=True)
class Link:
    """A device as the kernel tells of it.

    `kind` is the driver's (`tun`, `veth`, `bridge`), empty for hardware; `ipv4` starts with
    setting 1, `ipv6` with setting 0, both empty where the device does not speak it.
    """

    index: int
    name: str
    up: bool = False
    mtu: int = 0
    mac: str = ""
    master: int = 0
    kind: str = ""
    ethernet: bool = True
    ipv4: tuple[int, ...] = ()
    ipv6: tuple[int, ...] = ()
    ipv6_mode: int = 0

    def pack(self) -> bytes:
        """Return the body of the message by which the kernel tells of this device."""
        fixed = _LAYOUT.pack(0, ETHER if self.ethernet else 0xFFFE, self.index, int(self.up), 0)
        parts = [fixed, m.pack_string(_NAME, self.name), m.pack_u32(_MTU, self.mtu)]
        parts.append(m.attribute(_ADDRESS, m.pack_mac(self.mac)))
        if self.master:
            parts.append(m.pack_u32(_MASTER, self.master))
        if self.kind:
            parts.append(m.attribute(_INFO, m.pack_string(_INFO_KIND, self.kind)))
        four = m.attribute(_CONF, struct.pack(f"={len(self.ipv4)}i", *self.ipv4))
        six = m.attribute(_INET6_CONF, struct.pack(f"={len(self.ipv6)}i", *self.ipv6))
        six += m.attribute(_INET6_MODE, bytes([self.ipv6_mode]))
        families = m.attribute(_INET, four) + m.attribute(_INET6, six)
        return b"".join([*parts, m.attribute(_AF_SPEC, families)])

    @classmethod
    def unpack(cls, body: bytes) -> "Link":
        """Return the device that a message tells of. Raises `ProtocolError`."""
        _, hardware, index, flags, _ = m.header(_LAYOUT, body, "a device")
        found = m.attributes(body, _LAYOUT.size)
        if _NAME not in found:
            raise ProtocolError(f"netlink: device {index} has no name")
        info = m.attributes(found.get(_INFO, b""))
        families = m.attributes(found.get(_AF_SPEC, b""))
        four = m.attributes(families.get(_INET, b""))
        six = m.attributes(families.get(_INET6, b""))
        return cls(
            index=index,
            name=m.string(found[_NAME]),
            up=bool(flags & UP),
            mtu=m.u32(found[_MTU]) if _MTU in found else 0,
            mac=m.mac(found.get(_ADDRESS, b"")),
            master=m.u32(found[_MASTER]) if _MASTER in found else 0,
            kind=m.string(info.get(_INFO_KIND, b"")),
            ethernet=hardware == ETHER,
            ipv4=_settings(four.get(_CONF, b"")),
            ipv6=_settings(six.get(_INET6_CONF, b"")),
            ipv6_mode=m.u8(six[_INET6_MODE]) if _INET6_MODE in six else 0,
        )

    def ipv4_setting(self, number: int) -> int | None:
        """Return an IPv4 setting by its number; None where the device has none."""
        return self.ipv4[number - 1] if 0 < number <= len(self.ipv4) else None

    def ipv6_setting(self, number: int) -> int | None:
        """Return an IPv6 setting by its number; None where the device has none."""
        return self.ipv6[number] if number < len(self.ipv6) else None


@dataclass(frozen=True, slots=True)
class LinkChange:
    """What to set on a device; None leaves a thing as it is.

    The kernel brings a device up before it looks at the settings of address families: set those
    in a message of their own, before it, or IPv6 makes itself an address.
    """

    index: int
    up: bool | None = None
    mtu: int | None = None
    mac: str | None = None
    ipv4: tuple[tuple[int, int], ...] = ()
    ipv6_mode: int | None = None

    def pack(self) -> bytes:
        """Return the body of RTM_SETLINK."""
        change = 0 if self.up is None else UP
        parts = [_LAYOUT.pack(0, 0, self.index, UP if self.up else 0, change)]
        if self.mac is not None:
            parts.append(m.attribute(_ADDRESS, m.pack_mac(self.mac)))
        if self.mtu is not None:
            parts.append(m.pack_u32(_MTU, self.mtu))
        families = b""
        if self.ipv4:
            four = b"".join(m.pack_u32(number, value) for number, value in self.ipv4)
            families = m.attribute(_INET | m.NESTED, m.attribute(_CONF | m.NESTED, four))
        if self.ipv6_mode is not None:
            six = m.attribute(_INET6_MODE, bytes([self.ipv6_mode]))
            families += m.attribute(_INET6 | m.NESTED, six)
        if families:
            parts.append(m.attribute(_AF_SPEC | m.NESTED, families))
        return b"".join(parts)

    @classmethod
    def unpack(cls, body: bytes) -> "LinkChange":
        """Return the change that a body asks for. Raises `ProtocolError`."""
        _, _, index, flags, change = m.header(_LAYOUT, body, "a change of a device")
        found = m.attributes(body, _LAYOUT.size)
        families = m.attributes(found.get(_AF_SPEC, b""))
        four = m.attributes(m.attributes(families.get(_INET, b"")).get(_CONF, b""))
        six = m.attributes(families.get(_INET6, b""))
        return cls(
            index=index,
            up=bool(flags & UP) if change & UP else None,
            mtu=m.u32(found[_MTU]) if _MTU in found else None,
            mac=m.mac(found[_ADDRESS]) if _ADDRESS in found else None,
            ipv4=tuple((number, m.u32(value)) for number, value in four.items()),
            ipv6_mode=m.u8(six[_INET6_MODE]) if _INET6_MODE in six else None,
        )


@dataclass(frozen=True, slots=True)
class NewLink:
    """A virtual device to be made, down at first."""

    name: str
    kind: str

    def pack(self) -> bytes:
        """Return the body of RTM_NEWLINK."""
        info = m.attribute(_INFO | m.NESTED, m.pack_string(_INFO_KIND, self.kind))
        return _LAYOUT.pack(0, 0, 0, 0, 0) + m.pack_string(_NAME, self.name) + info

    @classmethod
    def unpack(cls, body: bytes) -> "NewLink":
        """Return the device that a body asks for. Raises `ProtocolError`."""
        m.header(_LAYOUT, body, "a new device")
        found = m.attributes(body, _LAYOUT.size)
        info = m.attributes(found.get(_INFO, b""))
        return cls(m.string(found.get(_NAME, b"")), m.string(info.get(_INFO_KIND, b"")))


def ask(name: str | None = None) -> bytes:
    """Return the body of RTM_GETLINK: of one device, or for a dump; without statistics."""
    fixed = _LAYOUT.pack(0, 0, 0, 0, 0) + m.pack_u32(_MASK, _SKIP_STATS)
    return fixed if name is None else fixed + m.pack_string(_NAME, name)


def by_index(index: int) -> bytes:
    """Return a body that names a device by its number alone, to ask for it or to remove it."""
    return _LAYOUT.pack(0, 0, index, 0, 0)


def _settings(value: bytes) -> tuple[int, ...]:
    if len(value) % 4:
        raise ProtocolError(f"netlink: settings of a device in {len(value)} bytes")
    return struct.unpack(f"={len(value) // 4}i", value)
