"""What should be in DHCP's files for an intent; pure."""

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, IPv6Network
from pathlib import Path

from chronovisor.errors import Problem
from chronovisor.net.dhcp import options, place
from chronovisor.net.dhcp.place import Place
from chronovisor.net.dhcp.v6 import record
from chronovisor.net.dhcp.v6.advertisement import MOST_ROUTES, MOST_SERVERS
from chronovisor.net.dhcp.v6.record import Record
from chronovisor.net.intent import Intent
from chronovisor.net.marks import GATEWAY_LINK_LOCAL, GATEWAY_MAC
from chronovisor.net.settings import NETWORKS, Network, Port, RaMode, Subnet
from chronovisor.worlds import WorldSpec

_MANAGED = (RaMode.DHCPV6_STATEFUL, RaMode.NONE)  # whose VMs DHCPv6 gives addresses


@dataclass(frozen=True, slots=True)
class Wanted:
    """Files by path, who may hold an IPv4 lease (MAC by address), and the daemons.

    `ports` are those it speaks of; None means all of the host, so that whatever else is there has
    to go.
    """

    files: Mapping[Path, str]
    leases: Mapping[IPv4Address, str]
    daemons: tuple[WorldSpec, ...]
    ports: frozenset[str] | None = None


class Rendered:
    """The files of ports, made once as long as a port and its network stay the same."""

    def __init__(self, at: Place) -> None:
        self._at = at
        self._made: dict[str, tuple[Port, Network, list[tuple[Path, str]]]] = {}

    def files(self, intent: Intent, identifier: str) -> list[tuple[Path, str]]:
        """Return the files of a port of this intent."""
        port = intent.ports[identifier]
        network = intent.network(port)
        made = self._made.get(identifier)
        if made and (made[0] is port or made[0] == port) and made[1] == network:
            return made[2]
        files = [*port_files(identifier, port, network, self._at)]
        self._made[identifier] = (port, network, files)
        return files

    def forget_all_but(self, ports: Collection[str]) -> None:
        """Forget ports that are no more."""
        for identifier in self._made.keys() - ports:
            del self._made[identifier]


def want(
    intent: Intent, at: Place, only: Iterable[str] | None = None, rendered: Rendered | None = None
) -> Wanted:
    """Return what should be, for all ports or `only` some (also such as are gone)."""
    rendered = rendered or Rendered(at)
    ports = frozenset(only) if only is not None else None
    if ports is None:
        rendered.forget_all_but(intent.ports.keys())
    chosen = intent.ports.keys() if ports is None else ports & intent.ports.keys()
    files = dict(pair for one in sorted(chosen) for pair in rendered.files(intent, one))
    return Wanted(files, _leases(intent), tuple(_daemons(intent, at)), ports)


def port_files(
    identifier: str, port: Port, network: Network, at: Place
) -> Iterator[tuple[Path, str]]:
    """Yield the files of one port; none for what its network does not have."""
    for subnet in network.subnets:
        if subnet.prefix.version == 6:
            yield at.ipv6 / identifier, record.to_text(_record(port, network, subnet))
        elif subnet.dhcp and (address := _first_ipv4(port)):
            # The tap's name is a tag: no other VM gets this, with whatever MAC address.
            text = f"tag:{port.device},{port.mac},{address},{network.lease_time_s}\n"
            yield at.options / identifier, options.lines(port, network, subnet, dns=at.dns)
            yield at.hosts / identifier, text  # last: with it the first answer can go out
    if at.dns and port.hostname and port.addresses:
        full = f"{port.hostname}.{network.domain} " if network.domain else ""
        text = "".join(f"{address} {full}{port.hostname}\n" for address in port.addresses)
        yield at.names / identifier, text


def problems(intent: Intent) -> list[Problem]:
    """Return what networks ask for and VMs cannot be told; all else is told."""
    found = []
    for identifier, network in sorted(intent.networks.items()):
        where = f"{NETWORKS}/{identifier}"
        found += [*options.problems(where, network), *_ipv6_problems(where, network)]
    return found


def _leases(intent: Intent) -> dict[IPv4Address, str]:
    return {
        address: port.mac
        for port in intent.ports.values()
        for address in port.addresses
        if isinstance(address, IPv4Address)
    }


def _daemons(intent: Intent, at: Place) -> Iterator[WorldSpec]:
    """Yield what must run, in the order of starting: as soon as a network could have use for it."""
    devices = [port.device for port in intent.ports.values()]
    subnets = [one for network in intent.networks.values() for one in network.subnets]
    if any(one.prefix.version == 4 and one.dhcp for one in subnets):
        yield place.dnsmasq(at, devices)
    if any(one.prefix.version == 6 for one in subnets):
        yield place.responder(at)
    if at.dns and intent.networks:
        yield place.names(at, devices)


def _first_ipv4(port: Port) -> IPv4Address | None:
    """Return the address that DHCP gives: a lease is for one address; others a VM sets itself."""
    return next((one for one in port.addresses if isinstance(one, IPv4Address)), None)


def _record(port: Port, network: Network, subnet: Subnet) -> Record:
    prefix, gateway, mode = subnet.prefix, subnet.gateway, subnet.ra_mode
    assert isinstance(prefix, IPv6Network)
    assert isinstance(gateway, IPv6Address)
    addresses = tuple(one for one in port.addresses if isinstance(one, IPv6Address))
    stateful = subnet.dhcp and mode in _MANAGED
    return Record(
        device=port.device,
        mac=bytes.fromhex(port.mac.replace(":", "")),
        router=gateway if gateway.is_link_local else GATEWAY_LINK_LOCAL,
        router_mac=GATEWAY_MAC,
        prefix=prefix,
        addresses=addresses if stateful else (),
        lifetime_s=network.lease_time_s,
        mtu=network.mtu,
        advertise=mode is not RaMode.NONE,
        managed=stateful and mode is RaMode.DHCPV6_STATEFUL,
        other=subnet.dhcp and mode in (RaMode.DHCPV6_STATEFUL, RaMode.DHCPV6_STATELESS),
        autonomous=mode in (RaMode.DHCPV6_STATELESS, RaMode.SLAAC) and prefix.prefixlen == 64,
        dns_servers=_ipv6(subnet.dns_servers),
        ntp_servers=_ipv6(subnet.ntp_servers),
        routes=_routes_by_us(subnet)[:MOST_ROUTES],
        domain=network.domain or "",
        hostname=port.hostname or "",
    )


def _ipv6(servers: Iterable[object]) -> tuple[IPv6Address, ...]:
    return tuple(one for one in servers if isinstance(one, IPv6Address))[:MOST_SERVERS]


def _routes_by_us(subnet: Subnet) -> tuple[IPv6Network, ...]:
    return tuple(
        route.destination
        for route in subnet.host_routes
        if route.next_hop == subnet.gateway and isinstance(route.destination, IPv6Network)
    )


def _ipv6_problems(where: str, network: Network) -> Iterator[Problem]:
    for index, subnet in enumerate(network.subnets):
        if subnet.prefix.version != 6:
            continue
        at = f"{where}: subnets[{index}]"
        for setting in ("dns_servers", "ntp_servers"):
            if len(getattr(subnet, setting)) > MOST_SERVERS:
                yield Problem(
                    f"{at}.{setting}",
                    f"only the first {MOST_SERVERS} are told to VMs",
                    str(len(getattr(subnet, setting))),
                    f"at most {MOST_SERVERS}",
                )
        yield from _ipv6_route_problems(at, subnet)
        slaac = subnet.ra_mode in (RaMode.SLAAC, RaMode.DHCPV6_STATELESS)
        if slaac and subnet.prefix.prefixlen != 64:
            yield Problem(
                f"{at}.ra_mode",
                f"VMs make no address in {subnet.prefix}: that needs a /64 (RFC 4862, RFC 4291)",
                subnet.ra_mode.value,
                "dhcpv6_stateful, or a prefix of length 64",
            )


def _ipv6_route_problems(at: str, subnet: Subnet) -> Iterator[Problem]:
    for number, route in enumerate(subnet.host_routes):
        if route.next_hop != subnet.gateway:
            yield Problem(
                f"{at}.host_routes[{number}].next_hop",
                "a router announces routes by itself only (RFC 4191); VMs are not told this one",
                str(route.next_hop),
                f"the gateway {subnet.gateway}",
            )
    if len(_routes_by_us(subnet)) > MOST_ROUTES:
        yield Problem(
            f"{at}.host_routes",
            f"only the first {MOST_ROUTES} fit an advertisement",
            str(len(subnet.host_routes)),
            f"at most {MOST_ROUTES}",
        )
