"""The network devices of our own namespace and what rests on what, asked of rtnetlink(7).

Sources: linux/if_link.h. A PCI address comes with the link itself (IFLA_PARENT_DEV_NAME, Linux
5.14), so nothing here depends on whose namespace /sys shows.
"""

import socket
import struct
from collections.abc import Mapping
from dataclasses import dataclass

from chronovisor.clock.devices import netlink
from chronovisor.clock.devices.netlink import Netlink
from chronovisor.errors import ProtocolError, ToolFailed

_GET_LINK = 18  # RTM_GETLINK
_IFINFO = struct.Struct("=BxHiII")
_IFF_UP, _IFF_LOOPBACK, _IFF_RUNNING = 0x1, 0x8, 0x40
_ETHERNET = 1  # ARPHRD_ETHER, linux/if_arp.h
_ADDRESS, _NAME, _LINK, _MASTER, _LINK_INFO = 1, 3, 5, 10, 18
_LINK_NETNS, _PHYS_SWITCH_ID = 37, 36
_PARENT_DEVICE, _PARENT_BUS = 56, 57
_INFO_KIND, _INFO_DATA = 1, 2
_VLAN_ID = 1  # IFLA_VLAN_ID


@dataclass(frozen=True, slots=True)
class Link:
    """A network device. `lower` and `master` are indices in this namespace, None for none.

    `kind` is empty for what a driver of hardware made: a device that rests on nothing else.
    """

    index: int
    name: str
    mac: str
    kind: str
    up: bool
    link_up: bool
    loopback: bool
    lower: int | None = None
    master: int | None = None
    vlan_id: int | None = None
    parent: str = ""
    parent_bus: str = ""


def read(body: bytes) -> Link:
    """Return the link in a body of RTM_NEWLINK. Raises `ProtocolError`."""
    if len(body) < _IFINFO.size:
        raise ProtocolError(f"netlink: a link of {len(body)} bytes; {_IFINFO.size} are the least")
    _, hardware, index, flags, _ = _IFINFO.unpack_from(body)
    found = netlink.attributes(body, _IFINFO.size)
    info = netlink.attributes(found.get(_LINK_INFO, b""))
    kind = netlink.text(info.get(_INFO_KIND, b""))
    # An index of another namespace means nothing here; a veth's peer is no ground to rest on.
    lower = None if _LINK_NETNS in found or kind == "veth" else _index(found.get(_LINK))
    return Link(
        index,
        netlink.text(found.get(_NAME, b"")),
        found.get(_ADDRESS, b"").hex(":"),
        kind,
        up=bool(flags & _IFF_UP),
        link_up=bool(flags & _IFF_RUNNING),
        loopback=bool(flags & _IFF_LOOPBACK) or hardware != _ETHERNET,
        lower=None if lower == index else lower,
        master=_index(found.get(_MASTER)),
        vlan_id=_vlan_id(info) if kind == "vlan" else None,
        parent=netlink.text(found.get(_PARENT_DEVICE, b"")),
        parent_bus=netlink.text(found.get(_PARENT_BUS, b"")),
    )


def _index(value: bytes | None) -> int | None:
    return (netlink.u32(value) or None) if value is not None else None


def _vlan_id(info: netlink.Attributes) -> int | None:
    number = netlink.attributes(info.get(_INFO_DATA, b"")).get(_VLAN_ID)
    return netlink.u16(number) if number is not None else None


def links(route: Netlink) -> list[Link]:
    """Return every network device of this namespace, by index. Raises `ToolFailed`."""
    body = _IFINFO.pack(0, 0, 0, 0, 0)
    return sorted(map(read, route.ask(_GET_LINK, body, dump=True)), key=lambda one: one.index)


def link(route: Netlink, name: str) -> Link | None:
    """Return one device, None if there is no such one; the cost does not grow with the others."""
    try:
        index = socket.if_nametoindex(name)
        answers = route.ask(_GET_LINK, _IFINFO.pack(0, 0, index, 0, 0))
    except (OSError, ToolFailed):
        return None
    return read(answers[0]) if answers else None


def members(known: Mapping[int, Link], index: int) -> list[Link]:
    """Return the links that belong to a bond, a bridge or a team."""
    return [one for one in known.values() if one.master == index]


def grounds(known: Mapping[int, Link], index: int) -> list[Link]:
    """Return what a link rests on, down to the hardware: nearest first, without itself."""
    found: dict[int, Link] = {}
    waiting = [index]
    while waiting:
        link = known.get(waiting.pop(0))
        if link is None:
            continue
        below = [*members(known, link.index)]
        if link.lower is not None and link.lower in known:
            below.append(known[link.lower])
        for one in below:
            if one.index not in found and one.index != index:
                found[one.index] = one
                waiting.append(one.index)
    return list(found.values())
