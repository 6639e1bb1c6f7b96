"""What a port's tap should be: pure, from the port and its network.

IPv4: proxy ARP answers for everything, so that a VM that believes a whole prefix to be on its link
sends all frames to the host. IPv6: the kernel's proxy NDP knows only single addresses, each per
device (ip-sysctl, `proxy_ndp`), which would be one entry for every pair of VMs. It is not needed:
an IPv6 host takes nothing for on-link that a router advertisement does not name as such (RFC 5942
section 4, RFC 4861 section 6.3.4), and addresses of DHCPv6 say nothing about the link (RFC 8415
section 18.2.10.1). So prefixes are advertised without the on-link flag and VMs send everything to
their router, one link-local address on every tap, which is that of the metadata service too.

An IPv6 address on each of many taps is the dearest thing here: the kernel looks through all
addresses of the host for each that comes, and has the routes of equal ones in one chain. So a tap
has as few of them as possible.
"""

from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv6Address

from chronovisor.net.intent import Intent
from chronovisor.net.marks import GATEWAY_LINK_LOCAL, METADATA_IPV4
from chronovisor.net.settings import Network, Port, RateLimit

Address = IPv4Address | IPv6Address

IPV4_SETTINGS = {  # IPV4_DEVCONF_* of linux/ip.h: value; documented in the kernel's ip-sysctl
    1: 1,  # forwarding
    3: 1,  # proxy_arp
    4: 0,  # accept_redirects
    5: 0,  # secure_redirects
    6: 0,  # send_redirects
    9: 0,  # accept_source_route
    18: 2,  # arp_announce: never ask a VM in the name of an address of another device
    21: 0,  # arp_accept
    23: 0,  # accept_local
    25: 0,  # proxy_arp_pvlan
    26: 0,  # route_localnet
    32: 0,  # bc_forwarding
}
RP_FILTER = 8
FORWARDING, PROXY_ARP = 1, 3
STRICT, OFF = 1, 0

IPV6_SETTINGS = {  # sysctl: (number of linux/ipv6.h DEVCONF_*, value)
    "disable_ipv6": (26, 0),
    "accept_ra": (3, 0),
    "accept_redirects": (4, 0),
    "forwarding": (0, 1),
}
WITHOUT_IPV6 = {"disable_ipv6": (26, 1)}
"""A VM that has no IPv6 finds none at the host's end of its tap either."""


@dataclass(frozen=True, slots=True)
class TapAddress:
    """An address of the host on a tap; only `on_link` brings a route to its prefix with it."""

    address: Address
    prefix_length: int
    on_link: bool = False


@dataclass(frozen=True, slots=True)
class Tap:
    """A port's tap as it should be. `hosts` are the VM's addresses, each with a host route."""

    port: str
    device: str
    mtu: int
    vm_mac: str
    ipv4: tuple[tuple[int, int], ...]
    ipv6: tuple[tuple[str, int, int], ...]
    addresses: tuple[TapAddress, ...]
    hosts: tuple[Address, ...]
    rate: RateLimit = field(default_factory=RateLimit)

    @property
    def is_limited(self) -> bool:
        """Whether the port has a rate limit."""
        return self.rate.ingress_kbit_s is not None or self.rate.egress_kbit_s is not None

    @property
    def speaks_ipv6(self) -> bool:
        """Whether the VM's network has IPv6."""
        return len(self.ipv6) > 1


def tap(identifier: str, port: Port, network: Network) -> Tap:
    """Return what the tap of a port should be.

    `rp_filter` is strict, so that a forged source gets no answer even to ARP, unless the port may
    send from other addresses.
    """
    free = bool(port.allowed_address_pairs) or not port.port_security
    versions: set[int] = {subnet.prefix.version for subnet in network.subnets}
    ipv6 = IPV6_SETTINGS if 6 in versions else WITHOUT_IPV6
    return Tap(
        port=identifier,
        device=port.device,
        mtu=network.mtu,
        vm_mac=port.mac,
        ipv4=((RP_FILTER, OFF if free else STRICT), *IPV4_SETTINGS.items()),
        ipv6=tuple((name, number, value) for name, (number, value) in ipv6.items()),
        addresses=tuple(_addresses(network, versions)),
        hosts=port.addresses,
        rate=port.rate_limit,
    )


def taps(intent: Intent) -> dict[str, Tap]:
    """Return the taps of all ports that should be wired, by device."""
    return {
        port.device: tap(identifier, port, intent.network(port))
        for identifier, port in intent.ports.items()
    }


def _addresses(network: Network, versions: set[int]) -> list[TapAddress]:
    """Return the host's addresses on a tap.

    With the prefix's length, directed broadcasts of IPv4 end at the host. Of link-local addresses
    one must bring its prefix's route, or the host could not answer a VM's.
    """
    found = [
        TapAddress(subnet.gateway, subnet.prefix.prefixlen)
        for subnet in network.subnets
        if not subnet.gateway.is_link_local or subnet.gateway.version == 4
    ]
    if 4 in versions:
        found.append(TapAddress(METADATA_IPV4, 32))
    if 6 in versions:
        found.append(TapAddress(GATEWAY_LINK_LOCAL, 64, on_link=True))
        found += [
            TapAddress(subnet.gateway, 64)
            for subnet in network.subnets
            if subnet.gateway.version == 6
            and subnet.gateway.is_link_local
            and subnet.gateway != GATEWAY_LINK_LOCAL
        ]
    return found
