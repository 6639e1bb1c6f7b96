"""What a port's VM is told by DHCPv4, as lines of dnsmasq's options file; pure.

Every line is for one tap: dnsmasq sets the name of the interface that a request came in on as a
tag by itself. Tags set in host files would do for whole networks, but dnsmasq 2.90 crashes at the
next SIGHUP after it used one. What a subnet says too much of is left out and named; a VM gets its
address all the same.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network

from chronovisor.errors import Problem
from chronovisor.net.settings import Address, HostRoute, Network, Port, Subnet

LONGEST_OPTION = 255  # RFC 2132 section 2: the length is one byte
LONGEST_LIST = 900  # dnsmasq cuts lines beyond 1,023 characters in two; bytes are shorter
ROOM = 308  # RFC 2131 section 2: options that any client must accept (312 less the cookie)
SET_BY_DNSMASQ = 29  # options 51, 53, 54, 58, 59 (RFC 2132 section 9) and 255
MOST_SERVERS = LONGEST_OPTION // 4

_DNS, _HOSTNAME, _BROADCAST, _NTP, _ROUTES = 6, 12, 28, 42, 121
"""By number, because dnsmasq takes some of these by number only, and bytes not by name."""


@dataclass(frozen=True, slots=True)
class Option:
    """One DHCP option: its name or number for dnsmasq, its value there and its length in bytes.

    `setting` is the key it comes from, "" when it is never too long.
    """

    name: str
    value: str
    length: int
    setting: str = ""


def lines(port: Port, network: Network, subnet: Subnet, *, dns: bool = False) -> str:
    """Return a port's options file; options that no packet can carry are not in it.

    With `dns` the gateway is the name server of a subnet that names none.
    """
    fitting = [one for one in _options(port, network, subnet, dns) if _fits(one)]
    return "".join(f"tag:{port.device},{one.name},{one.value}\n" for one in fitting)


def problems(where: str, network: Network) -> Iterator[Problem]:
    """Yield what a network asks of DHCPv4 and cannot have; `where` is the network's key."""
    for index, subnet in enumerate(network.subnets):
        if subnet.prefix.version != 4 or not subnet.dhcp:
            continue
        options = [*_network_options(network, subnet, dns=False)]
        for option in options:
            if not _fits(option):
                yield Problem(
                    f"{where}: subnets[{index}].{option.setting}",
                    f"takes {option.length} bytes in DHCP; it is left out, VMs are not told",
                    valid=f"at most {LONGEST_OPTION} bytes: {_what_fits(option.setting)}",
                )
        total = SET_BY_DNSMASQ + sum(2 + one.length for one in options if _fits(one))
        if total > ROOM:
            yield Problem(
                f"{where}: subnets[{index}]",
                f"its DHCP options take {total} bytes; VMs that accept only short answers "
                "are not told all of them",
                valid=f"at most {ROOM} bytes in all (RFC 2131 section 2)",
            )


def _fits(option: Option) -> bool:
    return option.length <= LONGEST_OPTION


def _what_fits(setting: str) -> str:
    return "about 30 routes" if setting == "host_routes" else f"{MOST_SERVERS} servers or fewer"


def _options(port: Port, network: Network, subnet: Subnet, dns: bool) -> Iterator[Option]:
    yield from _network_options(network, subnet, dns)
    if port.hostname:
        # In quotes: dnsmasq would read a name of digits as a number.
        yield Option(str(_HOSTNAME), f'"{port.hostname}"', len(port.hostname))


def _network_options(network: Network, subnet: Subnet, dns: bool) -> Iterator[Option]:
    prefix, gateway = subnet.prefix, subnet.gateway
    assert isinstance(prefix, IPv4Network)
    assert isinstance(gateway, IPv4Address)
    yield Option("option:netmask", str(prefix.netmask), 4)
    yield Option(str(_BROADCAST), str(_broadcast(prefix)), 4)
    yield Option("option:router", str(gateway), 4)
    yield Option("option:mtu", str(network.mtu), 2)
    if network.domain:
        yield Option("option:domain-name", f'"{network.domain}"', len(network.domain))
    servers = subnet.dns_servers or ((gateway,) if dns else ())
    yield from _addresses(_DNS, servers, "dns_servers")
    yield from _addresses(_NTP, subnet.ntp_servers, "ntp_servers")
    if subnet.host_routes:
        encoded = classless_routes(subnet.host_routes, gateway)
        yield Option(str(_ROUTES), encoded.hex(":"), len(encoded), "host_routes")


def _addresses(code: int, addresses: Sequence[Address], setting: str) -> Iterator[Option]:
    if not addresses:
        return
    text = ",".join(map(str, addresses))
    if len(text) > LONGEST_LIST:
        text = b"".join(one.packed for one in addresses).hex(":")
    yield Option(str(code), text, 4 * len(addresses), setting)


def _broadcast(prefix: IPv4Network) -> IPv4Address:
    """Return a prefix's broadcast address; RFC 3021: a /31 has none but the limited one."""
    return prefix.broadcast_address if prefix.prefixlen < 31 else IPv4Address("255.255.255.255")


def classless_routes(routes: Sequence[HostRoute], gateway: IPv4Address) -> bytes:
    """Return option 121, the default route first unless the routes have one of their own.

    RFC 3442: a client that takes this option ignores option 3, so it must say both. A route's next
    hop is the host's own tap or another address of the on-link prefix, where the host answers ARP.
    """
    own_default = any(route.destination.prefixlen == 0 for route in routes)
    encoded = b"" if own_default else b"\0" + gateway.packed
    for route in routes:
        length = route.destination.prefixlen
        network = route.destination.network_address.packed[: (length + 7) // 8]
        encoded += bytes((length,)) + network + route.next_hop.packed
    return encoded
