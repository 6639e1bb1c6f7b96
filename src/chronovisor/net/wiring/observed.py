"""What there is of a host's wiring, and the names of the switches it is read from."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from chronovisor.net.wiring.netlink.address import DeviceAddress
from chronovisor.net.wiring.netlink.link import Link
from chronovisor.net.wiring.netlink.neighbour import Neighbour
from chronovisor.net.wiring.netlink.route import Route
from chronovisor.net.wiring.netlink.traffic import Qdisc
from chronovisor.net.wiring.taps import Address

IPV4_FORWARDING = "ipv4/ip_forward"
IPV6_FORWARDING = "ipv6/conf/all/forwarding"


def proxy_delay(device: str) -> str:
    """Return the switch that says how long proxy ARP waits before it answers, in 1/100 s."""
    return f"ipv4/neigh/{device}/proxy_delay"


def ipv6_switch(device: str, name: str) -> str:
    """Return an IPv6 switch of a device."""
    return f"ipv6/conf/{device}/{name}"


@dataclass(frozen=True, slots=True)
class Observed:
    """The kernel's state: of all devices, or of those that were asked for.

    `links` by name; `addresses`, `neighbours` (permanent ones), `qdiscs` (of roots) and
    `redirects` (ours: the device frames go to) by the device's number; `routes` to single
    addresses by address; `switches` by path below /proc/sys/net.
    """

    links: Mapping[str, Link] = field(default_factory=dict)
    addresses: Mapping[int, tuple[DeviceAddress, ...]] = field(default_factory=dict)
    routes: Mapping[Address, tuple[Route, ...]] = field(default_factory=dict)
    neighbours: Mapping[int, tuple[Neighbour, ...]] = field(default_factory=dict)
    switches: Mapping[str, str] = field(default_factory=dict)
    qdiscs: Mapping[int, Qdisc] = field(default_factory=dict)
    redirects: Mapping[int, int] = field(default_factory=dict)
