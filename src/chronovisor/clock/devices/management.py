"""Which devices carry the host's own management address, so that nobody takes one away by mistake.

A device counts when the default route leaves through it, when it alone has an address, or when
somebody is logged in over SSH at its address; and with it what it rests on. Read from
/proc/thread-self/net, which shows our own namespace, and rtnetlink(7).
"""

import struct
from collections.abc import Iterable, Iterator, Mapping
from ipaddress import IPv4Address, IPv6Address, ip_address
from pathlib import Path

from chronovisor.clock.devices import netlink
from chronovisor.clock.devices.links import Link, grounds
from chronovisor.clock.devices.netlink import Netlink
from chronovisor.errors import ProtocolError

Address = IPv4Address | IPv6Address

_NET = Path("/proc/thread-self/net")
_GET_ADDRESS = 22  # RTM_GETADDR
_IFADDR = struct.Struct("=BBBBi")
_IFA_ADDRESS, _IFA_LOCAL = 1, 2
_GLOBAL_SCOPE = 0  # RT_SCOPE_UNIVERSE
_SSH_PORT = 22
_ESTABLISHED = 1  # TCP_ESTABLISHED, net/tcp_states.h


def read_address(body: bytes) -> tuple[int, Address] | None:
    """Return index and address in a body of RTM_NEWADDR, None for one of a narrower scope.

    Raises `ProtocolError`.
    """
    if len(body) < _IFADDR.size:
        raise ProtocolError(f"netlink: an address of {len(body)} bytes")
    _, _, _, scope, index = _IFADDR.unpack_from(body)
    found = netlink.attributes(body, _IFADDR.size)
    packed = found.get(_IFA_LOCAL, found.get(_IFA_ADDRESS, b""))
    if scope != _GLOBAL_SCOPE or len(packed) not in (4, 16):
        return None
    return index, ip_address(packed)


def addresses(route: Netlink) -> list[tuple[int, Address]]:
    """Return index and address of every address of global scope. Raises `ToolFailed`."""
    found = map(read_address, route.ask(_GET_ADDRESS, _IFADDR.pack(0, 0, 0, 0, 0), dump=True))
    return [one for one in found if one is not None]


def default_devices(ipv4: str, ipv6: str) -> Iterator[str]:
    """Yield the devices of default routes in the texts of /proc/net/route and ipv6_route."""
    for line in ipv4.splitlines()[1:]:
        words = line.split()
        if len(words) > 7 and words[1] == words[7] == "00000000":
            yield words[0]
    for line in ipv6.splitlines():
        words = line.split()
        if len(words) == 10 and words[0] == "0" * 32 and words[1] == "00" and words[9] != "lo":
            yield words[9]


def ssh_addresses(text: str) -> Iterator[Address]:
    """Yield the local addresses of SSH connections in the text of /proc/net/tcp or tcp6."""
    for line in text.splitlines()[1:]:
        words = line.split()
        if len(words) < 4 or int(words[3], 16) != _ESTABLISHED:
            continue
        local, _, port = words[1].partition(":")
        if int(port, 16) == _SSH_PORT:
            raw = bytes.fromhex(local)  # words of 32 bits in host byte order
            words32 = struct.unpack(f"={len(raw) // 4}I", raw)
            address = ip_address(struct.pack(f">{len(words32)}I", *words32))
            yield getattr(address, "ipv4_mapped", None) or address


def reasons(
    known: Mapping[int, Link],
    owned: Iterable[tuple[int, Address]],
    defaults: Iterable[str],
    logins: Iterable[Address],
    ours: Iterable[Address] = (),
) -> dict[str, str]:
    """Return why a device is one of management, by name; `ours` are addresses we gave ourselves."""
    added = set(ours)
    holders = [
        (known[index], address)
        for index, address in owned
        if index in known and not known[index].loopback and address not in added
    ]
    found = dict.fromkeys(defaults, "the default route leaves through it")
    if len({link.index for link, _ in holders}) == 1:
        link, address = holders[0]
        found.setdefault(link.name, f"the host's only address {address} is on it")
    reached = set(logins)
    for link, address in holders:
        if address in reached:
            found.setdefault(link.name, f"somebody is logged in over SSH at its {address}")
    return found | dict(_below(known, found))


def _below(known: Mapping[int, Link], found: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    for link in known.values():
        for ground in grounds(known, link.index) if link.name in found else ():
            if ground.name not in found:
                yield ground.name, f"{link.name} rests on it, and {found[link.name]}"


def management(
    known: Mapping[int, Link], route: Netlink, ours: Iterable[Address] = ()
) -> dict[str, str]:
    """Return the devices of this namespace that carry management, each with the reason."""
    return reasons(
        known,
        addresses(route),
        default_devices(_text("route"), _text("ipv6_route")),
        [*ssh_addresses(_text("tcp")), *ssh_addresses(_text("tcp6"))],
        ours,
    )


def _text(name: str) -> str:
    try:
        return (_NET / name).read_text(encoding="ascii")
    except OSError:  # a kernel without IPv6
        return ""
