"""What the metadata proxy should know and how it is run, from the intent; pure.

>>> wanted = want(intent, settings, world(directory), rendered)
>>> plan(wanted, directory.observe(...))
"""

import base64
import hashlib
import sys
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from chronovisor import __version__
from chronovisor.net.intent import Intent
from chronovisor.net.metadata.state import (
    PORTS,
    SERVICE_FILE,
    Assignment,
    Guest,
    HostRoute,
    Interface,
    Nova,
    Service,
    State,
)
from chronovisor.net.settings import (
    Address,
    Instance,
    Metadata,
    Network,
    Port,
    RaMode,
    Subnet,
)
from chronovisor.worlds import Limits, RestartPolicy, WorldSpec

NAME = "net-metadata"
"""The proxy's world."""

SERVICE_UID = 62_086
"""User and group the proxy becomes: nobody's on Debian, and no account has to exist for it.

From the range that systemd sets aside for users without an account (61184 to 65519, systemd's
UIDS-GIDS); the last digits are those of our route protocol.
"""

_RESTARTS = RestartPolicy(
    min_uptime_s=5.0, max_quick_failures=None, backoff_initial_s=0.1, backoff_max_s=5.0
)
_LIMITS = Limits(memory_bytes=512 << 20, open_files=16_384)
"""Two listeners a tap; at 3,000 taps that leaves room for 10,000 connections."""


@dataclass(frozen=True, slots=True)
class WriteFile:
    """Replace a file of the proxy's directory. Applied by `directory.apply`."""

    name: str
    text: str = field(repr=False)
    reason: str

    def __str__(self) -> str:
        """Return the action as a line for people."""
        return f"write {self.name} for the metadata proxy"


@dataclass(frozen=True, slots=True)
class RemoveFile:
    """Remove a file of the proxy's directory. Applied by `directory.apply`."""

    name: str
    reason: str

    def __str__(self) -> str:
        """Return the action as a line for people."""
        return f"remove {self.name} of the metadata proxy"


@dataclass(frozen=True, slots=True)
class RunProxy:
    """Start the proxy, or start it anew. Applied by `directory.apply`."""

    spec: WorldSpec
    reason: str

    def __str__(self) -> str:
        """Return the action as a line for people."""
        return f"run {self.spec.name}"


@dataclass(frozen=True, slots=True)
class StopProxy:
    """Stop the proxy. Applied by `directory.apply`."""

    reason: str

    def __str__(self) -> str:
        """Return the action as a line for people."""
        return f"stop {NAME}"


Action = WriteFile | RemoveFile | RunProxy | StopProxy

_Origin = tuple[str | Port | Network, ...]
"""What a guest's file is made of: the ids of its VM's ports, these ports, their networks."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """What should be: files by name below the directory, and the proxy.

    `spec` None means that it should not run.
    """

    files: Mapping[str, str] = field(default_factory=dict)
    spec: WorldSpec | None = None


@dataclass(frozen=True, slots=True)
class Observed:
    """What is: files by name, and the generation of the proxy that runs or is being tried."""

    files: Mapping[str, str] = field(default_factory=dict)
    generation: str | None = None


def plan(wanted: Wanted, observed: Observed, *, in_sync: bool = True) -> list[Action]:
    """Return what turns `observed` into `wanted`, in order; empty when they agree.

    Files come before the proxy that reads them. Until the first full sync (`in_sync` false)
    nothing is removed and nothing stopped.
    """
    actions: list[Action] = []
    if in_sync and wanted.spec is None and observed.generation is not None:
        actions.append(StopProxy("metadata are switched off"))
    for name, text in wanted.files.items():
        if observed.files.get(name) != text:
            new = name not in observed.files
            actions.append(WriteFile(name, text, "it is new" if new else "it changed"))
    if in_sync:
        actions += [
            RemoveFile(name, "no port needs it")
            for name in observed.files
            if name not in wanted.files
        ]
    if wanted.spec is not None and observed.generation != wanted.spec.generation:
        why = "it does not run" if observed.generation is None else "it reads this at its start"
        actions.append(RunProxy(wanted.spec, why))
    return actions


class Rendered:
    """The files of guests, made once as long as the ports and networks they tell of are the same.

    For several threads: each makes what it does not find.
    """

    def __init__(self) -> None:
        self._made: dict[str, tuple[_Origin, str]] = {}

    def files(self, intent: Intent) -> dict[str, str]:
        """Return the text of each port's file by name."""
        before, made = self._made, dict[str, tuple[_Origin, str]]()
        kin = _ports_by_instance(intent)
        for identifier, port in intent.ports.items():
            siblings = kin[port.instance.id] if port.instance else [identifier]
            ports = [intent.ports[one] for one in siblings]
            origin: _Origin = (*siblings, *ports, *map(intent.network, ports))
            known = before.get(identifier)
            if known is None or known[0] != origin:
                made[identifier] = origin, _guest(intent, identifier, port, kin).to_json()
            else:
                made[identifier] = known
        self._made = made
        return {file_of(identifier): text for identifier, (_, text) in made.items()}


def want(intent: Intent, settings: Metadata, spec: WorldSpec, rendered: Rendered) -> Wanted:
    """Return what should be for an intent."""
    if not settings.enabled:
        return Wanted()
    return Wanted({SERVICE_FILE: _service(settings).to_json(), **rendered.files(intent)}, spec)


def wanted_of(state: State | None, spec: WorldSpec) -> Wanted:
    """Return what should be for a state; None where metadata are switched off."""
    if state is None:
        return Wanted()
    files = {SERVICE_FILE: state.service.to_json()}
    files |= {file_of(identifier): guest.to_json() for identifier, guest in state.guests.items()}
    return Wanted(files, spec)


def file_of(port: str) -> str:
    """Return the name of a port's file below the directory."""
    return f"{PORTS}/{port}.json"


def world(directory: Path, *, uid: int | None = SERVICE_UID) -> WorldSpec:
    """Return the proxy as a world. `uid` None leaves it the user of visord."""
    user = () if uid is None else ("--uid", str(uid))
    argv = (sys.executable, "-m", "chronovisor.net.metadata", *user, str(directory))
    digest = hashlib.sha256(repr((argv, __version__)).encode()).hexdigest()[:16]
    return WorldSpec(name=NAME, argv=argv, restart=_RESTARTS, limits=_LIMITS, generation=digest)


def state_of(intent: Intent, settings: Metadata) -> State | None:
    """Return what the proxy should know; None where metadata are switched off."""
    if not settings.enabled:
        return None
    kin = _ports_by_instance(intent)
    guests = {one: _guest(intent, one, port, kin) for one, port in intent.ports.items()}
    return State(_service(settings), guests)


def guests_after(intent: Intent, ports: Iterable[str]) -> dict[str, Guest | None]:
    """Return the guests that a change of some ports concerns, by port id; None where one is gone.

    These are the ports themselves and the other ports of their instances. A port that left its
    instance concerns those that stay: name one of them too, or use `state_of`.
    """
    kin = _ports_by_instance(intent)
    found: dict[str, Guest | None] = {}
    for identifier in ports:
        port = intent.ports.get(identifier)
        if port is None:
            found[identifier] = None
            continue
        for one in kin[_instance_id(identifier, port)] if port.instance else [identifier]:
            found[one] = _guest(intent, one, intent.ports[one], kin)
    return found


def _service(settings: Metadata) -> Service:
    nova = settings.nova
    return Service() if nova is None else Service(Nova(**nova.model_dump()))


def _instance_id(identifier: str, port: Port) -> str:
    return port.instance.id if port.instance else identifier


def _ports_by_instance(intent: Intent) -> dict[str, list[str]]:
    """Return the ids of the ports of each instance that a port names, sorted."""
    found: dict[str, list[str]] = {}
    for identifier, port in intent.ports.items():
        if port.instance is not None:
            found.setdefault(port.instance.id, []).append(identifier)
    return {instance: sorted(ports) for instance, ports in found.items()}


def _guest(intent: Intent, identifier: str, port: Port, kin: Mapping[str, list[str]]) -> Guest:
    instance = port.instance or Instance(id=identifier)
    siblings = kin[instance.id] if port.instance else [identifier]
    return Guest(
        port=identifier,
        device=port.device,
        sources=tuple(str(address) for address in port.addresses),
        instance_id=instance.id,
        named=port.instance is not None,
        hostname=port.hostname or _hostname(port),
        interfaces=tuple(_interface(intent, one, intent.ports[one]) for one in siblings),
        domain=intent.network(port).domain,
        project_id=instance.project_id,
        name=instance.name,
        user_data=_user_data(instance),
        vendor_data=instance.vendor_data,
        ssh_keys=instance.ssh_keys,
        tags=instance.tags,
        availability_zone=instance.availability_zone,
    )


def _hostname(port: Port) -> str:
    """Return a name for a VM without one, from its first address or its MAC address."""
    text = str(port.addresses[0]) if port.addresses else port.mac
    return "host-" + text.replace(".", "-").replace("::", "-").replace(":", "-").strip("-")


def _user_data(instance: Instance) -> bytes | None:
    if instance.user_data_base64 is not None:
        return base64.b64decode(instance.user_data_base64)
    return None if instance.user_data is None else instance.user_data.encode()


def _interface(intent: Intent, identifier: str, port: Port) -> Interface:
    network = intent.network(port)
    return Interface(
        port=identifier,
        network=port.network,
        mac=port.mac,
        mtu=network.mtu,
        assignments=tuple(_assignments(intent, port)),
        security_groups=port.security_groups,
    )


def _assignments(intent: Intent, port: Port) -> Iterator[Assignment]:
    seen: set[int] = set()
    for address in port.addresses:
        subnet = intent.subnet(port, address)
        yield Assignment(
            address=str(address),
            prefix=str(subnet.prefix),
            gateway=str(subnet.gateway),
            kind=_kind(address, subnet, first=address.version not in seen),
            dns_servers=tuple(map(str, subnet.dns_servers)),
            routes=tuple(
                HostRoute(str(one.destination), str(one.next_hop)) for one in subnet.host_routes
            ),
        )
        seen.add(address.version)


_IPV6_KINDS = {
    RaMode.DHCPV6_STATEFUL: "ipv6_dhcpv6-stateful",
    RaMode.DHCPV6_STATELESS: "ipv6_dhcpv6-stateless",
    RaMode.SLAAC: "ipv6_slaac",
    RaMode.NONE: "ipv6",
}


def _kind(address: Address, subnet: Subnet, *, first: bool) -> str:
    """Return how a VM gets an address: one of a family by DHCP or RA, all others it must set."""
    if not first:
        return f"ipv{address.version}"
    if address.version == 4:
        return "ipv4_dhcp" if subnet.dhcp else "ipv4"
    return _IPV6_KINDS[subnet.ra_mode]
