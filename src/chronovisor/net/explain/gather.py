"""Takes the snapshot that an explanation is made of: reads the kernel, files and daemons, once.

Costs what the asked ports have, whatever the number of the others. Nothing is changed; the guests
are asked who they are by one frame each.
"""

import sys
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path as FilePath
from typing import Any

from chronovisor.net.dhcp.leases import Lease
from chronovisor.net.dhcp.observe import read_leases
from chronovisor.net.dhcp.place import DAEMONS, Place
from chronovisor.net.dhcp.wanted import port_files
from chronovisor.net.explain import lookup, namespaces, probe, ruleset
from chronovisor.net.explain.concern import Concern, concerns, ways
from chronovisor.net.explain.observed import Answers, Device, Lookup, Observed, Process, Way
from chronovisor.net.explain.question import Path
from chronovisor.net.intent import Intent
from chronovisor.net.marks import GATEWAY_LINK_LOCAL
from chronovisor.net.metadata.plan import NAME as METADATA
from chronovisor.net.settings import Address
from chronovisor.net.wiring import switches
from chronovisor.net.wiring.netlink import link as links
from chronovisor.net.wiring.netlink import neighbour as neighbours
from chronovisor.net.wiring.netlink.channel import Channel, Refused
from chronovisor.net.wiring.netlink.link import Link
from chronovisor.net.wiring.netlink.neighbour import Neighbour
from chronovisor.net.wiring.netlink.route import MAIN
from chronovisor.net.wiring.observe import observe_devices
from chronovisor.net.wiring.observed import IPV4_FORWARDING, IPV6_FORWARDING, proxy_delay
from chronovisor.worlds import World

RP_FILTER_OF_ALL = "ipv4/conf/all/rp_filter"
_LOWER_UP = 0x10000  # IFF_LOWER_UP


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What only the plane knows: how it is set, its daemons, and what the metadata proxy says."""

    place: Place
    worlds: Sequence[World] = ()
    enabled: bool = True
    problem: str = ""
    metadata: Mapping[str, Any] | None = None
    metadata_problem: str = ""
    wait_s: float = field(default=probe.WAIT_S)


def gather(path: Path, intent: Intent, around: Surroundings) -> Observed:
    """Return what is there now. Blocks, for a guest that says nothing up to `wait_s`.

    Raises `ToolFailed`, `ProtocolError` when the kernel cannot be asked.
    """
    concerned = concerns(path, intent)
    with ThreadPoolExecutor(max_workers=3) as threads, Channel() as channel:
        devices = {one.device: _device(channel, one) for one in concerned}
        asking = threads.submit(_answers, _questions(concerned, devices, intent), around.wait_s)
        rules = threads.submit(
            ruleset.read,
            {chain for one in concerned for chain in one.part.chains},
            {element for one in concerned for element in one.part.elements},
        )
        lookups = {way: lookup.decide(channel, way) for _, way in ways(path, concerned, devices)}
        odd = {way.target for way, one in lookups.items() if _is_odd(one)}
        versions = {way.target.version for way in lookups}
        return Observed(
            enabled=around.enabled,
            plane_problem=around.problem,
            devices=devices,
            names=_names(lookups, devices),
            policies=tuple(one for v in sorted(versions) for one in lookup.policies(channel, v)),
            covering={target: lookup.covering(channel, target) for target in odd},
            switches=switches.read(_switches(concerned)),
            answers=asking.result(),
            lookups=lookups,
            ruleset=rules.result(),
            processes=_processes(around.worlds),
            files=_files(concerned, intent, around.place),
            leases=_leases(concerned, around.place),
            metadata=around.metadata,
            metadata_problem=around.metadata_problem,
            now_s=time.time(),
        )


def _device(channel: Channel, one: Concern) -> Device:
    answers, said = channel.ask(links.GET, links.ask(one.device))
    if said.errno:
        return Device(elsewhere=namespaces.having(one.device))
    body = next(answer.body for answer in answers if answer.kind == links.NEW)
    link = Link.unpack(body)
    seen = observe_devices(channel, (one.device,), one.end.addresses, limited=False)
    flags = int.from_bytes(body[8:12], sys.byteorder)
    return Device(
        link=link,
        carrier=bool(flags & _LOWER_UP),
        master=lookup.name_of(link.master) if link.master else "",
        addresses=seen.addresses.get(link.index, ()),
        neighbours=tuple(_neighbours(channel, link.index)),
        routes=tuple(route for some in seen.routes.values() for route in some),
    )


def _neighbours(channel: Channel, index: int) -> Iterator[Neighbour]:
    try:
        found = channel.dump(neighbours.GET, neighbours.ask(index))
    except Refused:  # the device went since
        return
    for message in found:
        yield Neighbour.unpack(message.body)


def _questions(
    concerned: Iterable[Concern], devices: Mapping[str, Device], intent: Intent
) -> list[probe.Ask]:
    """Return which guests can be asked: those behind a tap that is up."""
    found = []
    for one in concerned:
        seen = devices[one.device]
        if seen.link is None or not seen.link.up or not seen.carrier:
            continue
        for address in one.end.addresses:
            subnet = one.subnet(intent, address)
            gateway = subnet.gateway if subnet else None
            if gateway is None and address.version == 4:
                continue
            sender = gateway if gateway and address.version == 4 else GATEWAY_LINK_LOCAL
            found.append(probe.Ask(one.device, address, sender))
    return found


def _answers(questions: list[probe.Ask], wait_s: float) -> dict[Address, Answers]:
    if not questions:
        return {}
    with ThreadPoolExecutor(max_workers=len(questions)) as threads:
        asked = {one.address: threads.submit(probe.ask, one, wait_s) for one in questions}
        return {address: one.result() for address, one in asked.items()}


def _is_odd(one: Lookup) -> bool:
    entry = one.entry
    return entry is None or not entry.is_host or entry.table != MAIN


def _names(lookups: Mapping[Way, Lookup], devices: Mapping[str, Device]) -> dict[int, str]:
    found = {one.entry.index for one in lookups.values() if one.entry and one.entry.index}
    found |= {route.index for one in devices.values() for route in one.routes if route.index}
    return {index: lookup.name_of(index) for index in found}


def _switches(concerned: Iterable[Concern]) -> list[str]:
    delays = [proxy_delay(one.device) for one in concerned]
    return [IPV4_FORWARDING, IPV6_FORWARDING, RP_FILTER_OF_ALL, *delays]


def _processes(worlds: Iterable[World]) -> dict[str, Process]:
    return {
        one.name: Process(one, _letter(one.pid))
        for one in worlds
        if one.name in (*DAEMONS, METADATA)
    }


def _letter(pid: int | None) -> str:
    """Return the state of a process; empty when there is none."""
    try:
        status = FilePath(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
    return status.rpartition(")")[2].split()[0]


def _files(concerned: Iterable[Concern], intent: Intent, at: Place) -> dict[FilePath, str]:
    found = {}
    for one in concerned:
        for path, _ in port_files(one.identifier, one.port, intent.network(one.port), at):
            try:
                found[path] = path.read_text(encoding="utf-8", errors="replace")
            except OSError:
                continue
    return found


def _leases(concerned: Sequence[Concern], at: Place) -> tuple[Lease, ...]:
    """Return the leases of the ports' addresses and MAC addresses."""
    macs = {one.port.mac for one in concerned}
    addresses = {address for one in concerned for address in one.port.addresses}
    return tuple(one for one in read_leases(at) if one.mac in macs or one.address in addresses)
