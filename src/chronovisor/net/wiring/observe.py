"""Reads the wiring that there is from the kernel, whole or of some devices alone."""

import errno
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator
from typing import TypeVar

from chronovisor.errors import ToolFailed
from chronovisor.net.wiring import limits, switches
from chronovisor.net.wiring.netlink import address as addresses
from chronovisor.net.wiring.netlink import link as links
from chronovisor.net.wiring.netlink import neighbour as neighbours
from chronovisor.net.wiring.netlink import route as routes
from chronovisor.net.wiring.netlink import traffic
from chronovisor.net.wiring.netlink.address import DeviceAddress
from chronovisor.net.wiring.netlink.channel import Channel, Refused, words
from chronovisor.net.wiring.netlink.link import Link
from chronovisor.net.wiring.netlink.message import Message
from chronovisor.net.wiring.netlink.neighbour import Neighbour
from chronovisor.net.wiring.netlink.route import Route
from chronovisor.net.wiring.netlink.traffic import Qdisc, Redirect
from chronovisor.net.wiring.observed import (
    IPV4_FORWARDING,
    IPV6_FORWARDING,
    Observed,
    proxy_delay,
)
from chronovisor.net.wiring.taps import Address

_OnDevice = TypeVar("_OnDevice", DeviceAddress, Neighbour)

_HOST = (IPV4_FORWARDING, IPV6_FORWARDING)
_ABSENT = (errno.ENODEV, errno.EINVAL, errno.ENOENT)  # ENOENT: no route was ever made
_NO_ROUTE = (errno.ENETUNREACH, errno.EHOSTUNREACH, errno.EINVAL, errno.EACCES)


def observe(channel: Channel, wanted: Collection[str] = ()) -> Observed:
    """Return the wiring of all devices; of those in `wanted` the switches too.

    Raises `ToolFailed`, `ProtocolError`.
    """
    found = {link.name: link for link in _links(channel)}
    qdiscs = [
        Qdisc.unpack(one.body) for one in channel.dump(traffic.GET_QDISC, traffic.ask_qdisc())
    ]
    hooked = [one.index for one in qdiscs if one.kind == "clsact"]
    delays = (proxy_delay(device) for device in wanted if device in found)
    listed = [
        message
        for version in (4, 6)
        for message in _dump_of(channel, routes.GET, routes.ask(version))
        if routes.leads_to_a_host(message.body)
    ]
    return Observed(
        links=found,
        addresses=_by_device(_addresses(channel, 0)),
        routes=_by_address(Route.unpack(one.body) for one in listed),
        neighbours=_by_device(_neighbours(channel, 0)),
        switches=switches.read((*_HOST, *delays)),
        qdiscs={one.index: one for one in qdiscs if one.parent == traffic.ROOT},
        redirects=_redirects(channel, hooked),
    )


def observe_devices(
    channel: Channel, devices: Iterable[str], hosts: Iterable[Address], *, limited: bool
) -> Observed:
    """Return the wiring of some devices, of routes those by them or to `hosts`.

    Without `limited` queues are not looked at. Costs no more on a host with many ports, but for
    what the kernel walks by itself. Raises `ToolFailed`, `ProtocolError`.
    """
    found = {link.name: link for device in devices for link in _named(channel, device)}
    indexes = [link.index for link in found.values()]
    roots, redirects = _queues(channel, found) if limited else ({}, {})
    return Observed(
        links=found,
        addresses=_by_device(one for index in indexes for one in _addresses(channel, index)),
        routes=_by_address({*_by(channel, indexes), *_to(channel, hosts)}),
        neighbours=_by_device(one for index in indexes for one in _neighbours(channel, index)),
        switches=switches.read((*_HOST, *map(proxy_delay, found))),
        qdiscs=roots,
        redirects=redirects,
    )


def _links(channel: Channel) -> Iterator[Link]:
    for message in channel.dump(links.GET, links.ask()):
        yield Link.unpack(message.body)


def _named(channel: Channel, device: str) -> list[Link]:
    answers, said = channel.ask(links.GET, links.ask(device))
    if said.errno and said.errno not in _ABSENT:
        raise ToolFailed(f"cannot look at {device}: {words(said)}")
    return [Link.unpack(one.body) for one in answers if one.kind == links.NEW]


def _queues(channel: Channel, found: dict[str, Link]) -> tuple[dict[int, Qdisc], dict[int, int]]:
    """Return roots and redirections of devices; adds their ifbs to `found`."""
    taps = [link.index for link in found.values()]
    for index in taps:
        found |= {link.name: link for link in _named(channel, limits.queue_device(index))}
    roots: dict[int, Qdisc] = {}
    for link in found.values():
        answers, _ = channel.ask(traffic.GET_QDISC, traffic.ask_qdisc(link.index))
        for one in answers:
            roots[link.index] = Qdisc.unpack(one.body)
    return roots, _redirects(channel, taps)


def _redirects(channel: Channel, indexes: Iterable[int]) -> dict[int, int]:
    found = {}
    for index in indexes:
        try:
            answers = channel.dump(traffic.GET_FILTER, traffic.ask_filters(index))
        except Refused:  # the device went since
            continue
        for message in answers:
            redirect = Redirect.unpack(message.body)
            if redirect is not None:
                found[redirect.index] = redirect.to
    return found


def _addresses(channel: Channel, index: int) -> Iterator[DeviceAddress]:
    for message in _dump_of(channel, addresses.GET, addresses.ask(index)):
        yield DeviceAddress.unpack(message.body)


def _neighbours(channel: Channel, index: int) -> Iterator[Neighbour]:
    for message in _dump_of(channel, neighbours.GET, neighbours.ask(index)):
        if neighbours.is_permanent(message.body):
            yield Neighbour.unpack(message.body)


def _by(channel: Channel, indexes: Iterable[int]) -> Iterator[Route]:
    for index in indexes:
        for version in (4, 6):
            for message in _dump_of(channel, routes.GET, routes.ask(version, index=index)):
                if routes.leads_to_a_host(message.body):
                    yield Route.unpack(message.body)


def _to(channel: Channel, hosts: Iterable[Address]) -> Iterator[Route]:
    for address in hosts:
        answers, said = channel.ask(routes.GET, routes.ask_match(address))
        if said.errno and said.errno not in _NO_ROUTE:
            raise ToolFailed(f"cannot look up {address}: {words(said)}")
        for message in answers:
            if routes.leads_to_a_host(message.body):
                yield Route.unpack(message.body)


def _dump_of(channel: Channel, kind: int, body: bytes) -> list[Message]:
    """Return what the kernel lists; nothing when the device or table is not there."""
    try:
        return channel.dump(kind, body)
    except Refused as error:
        if error.errno in _ABSENT:
            return []
        raise


def _by_device(found: Iterable[_OnDevice]) -> dict[int, tuple[_OnDevice, ...]]:
    grouped: defaultdict[int, list[_OnDevice]] = defaultdict(list)
    for one in found:
        grouped[one.index].append(one)
    return {index: tuple(members) for index, members in grouped.items()}


def _by_address(found: Iterable[Route]) -> dict[Address, tuple[Route, ...]]:
    grouped: defaultdict[Address, list[Route]] = defaultdict(list)
    for one in found:
        grouped[one.destination].append(one)
    return {address: tuple(members) for address, members in grouped.items()}
