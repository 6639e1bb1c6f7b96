"""Judges the way to an end as the kernel decides it."""

from collections.abc import Iterator

from chronovisor.net.explain.concern import Concern
from chronovisor.net.explain.findings import Finding, broken, judged, ok, unknown
from chronovisor.net.explain.observed import Observed, Way
from chronovisor.net.explain.question import End
from chronovisor.net.marks import ROUTE_PROTOCOL
from chronovisor.net.wiring.netlink.route import MAIN, Route
from chronovisor.net.wiring.plan import host_route

Fault = tuple[str, str]

KINDS = {1: "", 2: "local ", 6: "blackhole ", 7: "unreachable ", 8: "prohibit ", 9: "throw "}
"""RTN_* of linux/rtnetlink.h, as ip(8) writes them."""


def to_port(one: Concern, ways: list[Way], seen: Observed, *, whole: bool) -> Finding:
    """Return whether packets to a port's addresses go out of its tap."""
    found = faults(one, ways, seen, whole=whole)
    shown = ", ".join(str(way.target) for way in ways if not way.device)
    link = seen.devices[one.device].link
    if link is None:
        return unknown("route", one.identifier, f"not judged: there is no device {one.device}")
    return judged("route", one.identifier, found, f"{shown} by our route to {one.device}")


def faults(one: Concern, ways: list[Way], seen: Observed, *, whole: bool) -> Iterator[Fault]:
    """Yield what is wrong with the way to a port; `whole`: also with that from the other end."""
    for way in ways:
        if whole or not way.device:
            yield from _faults(one, way, seen)


def beyond(end: End, ways: list[Way], seen: Observed) -> Finding:
    """Return whether there is a way to an address that no port of this host has."""
    for way in ways:
        found = seen.lookups[way]
        if found.refusal:
            said = f"{_asked(way)}: {found.refusal}{_beside(way, seen)}"
            return broken("route", end.text, said, "give the host a route to it")
        entry = describe(found.entry, seen) if found.entry else "an entry that is not shown"
        return ok("route", end.text, f"leaves this host over {found.device} by {entry}")
    return unknown("route", end.text, "nothing to look up")


def _faults(one: Concern, way: Way, seen: Observed) -> Iterator[Fault]:
    device = seen.devices[one.device]
    found = seen.lookups[way]
    if device.link is None:
        return
    wanted = host_route(way.target, device.link.index)
    is_ours = any(
        (one.destination, one.index, one.protocol, one.table)
        == (wanted.destination, wanted.index, ROUTE_PROTOCOL, MAIN)
        for one in device.routes
    )
    if found.refusal:
        said = f"{_asked(way)}: {found.refusal}{_beside(way, seen)}"
        yield said, _way_out(one, way, is_ours)
        return
    own = way.target in one.port.addresses
    if found.device == one.device and (is_ours or not own):
        return
    if not own:
        yield (
            f"{way.target} is allowed for port {one.identifier} to send from, and has no route: "
            f"packets leave over {found.device or 'no device'}",
            "give the port the address, or add a route to it of your own",
        )
    elif not is_ours:
        instead = describe(found.entry, seen) if found.entry else "nothing"
        yield (
            f"there is no route of ours to {way.target} by {one.device}; "
            f"packets follow {instead}{_beside(way, seen)}",
            _way_out(one, way, is_ours=False),
        )
    else:
        yield (
            f"our route to {way.target} is there, but packets leave over {found.device or 'lo'}: "
            f"they follow {describe(found.entry, seen) if found.entry else 'another entry'}"
            f"{_beside(way, seen)}",
            _way_out(one, way, is_ours=True),
        )


def _way_out(one: Concern, way: Way, is_ours: bool) -> str:
    show = f"`ip route get {way.target}`, `ip rule`"
    if is_ours:
        return f"take away what is preferred to it: {show}"
    family = "-6 " if way.target.version == 6 else ""
    return (
        f"remove what is in its way (`ip {family}route show {way.target}`); visord then puts "
        f"the route to {one.device} back at once"
    )


def _beside(way: Way, seen: Observed) -> str:
    """Return what else may have decided: policy rules, and entries that cover the address."""
    parts = []
    if seen.policies:
        parts.append(f"policy rules: {'; '.join(seen.policies)}")
    if covering := seen.covering.get(way.target):
        shown = ", ".join(describe(one, seen) for one in covering[:3])
        parts.append(f"table main has {shown}")
    return f" ({'; '.join(parts)})" if parts else ""


def describe(route: Route, seen: Observed) -> str:
    """Return an entry of a routing table as ip(8) writes it."""
    device = seen.names.get(route.index, "")
    where = f" dev {device}" if device else ""
    table = "" if route.table == MAIN else f" table {route.table}"
    kind = KINDS.get(route.kind, f"type {route.kind} ")
    metric = f" metric {route.metric}" if route.metric else ""
    owner = "ours" if route.protocol == ROUTE_PROTOCOL else f"proto {route.protocol}"
    return f"{kind}{route.destination}/{route.prefix_length}{where}{table}{metric} ({owner})"


def _asked(way: Way) -> str:
    if way.device:
        return f"from {way.source} in on {way.device} to {way.target} (RTM_GETROUTE)"
    return f"to {way.target} (RTM_GETROUTE)"
