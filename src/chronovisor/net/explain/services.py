"""Judges what the host's daemons do for a port: DHCP, router advertisements, metadata."""

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from ipaddress import IPv4Address

from chronovisor.net.dhcp.place import DNSMASQ, RESPONDER, Place
from chronovisor.net.dhcp.wanted import port_files
from chronovisor.net.explain.concern import Concern
from chronovisor.net.explain.findings import Finding, broken, judged, ok, unknown
from chronovisor.net.explain.observed import Observed
from chronovisor.net.explain.question import Path
from chronovisor.net.intent import Intent
from chronovisor.net.marks import METADATA_IPV4, METADATA_IPV6
from chronovisor.net.metadata.plan import NAME as METADATA
from chronovisor.worlds import State

Fault = tuple[str, str]


def findings(one: Concern, intent: Intent, seen: Observed, at: Place) -> Iterator[Finding]:
    """Yield the links of a port's address configuration."""
    if _is_leased(one, intent):
        faults = [
            *_daemon(DNSMASQ, "dnsmasq", seen),
            *_files(one, intent, seen, at, ipv6=False),
            *_lease(one, seen),
        ]
        yield judged("dhcp", one.identifier, faults, _fine_lease(one, seen))
    if any(address.version == 6 for address in one.end.addresses):
        faults = [
            *_daemon(RESPONDER, "the responder of IPv6", seen),
            *_files(one, intent, seen, at, ipv6=True),
        ]
        fine = "the responder runs and has the port's record"
        yield judged("advertisements", one.identifier, faults, fine)


def metadata(one: Concern, seen: Observed) -> Finding:
    """Return whether a port's guest gets metadata."""
    for evidence, way_out in _daemon(METADATA, "the metadata proxy", seen):
        return broken("metadata", one.identifier, evidence, way_out)
    if seen.metadata is None:
        said = seen.metadata_problem or "the proxy was not asked"
        return unknown("metadata", one.identifier, said, _logs(METADATA))
    ports = seen.metadata.get("ports")
    known = ports.get(one.identifier) if isinstance(ports, Mapping) else None
    if not isinstance(known, Mapping):
        said = f"the metadata proxy does not know port {one.identifier}"
        return broken("metadata", one.identifier, said, _logs(METADATA))
    if not known.get("here"):
        said = f"the metadata proxy does not listen on {one.device}"
        return broken("metadata", one.identifier, said, _logs(METADATA))
    if faults := known.get("faults"):
        said = "; ".join(f"{where}: {why}" for where, why in dict(faults).items())
        return broken("metadata", one.identifier, f"on {one.device}: {said}", _logs(METADATA))
    return ok("metadata", one.identifier, f"the proxy listens on {one.device}")


def asks_for_metadata(path: Path) -> bool:
    """Return whether a question is about the metadata service."""
    return path.target.address in (METADATA_IPV4, METADATA_IPV6)


def _is_leased(one: Concern, intent: Intent) -> bool:
    """Return whether DHCPv4 is to give the VM an address that is asked about."""
    first = _leased(one)
    subnet = one.subnet(intent, first) if first else None
    return first in one.end.addresses and subnet is not None and subnet.dhcp


def _leased(one: Concern) -> IPv4Address | None:
    return next((a for a in one.port.addresses if isinstance(a, IPv4Address)), None)


def _daemon(name: str, words: str, seen: Observed) -> Iterator[Fault]:
    process = seen.processes.get(name)
    if process is None:
        yield f"{words} (world {name}) is not there", "`visorctl host health` says why"
    elif process.world.state is not State.RUNNING:
        yield (
            f"{words} (world {name}) is {process.world.state.value}: {process.world.reason}",
            _logs(name),
        )
    elif not process.letter:
        yield f"{words} (world {name}, process {process.world.pid}) has just died", _logs(name)
    elif not process.serves:
        yield (
            f"{words} (world {name}, process {process.world.pid}) is frozen, in state "
            f"{process.letter} (/proc/{process.world.pid}/stat)",
            f"`kill -CONT {process.world.pid}`, or `visorctl world restart {name}`",
        )


def _files(
    one: Concern, intent: Intent, seen: Observed, at: Place, *, ipv6: bool
) -> Iterator[Fault]:
    network = intent.network(one.port)
    for path, text in port_files(one.identifier, one.port, network, at):
        if (path.parent == at.ipv6) is not ipv6 or path.parent == at.names:
            continue
        if path not in seen.files:
            yield f"{path} is missing", "visord writes it within 10 s; look at `host health`"
        elif seen.files[path] != text:
            yield f"{path} says something else than the port", "visord rewrites it within 10 s"


def _lease(one: Concern, seen: Observed) -> Iterator[Fault]:
    address, mac = _leased(one), one.port.mac
    for lease in seen.leases:
        if lease.address == address and lease.mac != mac:
            yield (
                f"dnsmasq has leased {address} to {lease.mac}, not to {mac}",
                "visord releases it; the VM may ask again then",
            )
        if lease.mac == mac and lease.address not in one.port.addresses:
            yield (
                f"{mac} holds a lease of {lease.address}, which is not the port's",
                "have the VM ask again (renew its DHCP lease)",
            )
        if lease.address == address and lease.mac == mac and 0 < lease.expires_s < seen.now_s:
            yield (
                f"the lease of {address} ended at {_time(lease.expires_s)}",
                "does the VM's DHCP client still run?",
            )


def _fine_lease(one: Concern, seen: Observed) -> str:
    for lease in seen.leases:
        if lease.address == _leased(one):
            until = _time(lease.expires_s) if lease.expires_s else "for ever"
            return f"dnsmasq runs; {lease.mac} holds {lease.address} until {until}"
    return "dnsmasq runs and has the port's files; the VM has not asked for a lease"


def _time(at_s: float) -> str:
    return datetime.fromtimestamp(at_s, UTC).isoformat(timespec="seconds")


def _logs(name: str) -> str:
    return f"`visorctl world logs {name}` has what it said"
