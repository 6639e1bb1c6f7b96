"""What is asked: can this be reached, from there, with that; and whom of this host it concerns.

Pure. A text names an address or a port's id; what it means is found in the intent.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from ipaddress import ip_address

from chronovisor.errors import InvalidInput, NotFound, Problem
from chronovisor.net.firewall.compile import ICMP, PROTOCOLS, own_addresses, own_prefixes
from chronovisor.net.firewall.flows import Flow
from chronovisor.net.intent import Intent
from chronovisor.net.marks import GATEWAY_LINK_LOCAL, METADATA_IPV4, METADATA_IPV6
from chronovisor.net.settings import Address, IpProtocol, Port

ECHO = {4: 8, 6: 128}
"""Type of an echo request (RFC 792, RFC 4443 section 4.1)."""

SOME_PORT = 49152
"""A source port, the first of those that nobody registers (RFC 6335 section 6)."""


@dataclass(frozen=True, slots=True)
class Service:
    """What is spoken: a protocol, with its destination port (0 for ICMP, whose echo is meant)."""

    protocol: IpProtocol
    port: int = 0

    def __str__(self) -> str:
        """Return it as people write it."""
        return f"{self.protocol.value}/{self.port}" if self.port else "icmp echo"


@dataclass(frozen=True, slots=True)
class Question:
    """Is `target` reached from `source`; both are an address or a port's id.

    Without `source` this host is meant; without `service` no rule of a group is judged for a
    single flow.
    """

    target: str
    source: str = ""
    service: Service | None = None

    def __str__(self) -> str:
        """Return the question as a line for people."""
        what = f" by {self.service}" if self.service else ""
        return f"{self.source or 'this host'} to {self.target}{what}"


@dataclass(frozen=True, slots=True)
class End:
    """One end of the path. `port` is the id of the port that has `address`, empty for none.

    `addresses` are those that are looked at: all of the port's where only its id was given.
    `on_host` says that the host itself answers there, as gateway or for metadata.
    """

    role: str
    text: str
    port: str = ""
    address: Address | None = None
    addresses: tuple[Address, ...] = ()
    on_host: bool = False


@dataclass(frozen=True, slots=True)
class Path:
    """The ends of a question, in the order in which packets pass them."""

    target: End
    source: End | None = None
    service: Service | None = None

    @property
    def ends(self) -> tuple[End, ...]:
        """Return the ends that were named, the source first."""
        return (self.source, self.target) if self.source else (self.target,)

    def flow(self) -> Flow | None:
        """Return the flow that is asked about; None without source, address or service."""
        if self.source is None or self.service is None:
            return None
        source, target = self.source.address, self.target.address
        if source is None or target is None:
            return None
        return flow(source, target, self.service)


def flow(source: Address, target: Address, service: Service) -> Flow:
    """Return a flow by which a service is asked for."""
    if service.protocol is IpProtocol.ICMP:
        version = target.version
        return Flow(source, target, ICMP[version], icmp_type=ECHO[version])
    return Flow(source, target, PROTOCOLS[service.protocol], SOME_PORT, service.port)


def resolve(question: Question, intent: Intent) -> Path:
    """Return whom a question concerns.

    Raises:
        NotFound: a text is neither an address nor the id of a port.
        InvalidInput: the ends have no address family in common.
    """
    target = _end("target", question.target, intent)
    source = _end("source", question.source, intent) if question.source else None
    if source is not None:
        version = _version(source, target)
        source, target = _of_family(source, version), _of_family(target, version)
    return Path(target, source, question.service)


def port_of(identifier: str, intent: Intent) -> Port | None:
    """Return a port by its id, also one that is disabled or refused."""
    for ports in (intent.ports, intent.disabled, intent.refused_ports):
        if identifier in ports:
            return ports[identifier]
    return None


def owner(address: Address, intent: Intent) -> str:
    """Return the id of the port that has an address or may send from it; empty for none."""
    if holder := intent.claims.get(("address", address)):
        return holder
    for ports in (intent.ports, intent.disabled, intent.refused_ports):
        for identifier, port in ports.items():
            if address in port.addresses or address in _pairs(port, address.version):
                return identifier
    for identifier, port in intent.ports.items():
        if any(address in prefix for _, prefix in own_prefixes(port)):
            return identifier
    return ""


def _pairs(port: Port, version: int) -> Iterator[Address]:
    if port.allowed_address_pairs:
        yield from (one for _, one in own_addresses(port) if one.version == version)


def _end(role: str, text: str, intent: Intent) -> End:
    port = port_of(text, intent)
    if port is not None:
        addresses = port.addresses
        return End(role, text, text, addresses[0] if addresses else None, addresses)
    try:
        address = ip_address(text)
    except ValueError:
        raise NotFound(
            f"{text!r} is neither an address nor the id of a port",
            hint="`visorctl net port list` shows the ports and their addresses",
        ) from None
    if _is_on_host(address, intent):
        return End(role, text, "", address, (address,), on_host=True)
    return End(role, text, owner(address, intent), address, (address,))


def _is_on_host(address: Address, intent: Intent) -> bool:
    if address in (GATEWAY_LINK_LOCAL, METADATA_IPV4, METADATA_IPV6):
        return True
    return any(
        address == subnet.gateway
        for network in intent.networks.values()
        for subnet in network.subnets
    )


def _version(source: End, target: End) -> int:
    """Return the address family of both ends, IPv4 where they have both."""
    common = {one.version for one in source.addresses} & {one.version for one in target.addresses}
    if not common:
        said = " and ".join(_families(one) for one in (source, target))
        raise InvalidInput(
            "the two ends have no address family in common", [Problem("from", said, source.text)]
        )
    return min(common)


def _families(end: End) -> str:
    found = sorted({one.version for one in end.addresses})
    return f"{end.text} has {' and '.join(f'IPv{one}' for one in found) or 'no address'}"


def _of_family(end: End, version: int) -> End:
    chosen = next(one for one in end.addresses if one.version == version)
    return End(end.role, end.text, end.port, chosen, (chosen,), end.on_host)
