"""Whom a question concerns, and what should be there for them: pure, from the intent alone.

The gathering looks at exactly this, and the explanation compares with it.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from chronovisor.net.explain.observed import Device, Way
from chronovisor.net.explain.question import End, Path
from chronovisor.net.firewall.compile import group_part, port_part, remote_names
from chronovisor.net.firewall.plan import merged
from chronovisor.net.firewall.rules import Part
from chronovisor.net.intent import Intent
from chronovisor.net.settings import Address, Port, Subnet
from chronovisor.net.wiring.taps import Tap, tap


@dataclass(frozen=True, slots=True)
class Concern:
    """A port of this host that is served, as one end of the path, with what it should have."""

    end: End
    identifier: str
    port: Port
    tap: Tap
    part: Part

    @property
    def device(self) -> str:
        """Return the name of its tap."""
        return self.port.device

    def subnet(self, intent: Intent, address: Address) -> Subnet | None:
        """Return the subnet of one of its addresses; None for an address that is only allowed."""
        subnets = intent.network(self.port).subnets
        return next((one for one in subnets if address in one.prefix), None)


def concerns(path: Path, intent: Intent) -> tuple[Concern, ...]:
    """Return the ports that are served, among the ends of a path, in its order."""
    remotes = _remotes(intent)
    return tuple(
        _concern(end, intent, remotes) for end in path.ends if end.port and end.port in intent.ports
    )


def ways(
    path: Path, concerned: Iterable[Concern], devices: Mapping[str, Device]
) -> Iterator[tuple[End, Way]]:
    """Yield the packets whose way matters: to each end, from this host and from the other end.

    One that comes from a VM is asked about as coming in on its tap.
    """
    taps = {one.end.role: one.device for one in concerned if devices[one.device].link}
    for end in path.ends:
        if end.on_host:
            continue
        other = None
        if path.source is not None:
            other = path.source if end is path.target else path.target
        device = taps.get(other.role, "") if other else ""
        for address in end.addresses:
            if end.port or not device:
                yield end, Way(address)
            if other and device:
                yield end, Way(address, other.address, device)


def _concern(end: End, intent: Intent, remotes: frozenset[str]) -> Concern:
    port = intent.ports[end.port]
    parts = [port_part(end.port, port, intent, remotes)]
    if port.port_security:
        parts += [group_part(one, intent.groups) for one in port.security_groups]
    made = tap(end.port, port, intent.network(port))
    return Concern(end, end.port, port, made, merged(parts))


def _remotes(intent: Intent) -> frozenset[str]:
    named = frozenset[str]().union(*map(remote_names, intent.groups.values()))
    return named & intent.groups.keys()
