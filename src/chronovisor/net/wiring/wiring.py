"""Keeps the taps of all ports wired: at once when one appears or changes, and against drift.

Stopping, killing or replacing this process takes nothing away: all state is the kernel's, and what
is ours there is known by its marks.
"""

import asyncio
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from chronovisor.errors import Unavailable
from chronovisor.net.intent import Intent
from chronovisor.net.marks import GATEWAY_MAC, ROUTE_PROTOCOL
from chronovisor.net.settings import Port
from chronovisor.net.wiring.apply import Failure, apply
from chronovisor.net.wiring.events import (
    AddressGone,
    Event,
    LinkChanged,
    LinkGone,
    Listener,
    Lost,
    RouteChanged,
)
from chronovisor.net.wiring.netlink.channel import Channel, Overrun
from chronovisor.net.wiring.netlink.link import Link
from chronovisor.net.wiring.observe import observe, observe_devices
from chronovisor.net.wiring.observed import IPV6_FORWARDING, Observed
from chronovisor.net.wiring.plan import Plan, plan
from chronovisor.net.wiring.taps import Address, Tap, tap, taps

RECONCILE_S = 30.0
"""How often everything is compared although nothing was heard; switches tell nobody."""

RETRY_S = 1.0
_WHOLE_FROM = 64
"""From so many devices on, looking at all is quicker than at each."""

Publish = Callable[[str, dict[str, Any]], None]


@dataclass(frozen=True, slots=True)
class PortState:
    """How a port is: wired, or waiting for its device; and what is wrong with it, or empty."""

    device: str
    wired: bool = False
    problem: str = ""


def drift(intent: Intent, *, clean: bool = True) -> Plan:
    """Return what would have to be done now, without doing it. Blocks; raises `ToolFailed`."""
    wanted = taps(intent)
    with Channel() as channel:
        return plan(wanted, observe(channel, wanted), clean=clean)


def wire(intent: Intent, *, clean: bool) -> list[Failure]:
    """Do all that is missing, once; return what was refused. Blocks; raises `ToolFailed`."""
    wanted = taps(intent)
    with Channel() as channel:
        return apply(channel, plan(wanted, observe(channel, wanted), clean=clean).actions)


class Wiring:
    """The taps of one host. Belongs to the event loop that runs it.

    `publish` is told `net.port` with id, device, wired and problem whenever one of them changes.
    """

    def __init__(self, publish: Publish = lambda _name, _data: None) -> None:
        self._publish = publish
        self._intent = Intent()
        self._taps: dict[str, Tap] = {}
        self._hosts: dict[Address, str] = {}
        self._complete = False
        self._whole = True
        self._dirty: set[str] = set()
        self._names: dict[int, str] = {}
        self._wake = asyncio.Event()
        self._settled = asyncio.Condition()
        self._asked = self._done = 0
        self._ended = False
        self._listener = Listener(self._heard)
        self._working = False
        self._unsettled: dict[str, Link] = {}
        self.states: dict[str, PortState] = {}
        self.steps = 0
        """Steps that were taken so far."""

    def want(self, intent: Intent, *, complete: bool = True) -> None:
        """Take a new intent; what differs is done soon, by `run`.

        Without `complete` nothing is ever removed: some of what is wanted may still be unknown.
        """
        before, self._intent = self._intent, intent
        if complete and not self._complete:
            self._complete = self._whole = True
        for identifier in before.ports.keys() - intent.ports.keys():
            self._forget(before.ports[identifier])
            self.states.pop(identifier, None)
        for identifier, port in _differing(before, intent):
            if old := before.ports.get(identifier):
                self._forget(old)
            made = tap(identifier, port, intent.network(port))
            self._taps[port.device] = made
            self._hosts |= dict.fromkeys(made.hosts, port.device)
            self._dirty.add(port.device)
            self.states.setdefault(identifier, PortState(port.device))
        self._asked += 1
        self._wake.set()

    async def settled(self) -> None:
        """Wait until all that was wanted before this call was tried.

        Raises `Unavailable` when `run` ended before that.
        """
        asked = self._asked
        async with self._settled:
            await self._settled.wait_for(lambda: self._done >= asked or self._ended)
        if self._done < asked:
            raise Unavailable("the wiring of taps does not run")

    async def run(self) -> None:
        """Keep taps wired until cancelled. Raises `ToolFailed` when the kernel cannot be asked."""
        self._ended, self._whole = False, True
        try:
            with Channel() as channel:
                self._listener.start(channel.port)
                while True:
                    await self._sync(channel)
                    await self._pause()
        finally:
            self._listener.close()
            self._ended = True
            async with self._settled:
                self._settled.notify_all()

    def _forget(self, port: Port) -> None:
        """Drop a port's tap; its device is looked at again."""
        for address in port.addresses:
            if self._hosts.get(address) == port.device:
                del self._hosts[address]
        old = self._taps.pop(port.device, None)
        self._whole = self._whole or (old is not None and old.is_limited)  # see _queues
        self._dirty.add(port.device)

    async def _pause(self) -> None:
        """Wait for something to do."""
        failed = any(one.problem for one in self.states.values())
        try:
            async with asyncio.timeout(RETRY_S if failed else RECONCILE_S):
                await self._wake.wait()
        except TimeoutError:
            self._whole = True

    async def _sync(self, channel: Channel) -> None:
        """Do what there is to do now, and say how it went."""
        self._wake.clear()
        asked, dirty = self._asked, self._dirty
        whole = self._whole or len(dirty) >= _WHOLE_FROM
        self._dirty, self._whole = set(), False
        if whole or dirty:
            wanted = (
                dict(self._taps) if whole else {d: self._taps[d] for d in dirty & self._taps.keys()}
            )
            await self._reconcile(channel, wanted, None if whole else dirty)
        if not self._whole:  # else this was not the last word
            self._done = asked
        async with self._settled:
            self._settled.notify_all()

    async def _reconcile(
        self, channel: Channel, wanted: dict[str, Tap], devices: Collection[str] | None
    ) -> None:
        work = asyncio.to_thread(_work, channel, wanted, devices, self._complete)
        self._working = True
        try:
            done, failures, names = await work
            self._listener.drain()
        except Overrun:
            done = None
        finally:
            self._working = False
        if done is None:  # lost, or the host itself is not ready: look at everything
            self._whole = True
            self._wake.set()
            return
        if devices is None:
            self._names = names
        else:
            self._names |= names
        self.steps += len(done.actions)
        self._look_again()
        self._judge(wanted, done, failures)

    def _look_again(self) -> None:
        """Look again at taps that, by the last word heard, are not as our work left them."""
        for name, link in self._unsettled.items():
            wanted = self._taps.get(name)
            if self._names.get(link.index) != name or not _is_as_wanted(link, wanted):
                self._dirty.add(name)
                self._wake.set()
        self._unsettled.clear()

    def _judge(self, wanted: Mapping[str, Tap], done: Plan, failures: Collection[Failure]) -> None:
        """Say how each port is after a plan was carried out."""
        refused: dict[str, str] = {}
        for failure in failures:
            refused.setdefault(failure.action.port, str(failure))
        for one in wanted.values():
            if self._taps.get(one.device) is not one:
                continue  # it was changed meanwhile and is dirty again
            fault = refused.get(one.port) or done.problems.get(one.port, "")
            wired = not fault and one.port not in done.waiting
            words = fault or refused.get("") or done.warnings.get(one.port, "")
            self._tell(one.port, PortState(one.device, wired, words))

    def _tell(self, identifier: str, state: PortState) -> None:
        if self.states.get(identifier) != state:
            self.states[identifier] = state
            self._publish("net.port", {"id": identifier, **asdict(state)})

    def _heard(self, event: Event) -> None:
        """Look again at what an event is about, if it is ours."""
        match event:
            case Lost():
                self._whole = True
            case LinkChanged(link=link):
                before = self._names.get(link.index)
                if link.name not in self._taps and before in (None, link.name):
                    return
                if self._working and before is None:  # most likely it tells of our own work
                    self._unsettled[link.name] = link
                    return
                if before == link.name and _is_as_wanted(link, self._taps.get(before)):
                    return  # the kernel tells of carriers too, of thousands at once
                self._dirty.add(link.name)
                if before not in (None, link.name):  # renamed
                    self._dirty.add(self._names.pop(link.index))
            case LinkGone(index=index, name=name):
                before = self._names.pop(index, name)
                self._unsettled.pop(name, None)
                if before not in self._taps:
                    return
                self._whole = self._whole or self._taps[before].is_limited  # its ifb is left
                self._dirty.add(before)
            case AddressGone(address=address):
                if address.protocol != ROUTE_PROTOCOL or address.index not in self._names:
                    return
                self._dirty.add(self._names[address.index])
            case RouteChanged(route=route, gone=gone):
                ours = route.protocol == ROUTE_PROTOCOL
                device = self._hosts.get(route.destination)
                if device is None or ours != gone:
                    return
                self._dirty.add(device)
        self._wake.set()


def _is_as_wanted(link: Link, tap: Tap | None) -> bool:
    """Return whether what a link message tells of is as a port's wiring leaves it."""
    left = (True, 0, GATEWAY_MAC)
    return tap is not None and (link.up, link.master, link.mac) == left and link.mtu == tap.mtu


def _differing(before: Intent, intent: Intent) -> Iterator[tuple[str, Port]]:
    """Yield the ports that are new or differ, or whose network does."""
    known, networks = before.ports, before.networks
    for identifier, port in intent.ports.items():
        old = known.get(identifier)
        if old is port or old == port:
            network = networks.get(port.network)
            other = intent.networks[port.network]
            if network is other or network == other:
                continue
        yield identifier, port


def _work(
    channel: Channel, wanted: dict[str, Tap], devices: Collection[str] | None, clean: bool
) -> tuple[Plan | None, list[Failure], dict[int, str]]:
    """Observe, plan and apply; return the plan, what failed, and devices of ports by number.

    Without a plan the host's own switches need a look at all devices first.
    """
    if devices is None:
        seen = observe(channel, wanted)
    else:
        hosts = [address for one in wanted.values() for address in one.hosts]
        limited = any(one.is_limited for one in wanted.values())
        seen = observe_devices(channel, devices, hosts, limited=limited)
        if _host_is_not_ready(wanted, seen):
            return None, [], {}
    done = plan(wanted, seen, clean=clean)
    names = {link.index: name for name, link in seen.links.items() if name in wanted}
    return done, apply(channel, done.actions), names


def _host_is_not_ready(wanted: Mapping[str, Tap], seen: Observed) -> bool:
    six = any(one.speaks_ipv6 for one in wanted.values())
    return six and seen.switches.get(IPV6_FORWARDING, "1") != "1"
