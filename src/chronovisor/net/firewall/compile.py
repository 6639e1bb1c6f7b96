"""From the host's intent to what stands in nftables, part by part; pure.

A group is two chains that its ports share, so a change of its rules touches nothing else; a port
is two chains of jumps to its groups and some set elements. Addresses of a group's ports are
elements of a named set: a port that comes or goes changes elements, not rules.
"""

from collections.abc import Iterator, Mapping
from functools import lru_cache
from ipaddress import IPv4Address, IPv4Network, IPv6Address

from chronovisor.net.firewall.bytecode import rule
from chronovisor.net.firewall.keys import key
from chronovisor.net.firewall.names import ARP, INET, group_chain, guard_chain, members, port_chain
from chronovisor.net.firewall.rules import (
    ACCEPT,
    Chain,
    Element,
    Match,
    MatchAddress,
    MatchArpAddress,
    MatchIcmp,
    MatchMac,
    MatchMembers,
    MatchPort,
    MatchProtocol,
    MatchVersion,
    Part,
    Rule,
    SetName,
    Verdict,
    arp,
    inet,
)
from chronovisor.net.intent import RESERVED_DEVICES, Intent
from chronovisor.net.settings import (
    Address,
    Direction,
    Family,
    IpProtocol,
    Port,
    Prefix,
    SecurityGroup,
)
from chronovisor.net.settings import Rule as GroupRule

PROTOCOLS = {IpProtocol.TCP: 6, IpProtocol.UDP: 17, IpProtocol.SCTP: 132}
ICMP = {4: 1, 6: 58}  # IANA protocol numbers of ICMP and ICMPv6

_NOBODY = IPv4Address("0.0.0.0")  # RFC 5227 section 2.1.1: sender of an address probe


def remote_names(group: SecurityGroup) -> frozenset[str]:
    """Return the groups that a group's rules name as the far end."""
    return frozenset(one.remote_group for one in group.rules if one.remote_group is not None)


def group_part(name: str, groups: Mapping[str, SecurityGroup]) -> Part:
    """Return the chains of a group."""
    return Part(
        chains={
            Chain(INET, group_chain(direction, name)): tuple(_group_rules(name, direction, groups))
            for direction in Direction
        }
    )


def members_part(name: str, groups: Mapping[str, SecurityGroup]) -> Part:
    """Return the sets of a group that rules name as the far end, with its members elsewhere."""
    elements = frozenset(
        Element(inet(members(prefix.version, name)), key(prefix.network_address))
        for prefix in groups[name].members
        if _is_host(prefix)
    )
    return Part(elements=elements, sets=frozenset(inet(members(v, name)) for v in (4, 6)))


def port_part(name: str, port: Port, intent: Intent, remotes: frozenset[str]) -> Part:
    """Return what a port has; `remotes` are the groups whose addresses are of interest."""
    elements = {
        Element(inet("claimed"), key(port.device)),
        Element(arp("claimed"), key(port.device)),
        *_dns(port, intent),
        *_memberships(port, remotes),
    }
    if not port.port_security:
        for where in (inet("unguarded"), arp("unguarded")):
            elements.add(Element(where, key(port.device)))
        for where in (inet("from_vm"), inet("to_vm")):
            elements.add(Element(where, key(port.device), ACCEPT))
        return Part(elements=frozenset(elements))
    chains = {**_jumps(name, port), **_guards(name, port)}
    for direction, judged in ((Direction.EGRESS, "from_vm"), (Direction.INGRESS, "to_vm")):
        jump = Verdict("jump", port_chain(direction, name))
        elements.add(Element(inet(judged), key(port.device), jump))
    for chain in _guards(name, port):
        jump = Verdict("jump", chain.name)
        elements.add(Element(SetName(chain.family, "extra"), key(port.device), jump))
    if is_stateless(port, intent.groups):
        elements.add(Element(inet("stateless"), key(port.device)))
    return Part(chains=chains, elements=frozenset(elements | set(_identity(port))))


def closed_part(port: Port) -> Part:
    """Return what a port has that is disabled or refused: its device passes nothing."""
    if port.device in RESERVED_DEVICES:
        return Part()
    places = (inet("claimed"), arp("claimed"))
    return Part(elements=frozenset(Element(where, key(port.device)) for where in places))


def is_stateless(port: Port, groups: Mapping[str, SecurityGroup]) -> bool:
    """Return whether every packet of a port is judged by itself: all its groups say so."""
    return bool(port.security_groups) and not any(
        groups[name].stateful for name in port.security_groups
    )


def own_addresses(port: Port) -> Iterator[tuple[str, Address]]:
    """Yield MAC and address of what a port may send from: its own, then of allowed pairs."""
    for address in port.addresses:
        yield port.mac, address
    for pair in port.allowed_address_pairs:
        if _is_host(pair.prefix):
            yield pair.mac or port.mac, pair.prefix.network_address


def own_prefixes(port: Port) -> Iterator[tuple[str, Prefix]]:
    """Yield MAC and prefix of the allowed pairs of a port that are more than one address."""
    for pair in port.allowed_address_pairs:
        if not _is_host(pair.prefix):
            yield pair.mac or port.mac, pair.prefix


def _identity(port: Port) -> Iterator[Element]:
    """Yield who a port may say that it is."""
    for mac in {port.mac} | {pair.mac for pair in port.allowed_address_pairs if pair.mac}:
        yield Element(inet("macs"), key(port.device, mac))
        yield Element(arp("guard"), key(port.device, mac, _NOBODY))
    for mac, address in own_addresses(port):
        if isinstance(address, IPv6Address):
            yield Element(inet("guard6"), key(port.device, mac, address))
            yield Element(inet("targets"), key(port.device, address))
        else:
            yield Element(inet("guard4"), key(port.device, mac, address))
            yield Element(arp("guard"), key(port.device, mac, address))


def _guards(name: str, port: Port) -> dict[Chain, tuple[Rule, ...]]:
    """Return the chains for prefixes that a port may send from; sets hold only whole addresses."""
    ip_rules: list[Rule] = []
    arp_rules: list[Rule] = []
    for mac, prefix in own_prefixes(port):
        ip_rules.append(rule((MatchMac(mac), _address("saddr", prefix)), ACCEPT, name))
        if isinstance(prefix, IPv4Network):
            matches: list[Match] = [MatchMac(mac), MatchMac(mac, arp=True)]
            matches += [MatchArpAddress(prefix)] if prefix.prefixlen else []
            arp_rules.append(rule(tuple(matches), ACCEPT, name))
    found = {INET: tuple(ip_rules), ARP: tuple(arp_rules)}
    return {Chain(family, guard_chain(name)): rules for family, rules in found.items() if rules}


def _jumps(name: str, port: Port) -> dict[Chain, tuple[Rule, ...]]:
    """Return a port's chains; what comes back from them is dropped by the static part.

    The kernel walks every rule at every change, so there is not one more than is needed.
    """
    return {
        Chain(INET, port_chain(direction, name)): tuple(
            rule((), Verdict("jump", group_chain(direction, group)), name)
            for group in dict.fromkeys(port.security_groups)
        )
        for direction in Direction
    }


def _dns(port: Port, intent: Intent) -> Iterator[Element]:
    """Yield where a VM may ask this host for names: gateways that its subnets call DNS servers."""
    for subnet in intent.networks[port.network].subnets:
        if subnet.gateway in subnet.dns_servers:
            where = inet("dns4" if subnet.gateway.version == 4 else "dns6")
            yield Element(where, key(port.device, subnet.gateway))


def member_addresses(port: Port) -> tuple[Address, ...]:
    """Return the addresses that a port brings into its groups.

    Prefixes of address pairs are none of them: with 0.0.0.0/0 a group would trust everybody.
    """
    return tuple(dict.fromkeys(address for _, address in own_addresses(port)))


def _memberships(port: Port, remotes: frozenset[str]) -> Iterator[Element]:
    for group in remotes.intersection(port.security_groups):
        for address in member_addresses(port):
            yield Element(inet(members(address.version, group)), key(address))


def _group_rules(
    name: str, direction: Direction, groups: Mapping[str, SecurityGroup]
) -> Iterator[Rule]:
    for number, one in enumerate(groups[name].rules):
        if one.direction is direction:
            service = _service(one)
            for remote in _remotes(one, groups):
                yield rule((remote, *service), ACCEPT, f"{name}.{number}")


def _remotes(one: GroupRule, groups: Mapping[str, SecurityGroup]) -> Iterator[Match]:
    """Yield the ways in which the far end may match."""
    side = "daddr" if one.direction is Direction.EGRESS else "saddr"
    version = 4 if one.family is Family.IPV4 else 6
    if one.remote_prefix is not None:
        yield _address(side, one.remote_prefix)
    elif one.remote_group is None:
        yield MatchVersion(version)
    elif one.remote_group in groups:
        yield MatchMembers(side, version, members(version, one.remote_group))
        for prefix in groups[one.remote_group].members:
            if prefix.version == version and not _is_host(prefix):
                yield _address(side, prefix)


def _service(one: GroupRule) -> tuple[Match, ...]:
    version = 4 if one.family is Family.IPV4 else 6
    if one.protocol is None:
        return ()
    if one.protocol is IpProtocol.ICMP:
        return _icmp(version, one.icmp_type, one.icmp_code)
    return _ports(PROTOCOLS[one.protocol], one.port_min, one.port_max)


@lru_cache(maxsize=4096)
def _icmp(version: int, kind: int | None, code: int | None) -> tuple[Match, ...]:
    found: list[Match] = [MatchProtocol(ICMP[version])]
    if kind is not None:
        found.append(MatchIcmp(version, kind))
    if code is not None:
        found.append(MatchIcmp(version, code, code=True))
    return tuple(found)


@lru_cache(maxsize=65536)
def _ports(protocol: int, first: int | None, last: int | None) -> tuple[Match, ...]:
    if first is None or last is None:
        return (MatchProtocol(protocol),)
    return (MatchProtocol(protocol), MatchPort(first, last))


@lru_cache(maxsize=65536)
def _address(side: str, prefix: Prefix) -> MatchAddress | MatchVersion:
    """Return the match for a prefix; nftables has none for an empty mask."""
    return MatchAddress(side, prefix) if prefix.prefixlen else MatchVersion(prefix.version)


def _is_host(prefix: Prefix) -> bool:
    return prefix.prefixlen == prefix.max_prefixlen
