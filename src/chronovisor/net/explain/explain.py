"""Walks the path and says how each link of it is: pure, from question, intent and snapshot."""

from collections.abc import Iterator

from chronovisor.net.dhcp.place import Place
from chronovisor.net.explain import fence, foreign, route, services, tap
from chronovisor.net.explain.concern import Concern, concerns, ways
from chronovisor.net.explain.findings import Explanation, Finding, broken, ok, unknown
from chronovisor.net.explain.observed import Observed, Way
from chronovisor.net.explain.question import End, Path, Question, port_of, resolve
from chronovisor.net.intent import Intent
from chronovisor.net.settings import NETWORKS, PORTS


def explain(question: Question, intent: Intent, seen: Observed, at: Place) -> Explanation:
    """Return the path that a question is about, link by link, in the order of its packets.

    Raises `NotFound`, `InvalidInput` as `resolve`.
    """
    path = resolve(question, intent)
    return Explanation(str(question), tuple(_walk(path, intent, seen, at)))


def _walk(path: Path, intent: Intent, seen: Observed, at: Place) -> Iterator[Finding]:
    concerned = concerns(path, intent)
    by_role = {one.end.role: one for one in concerned}
    yield _plane(seen)
    for end in path.ends:
        yield _known(end, path, intent)
        if one := by_role.get(end.role):
            yield from tap.findings(one, intent, seen)
            yield from services.findings(one, intent, seen, at)
    yield from _routes(path, concerned, seen)
    for one in concerned:
        yield fence.of_port(one, path, intent, seen)
    yield foreign.finding(path, concerned, seen)
    if services.asks_for_metadata(path) and "source" in by_role:
        yield services.metadata(by_role["source"], seen)


def _plane(seen: Observed) -> Finding:
    if not seen.enabled:
        said = "VM networking is disabled on this host: nothing is wired or mended"
        return broken("plane", "", said, "`visorctl net enable`")
    if seen.plane_problem:
        return unknown("plane", "", seen.plane_problem, "`visorctl host health`")
    return ok("plane", "", "VM networking is enabled and reports no problem")


def _known(end: End, path: Path, intent: Intent) -> Finding:
    """Return whether the settings know an end, and serve it."""
    if end.on_host:
        return ok("settings", end.text, f"{end.address} is this host's own on every tap")
    if end.port:
        return _served(end, intent)
    if path.source is None or (end is path.source and path.target.on_host):
        said = f"no port of this host has {end.text}{_in_network(end, intent)}"
        return broken("settings", end.text, said, "`visorctl net port list` shows who has what")
    said = f"no port of this host has {end.text}{_in_network(end, intent)}; it lies beyond"
    return unknown("settings", end.text, said, "what lies beyond this host is not judged here")


def _served(end: End, intent: Intent) -> Finding:
    key = f"{PORTS}/{end.port}"
    if problems := intent.refused.get(key):
        said = "; ".join(problem.message for problem in problems)
        return broken("settings", end.port, f"port {end.port} is refused: {said}", f"change {key}")
    if end.port in intent.disabled:
        said = f"port {end.port} is disabled ({key}, enabled)"
        return broken(
            "settings", end.port, said, f"`visorctl net port set {end.port} enabled=true`"
        )
    port = port_of(end.port, intent)
    assert port is not None  # the end was found by it
    if end.address is None:
        said = f"port {end.port} has no address"
        return broken("settings", end.port, said, f"`visorctl net port set {end.port} addresses=…`")
    said = f"port {end.port}, device {port.device}, MAC address {port.mac}, network {port.network}"
    return ok("settings", end.port, said)


def _in_network(end: End, intent: Intent) -> str:
    """Return the network that an address would be of, in words."""
    for name, network in intent.networks.items():
        if any(end.address in subnet.prefix for subnet in network.subnets):
            return f", though it is in network {name} ({NETWORKS}/{name})"
    return ""


def _routes(path: Path, concerned: tuple[Concern, ...], seen: Observed) -> Iterator[Finding]:
    by_role = {one.end.role: one for one in concerned}
    asked: dict[str, list[Way]] = {}
    for end, way in ways(path, concerned, seen.devices):
        asked.setdefault(end.role, []).append(way)
    # A packet is refused also where the way back to its sender is broken: that one is named.
    whole = not any(
        True
        for one in concerned
        for _ in route.faults(one, asked.get(one.end.role, []), seen, whole=False)
    )
    for end in path.ends:
        if end.role not in asked:
            continue
        if one := by_role.get(end.role):
            yield route.to_port(one, asked[end.role], seen, whole=whole)
        elif not end.port:
            yield route.beyond(end, asked[end.role], seen)
