"""What must be done so that every tap is wired as its port says; pure.

What bears our mark and has no use goes too, but only when the caller says that it knows all that
is wanted: a start with half of the settings read would cut off the other half's VMs.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from chronovisor.net.marks import FORMER_LINK_LOCAL, GATEWAY_MAC, ROUTE_PROTOCOL
from chronovisor.net.settings import RateLimit
from chronovisor.net.wiring import limits
from chronovisor.net.wiring.actions import (
    Action,
    AddAddress,
    AddRoute,
    ChangeLink,
    LimitFromVm,
    LimitToVm,
    RemoveAddress,
    RemoveNeighbour,
    RemoveRoute,
    SetNeighbour,
    SetSwitch,
)
from chronovisor.net.wiring.netlink import address as addresses
from chronovisor.net.wiring.netlink.address import DeviceAddress
from chronovisor.net.wiring.netlink.link import GENERATE_NO_ADDRESS, Link, LinkChange
from chronovisor.net.wiring.netlink.neighbour import Neighbour
from chronovisor.net.wiring.netlink.route import SCOPE_LINK, SCOPE_UNIVERSE, Route
from chronovisor.net.wiring.observed import (
    IPV4_FORWARDING,
    IPV6_FORWARDING,
    Observed,
    ipv6_switch,
    proxy_delay,
)
from chronovisor.net.wiring.taps import FORWARDING, PROXY_ARP, Address, Tap, TapAddress

TAP_KINDS = frozenset({"tun", "veth"})
"""Drivers of devices that can lead to a VM; an uplink named in a port by mistake is not wired."""

ROUTE_METRIC = {4: 0, 6: 1}
"""Better than any routing daemon's (FRR 20, BIRD 32): what is here is not reached elsewhere."""

_ACCEPT_RA = 3  # DEVCONF_ACCEPT_RA


@dataclass(frozen=True, slots=True)
class Plan:
    """Steps in their order, and what else there is to say of ports, by their ids.

    `problems`: why a port cannot be wired, or not all of it; `warnings`: what works and looks
    wrong; `waiting`: ports that have no device yet.
    """

    actions: tuple[Action, ...] = ()
    problems: Mapping[str, str] = field(default_factory=dict)
    warnings: Mapping[str, str] = field(default_factory=dict)
    waiting: frozenset[str] = frozenset()


def plan(taps: Mapping[str, Tap], observed: Observed, *, clean: bool) -> Plan:
    """Return what makes `observed` as `taps` (by device) say; no actions when it is.

    With `clean` what is ours and belongs to none of `taps` is removed: never before all that is
    wanted is known. What is not ours stays in any case; where it is in a port's way, it is that
    port's problem.
    """
    problems: dict[str, str] = {}
    waiting: set[str] = set()
    ready: list[tuple[Tap, Link]] = []
    for tap in taps.values():
        link = observed.links.get(tap.device)
        if link is None:
            waiting.add(tap.port)
        elif why := _unfit(link, observed):
            problems[tap.port] = why
        else:
            ready.append((tap, link))
    actions: list[Action] = list(_host(ready, observed))
    if clean:
        actions += _leftovers(taps, ready, observed)
    for step in (_switches, _settings, _addresses, _up, _limits, _neighbours, _routes):
        for tap, link in ready:
            actions += step(tap, link, observed)
    warnings: dict[str, str] = {}
    names = {link.index: link.name for link in observed.links.values()}
    for tap, _ in ready:
        for address in tap.hosts:
            if found := _foreign(address, observed, names):
                (problems if found.in_the_way else warnings)[tap.port] = found.words
    return Plan(tuple(actions), problems, warnings, frozenset(waiting))


def _unfit(link: Link, observed: Observed) -> str:
    """Return why a device cannot be a port's tap; empty when it can."""
    if link.master:
        names = {one.index: one.name for one in observed.links.values()}
        master = names.get(link.master, f"device {link.master}")
        return f"{link.name} is in {master}; a routed port's tap is in no bridge: take it out"
    if not link.ethernet:
        return f"{link.name} carries no Ethernet frames; make it with `mode tap`"
    if link.kind not in TAP_KINDS:
        kind = f"a device of kind {link.kind}" if link.kind else "no virtual device"
        return f"{link.name} is {kind}; a port's device is a tap"
    return ""


def _host(ready: Iterable[tuple[Tap, Link]], observed: Observed) -> Iterator[Action]:
    """Yield what the host as a whole needs to forward between taps and uplinks."""
    taps = [tap for tap, _ in ready]
    if taps and observed.switches.get(IPV4_FORWARDING, "1") != "1":
        yield SetSwitch(IPV4_FORWARDING, "1", "packets between taps and uplinks are forwarded")
    if not any(tap.speaks_ipv6 for tap in taps):
        return
    if observed.switches.get(IPV6_FORWARDING, "1") == "1":
        return
    ours = {tap.device for tap in taps}
    for link in observed.links.values():
        if link.ipv6_setting(_ACCEPT_RA) == 1 and link.name not in ours:
            why = "it goes on to learn its router when this host forwards"  # ip-sysctl, accept_ra
            yield SetSwitch(ipv6_switch(link.name, "accept_ra"), "2", why)
    yield SetSwitch(IPV6_FORWARDING, "1", "packets between taps and uplinks are forwarded")


def _switches(tap: Tap, link: Link, observed: Observed) -> Iterator[Action]:
    delay = proxy_delay(tap.device)
    if observed.switches.get(delay) != "0":
        yield SetSwitch(delay, "0", "proxy ARP answers at once", tap.port)
    for name, number, value in tap.ipv6:
        if link.ipv6_setting(number) not in (value, None):
            why = f"it is {link.ipv6_setting(number)}"
            yield SetSwitch(ipv6_switch(tap.device, name), str(value), why, tap.port)


def _settings(tap: Tap, link: Link, _: Observed) -> Iterator[Action]:
    automatic = bool(link.ipv6) and link.ipv6_mode != GENERATE_NO_ADDRESS
    change = LinkChange(
        link.index,
        mtu=tap.mtu if link.mtu != tap.mtu else None,
        mac=GATEWAY_MAC if link.mac != GATEWAY_MAC else None,
        ipv4=tuple((n, value) for n, value in tap.ipv4 if link.ipv4_setting(n) != value),
        ipv6_mode=GENERATE_NO_ADDRESS if automatic else None,
    )
    if change != LinkChange(link.index):
        yield ChangeLink(tap.device, change, f"port {tap.port} needs it", tap.port)


def _up(tap: Tap, link: Link, _: Observed) -> Iterator[Action]:
    """Yield what brings a tap up, after its addresses: the kernel then routes to all at once."""
    if not link.up:
        change = LinkChange(link.index, up=True)
        yield ChangeLink(tap.device, change, "it is down", tap.port)


def _limits(tap: Tap, link: Link, observed: Observed) -> Iterator[Action]:
    if limits.to_vm_differs(link, tap.rate, tap.mtu, observed):
        yield LimitToVm(tap.device, link.index, tap.rate, "rate_limit of the port", tap.port)
    if limits.from_vm_differs(link, tap.rate, tap.mtu, observed):
        yield LimitFromVm(tap.device, link.index, tap.rate, "rate_limit of the port", tap.port)


def _addresses(tap: Tap, link: Link, observed: Observed) -> Iterator[Action]:
    there = observed.addresses.get(link.index, ())
    wanted = [_device_address(one, link.index) for one in tap.addresses]
    known = {_essence(one) for one in there}
    for one in wanted:
        if _essence(one) not in known:
            yield AddAddress(tap.device, one, "the host's end of the tap", tap.port)
    keep = {(one.address, one.prefix_length) for one in wanted}
    for other in there:
        if (other.address, other.prefix_length) in keep:
            continue
        if other.address == FORMER_LINK_LOCAL and tap.speaks_ipv6:
            continue  # its VM has a router there, learned or set by hand, as long as it runs
        if other.protocol == ROUTE_PROTOCOL:
            yield RemoveAddress(tap.device, other, "its network has it no more", tap.port)
        elif other.protocol == addresses.KERNEL_LINK_LOCAL:
            why = "the kernel made it up; a router with two names confuses VMs that move"
            yield RemoveAddress(tap.device, other, why, tap.port)


def _essence(one: DeviceAddress) -> tuple[object, ...]:
    """Return what must be right of an address; of IPv4 the kernel changes no flags later."""
    six = one.address.version == 6
    without_route = bool(one.flags & addresses.NO_PREFIX_ROUTE) if six else None
    return one.address, one.prefix_length, one.protocol, without_route


def _device_address(one: TapAddress, index: int) -> DeviceAddress:
    flags = 0 if one.on_link else addresses.NO_PREFIX_ROUTE
    six = one.address.version == 6
    return DeviceAddress(
        index,
        one.address,
        one.prefix_length,
        flags | (addresses.NO_DAD if six else 0),
        SCOPE_LINK if one.address.is_link_local else SCOPE_UNIVERSE,
        ROUTE_PROTOCOL,
    )


def _neighbours(tap: Tap, link: Link, observed: Observed) -> Iterator[Action]:
    """Yield permanent neighbours: no ARP at the first packet, no forged one, no full table.

    Permanent entries do not count against gc_thresh3, 1,024 by default (ip-sysctl).
    """
    there = {one.address: one for one in observed.neighbours.get(link.index, ())}
    for address in tap.hosts:
        wanted = Neighbour(link.index, address, tap.vm_mac, protocol=ROUTE_PROTOCOL)
        if there.get(address) != wanted:
            yield SetNeighbour(tap.device, wanted, f"address of port {tap.port}", tap.port)
    for address, one in there.items():
        if one.protocol == ROUTE_PROTOCOL and address not in tap.hosts:
            yield RemoveNeighbour(tap.device, one, "its port has it no more", tap.port)


def _routes(tap: Tap, link: Link, observed: Observed) -> Iterator[Action]:
    for address in tap.hosts:
        wanted = host_route(address, link.index)
        there = observed.routes.get(address, ())
        same = [one for one in there if one.metric == wanted.metric]
        if wanted in there or any(one.protocol != ROUTE_PROTOCOL for one in same):
            continue  # the kernel has one route for each metric; theirs stays
        why = f"address of port {tap.port}"
        yield AddRoute(tap.device, wanted, why, tap.port, replace=bool(same))


@dataclass(frozen=True, slots=True)
class _Foreign:
    """Somebody else's route to a port's address, in words."""

    words: str
    in_the_way: bool


def _foreign(address: Address, observed: Observed, names: Mapping[int, str]) -> _Foreign | None:
    for one in observed.routes.get(address, ()):
        if one.protocol != ROUTE_PROTOCOL:
            where = names.get(one.index, f"device {one.index}" if one.index else "elsewhere")
            in_the_way = one.metric == ROUTE_METRIC[address.version]
            what = "in the way and stays: remove it" if in_the_way else "beside ours"
            return _Foreign(
                f"{address} has a route to {where} of protocol {one.protocol}, "
                f"metric {one.metric}, that is not ours; it is {what}",
                in_the_way,
            )
    return None


def host_route(address: Address, index: int) -> Route:
    """Return the route of a VM's address to its tap."""
    return Route(
        address,
        address.max_prefixlen,
        index,
        ROUTE_PROTOCOL,
        ROUTE_METRIC[address.version],
        scope=SCOPE_LINK if address.version == 4 else SCOPE_UNIVERSE,
    )


def _leftovers(
    taps: Mapping[str, Tap], ready: Iterable[tuple[Tap, Link]], observed: Observed
) -> Iterator[Action]:
    """Yield what removes our own work that no port has a use for; routes go first."""
    names = {link.index: link.name for link in observed.links.values()}
    hosts = {address: link.index for tap, link in ready for address in tap.hosts}
    served = {link.index for _, link in ready}
    kept = {link.index for link in observed.links.values() if link.name in taps}
    for address, routes in observed.routes.items():
        wanted = host_route(address, hosts[address]) if address in hosts else None
        for one in routes:
            if one.protocol != ROUTE_PROTOCOL or one == wanted:
                continue
            if wanted and wanted not in routes and one.metric == wanted.metric:
                continue  # it is replaced, which loses no packet
            if one.index in served or one.index not in kept:
                device = names.get(one.index, f"device {one.index}")
                yield RemoveRoute(device, one, "no port has the address there")
    for link in observed.links.values():
        if link.index not in kept:
            yield from _unwire(link, observed)


def _unwire(link: Link, observed: Observed) -> Iterator[Action]:
    """Yield what takes our work off a device that no port claims; nothing where none is.

    The addresses, which show that it was ours, go last: killed half way, we come back to it.
    """
    ours = [one for one in observed.addresses.get(link.index, ()) if one.protocol == ROUTE_PROTOCOL]
    why = "no port claims the device"
    if ours:
        closed = ((FORWARDING, 0), (PROXY_ARP, 0))
        yield ChangeLink(link.name, LinkChange(link.index, ipv4=closed), why)
    for one in observed.neighbours.get(link.index, ()):
        if one.protocol == ROUTE_PROTOCOL:
            yield RemoveNeighbour(link.name, one, why)
    if limits.to_vm_differs(link, RateLimit(), link.mtu, observed) and ours:
        yield LimitToVm(link.name, link.index, RateLimit(), why)
    if limits.from_vm_differs(link, RateLimit(), link.mtu, observed):
        yield LimitFromVm(link.name, link.index, RateLimit(), why)
    belongs_to = limits.tap_of(link)
    if belongs_to is not None and all(one.index != belongs_to for one in observed.links.values()):
        yield LimitFromVm(link.name, belongs_to, RateLimit(), "its tap is gone")
    for address in ours:
        yield RemoveAddress(link.name, address, why)
