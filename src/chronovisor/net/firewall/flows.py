"""Which tracked connections the rules would let begin now; pure.

A connection that is established passes without its rules being asked. When rules change, the ones
that they would refuse are ended, and only these. `allows` is also what explains a verdict.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv6Address

from chronovisor.net.firewall.compile import (
    ICMP,
    PROTOCOLS,
    member_addresses,
    own_addresses,
    own_prefixes,
)
from chronovisor.net.intent import Intent
from chronovisor.net.marks import METADATA_IPV4
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

_TCP, _UDP = 6, 17
_DHCP = {(68, 67), (67, 68), (546, 547), (547, 546)}


@dataclass(frozen=True, slots=True)
class Flow:
    """A connection in the direction in which it began, with addresses as the rules see them.

    `raw` is what the kernel wants back to end it. Ports are 0 for protocols without; `icmp_type`
    and `icmp_code` are those of the first packet.
    """

    source: Address
    target: Address
    protocol: int
    source_port: int = 0
    target_port: int = 0
    icmp_type: int = 0
    icmp_code: int = 0
    expected: bool = False
    raw: bytes = field(default=b"", compare=False)

    def __str__(self) -> str:
        return (
            f"protocol {self.protocol} {self.source}:{self.source_port} -> "
            f"{self.target}:{self.target_port}"
        )


@dataclass(frozen=True, slots=True)
class Reason:
    """Why a flow may pass, or may not: port, direction and the rule that says so."""

    allowed: bool
    port: str
    words: str
    group: str = ""
    rule: int | None = None


class Judge:
    """Says for flows what the rules of an intent say; built once for many."""

    def __init__(self, intent: Intent) -> None:
        self._intent = intent
        self._owner: dict[Address, str] = {}
        self._prefixes: list[tuple[Prefix, str]] = []
        for name, port in intent.ports.items():
            for _, address in own_addresses(port):
                self._owner.setdefault(address, name)
            self._prefixes += [(prefix, name) for _, prefix in own_prefixes(port)]
        for name, port in intent.ports.items():
            self._owner.update(dict.fromkeys(port.addresses, name))
        self._gateways = {
            subnet.gateway for network in intent.networks.values() for subnet in network.subnets
        }
        self._members: dict[str, tuple[frozenset[Address], tuple[Prefix, ...]]] = {}

    def owner(self, address: Address) -> str | None:
        """Return the port that has an address or may send from it."""
        found = self._owner.get(address)
        if found is not None:
            return found
        fits = [(one.prefixlen, name) for one, name in self._prefixes if address in one]
        return max(fits)[1] if fits else None

    def reasons(self, flow: Flow) -> Iterator[Reason]:
        """Yield what each end's rules say of a flow; nothing when no end is a port of ours."""
        if self._is_for_host(flow):
            return
        for address, direction in (
            (flow.source, Direction.EGRESS),
            (flow.target, Direction.INGRESS),
        ):
            if (name := self.owner(address)) is not None:
                yield self._reason(name, direction, flow)

    def allows(self, flow: Flow) -> bool:
        """Return whether the rules would let a flow begin."""
        return flow.expected or all(reason.allowed for reason in self.reasons(flow))

    def _is_for_host(self, flow: Flow) -> bool:
        """Return whether a flow is one that the host itself has with a VM: not for groups."""
        if flow.target in self._gateways or flow.target == METADATA_IPV4:
            return True
        if flow.target.is_link_local or flow.target.is_multicast or flow.source.is_link_local:
            return True
        return flow.protocol == _UDP and (flow.source_port, flow.target_port) in _DHCP

    def _reason(self, name: str, direction: Direction, flow: Flow) -> Reason:
        port = self._intent.ports[name]
        if not port.port_security:
            return Reason(True, name, "port_security is off")
        remote = flow.target if direction is Direction.EGRESS else flow.source
        for group, number, rule in _rules(port, self._intent.groups):
            if rule.direction is direction and self._matches(rule, remote, flow):
                return Reason(True, name, f"rule {number} of {group}", group, number)
        return Reason(False, name, f"no {direction.value} rule of its groups matches")

    def _matches(self, rule: GroupRule, remote: Address, flow: Flow) -> bool:
        if remote.version != (4 if rule.family is Family.IPV4 else 6):
            return False
        return matches_service(rule, flow) and self._matches_remote(rule, remote)

    def _matches_remote(self, rule: GroupRule, remote: Address) -> bool:
        if rule.remote_prefix is not None:
            return remote in rule.remote_prefix
        if rule.remote_group is None:
            return True
        addresses, prefixes = self._members_of(rule.remote_group)
        return remote in addresses or any(remote in prefix for prefix in prefixes)

    def _members_of(self, group: str) -> tuple[frozenset[Address], tuple[Prefix, ...]]:
        if group not in self._members:
            ports = self._intent.ports.values()
            held = self._intent.groups.get(group)
            self._members[group] = (
                frozenset(
                    address
                    for port in ports
                    if held is not None and group in port.security_groups
                    for address in member_addresses(port)
                ),
                held.members if held is not None else (),
            )
        return self._members[group]


def matches_service(rule: GroupRule, flow: Flow) -> bool:
    """Return whether a flow's protocol, ports and ICMP type are what a rule is about."""
    if rule.protocol is None:
        return True
    if rule.protocol is IpProtocol.ICMP:
        return (
            flow.protocol == ICMP[flow.target.version]
            and rule.icmp_type in (None, flow.icmp_type)
            and rule.icmp_code in (None, flow.icmp_code)
        )
    if flow.protocol != PROTOCOLS[rule.protocol]:
        return False
    if rule.port_min is None or rule.port_max is None:
        return True
    return rule.port_min <= flow.target_port <= rule.port_max


def refused(intent: Intent, flows: Iterable[Flow]) -> list[Flow]:
    """Return the flows that the rules would not let begin."""
    judge = Judge(intent)
    return [flow for flow in flows if not judge.allows(flow)]


def affected(
    before: Intent, after: Intent, ports: Iterable[str], groups: Iterable[str]
) -> frozenset[Address] | None:
    """Return the addresses whose flows a change may end; None means: look at all.

    A member that leaves a remote group is itself an end of every flow that this ends.
    """
    found: set[Address] = set()
    names = set(ports)
    for group in groups:
        old, new = before.groups.get(group), after.groups.get(group)
        if old is None or (new is not None and _only_wider(old, new)):
            continue
        names |= {
            name
            for name, port in [*before.ports.items(), *after.ports.items()]
            if group in port.security_groups
        }
        for prefix in old.members:
            if new is None or prefix not in new.members:
                if prefix.prefixlen != prefix.max_prefixlen:
                    return None
                found.add(prefix.network_address)
    for name in names:
        for port in (before.ports.get(name), after.ports.get(name)):
            if port and any(own_prefixes(port)):
                return None
            found |= {address for _, address in own_addresses(port)} if port else set()
    return frozenset(found)


def _only_wider(old: SecurityGroup, new: SecurityGroup) -> bool:
    return set(old.rules) <= set(new.rules) and set(old.members) <= set(new.members)


def _rules(port: Port, groups: Mapping[str, SecurityGroup]) -> Iterator[tuple[str, int, GroupRule]]:
    for group in dict.fromkeys(port.security_groups):
        for number, rule in enumerate(groups[group].rules):
            yield group, number, rule


def unpacked(packed: bytes) -> Address:
    """Return an address of 4 or 16 bytes."""
    return IPv4Address(packed) if len(packed) == 4 else IPv6Address(packed)
