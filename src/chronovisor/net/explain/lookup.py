"""Asks the kernel which way a packet goes, as it decides itself (RTM_GETROUTE, RTM_GETRULE)."""

import contextlib
import errno
import socket
import struct
from collections.abc import Iterator

from chronovisor.errors import ProtocolError
from chronovisor.net.explain.observed import Lookup, Way
from chronovisor.net.settings import Address
from chronovisor.net.wiring.netlink import message as m
from chronovisor.net.wiring.netlink import route as routes
from chronovisor.net.wiring.netlink.channel import Channel
from chronovisor.net.wiring.netlink.message import address as unpacked
from chronovisor.net.wiring.netlink.route import Route

_LAYOUT = struct.Struct("=BBBBBBBBI")  # rtmsg, and fib_rule_hdr, which has the same shape
_TO, _FROM, _IN, _PREFERRED = 1, 2, 3, 7  # RTA_DST, RTA_SRC, RTA_IIF, RTA_PREFSRC
_FIB_MATCH = 0x2000  # RTM_F_FIB_MATCH
_INET, _INET6 = 2, 10
_GET_RULES = 34  # RTM_GETRULE
_ACTIONS = {1: "lookup", 2: "goto", 6: "blackhole", 7: "unreachable", 8: "prohibit"}  # FR_ACT_*
_OWN_POLICIES = frozenset((0, 32766, 32767))  # local, main, default (ip-rule(8))

REFUSALS = {
    errno.EINVAL: "refused as invalid: a blackhole, or a source that cannot be",
    errno.EACCES: "prohibited by a route or policy rule",
    errno.EHOSTUNREACH: "unreachable, or forwarding is off",
    errno.ENETUNREACH: "there is no route",
    errno.EXDEV: "the source is not to be reached over the device it comes from (rp_filter)",
    errno.EAGAIN: "thrown back by a route of kind throw",
}


def decide(channel: Channel, way: Way) -> Lookup:
    """Return what the kernel does with a packet. Raises `ToolFailed`."""
    answers, said = channel.ask(routes.GET, _body(way, 0))
    if said.errno:
        number = said.errno
        return Lookup(refusal=REFUSALS.get(number, errno.errorcode.get(number, str(number))))
    found = next((one for one in answers if one.kind == routes.NEW), None)
    if found is None:
        return Lookup(refusal="the kernel gave no answer")
    decided = Route.unpack(found.body)
    preferred = m.attributes(found.body, _LAYOUT.size).get(_PREFERRED)
    matches, _ = channel.ask(routes.GET, _body(way, _FIB_MATCH))
    entry = next((Route.unpack(one.body) for one in matches if one.kind == routes.NEW), None)
    return Lookup(entry, name_of(decided.index), unpacked(preferred) if preferred else None)


def name_of(index: int) -> str:
    """Return the name of a device by its number; empty when it has none."""
    with contextlib.suppress(OSError):
        return socket.if_indextoname(index)
    return ""


def covering(channel: Channel, target: Address) -> tuple[Route, ...]:
    """Return the entries of table main that cover an address, the longest first."""
    found = []
    for message in channel.dump(routes.GET, routes.ask(target.version)):
        with contextlib.suppress(ProtocolError):
            one = Route.unpack(message.body)
            if one.table == routes.MAIN and _covers(one, target):
                found.append(one)
    return tuple(sorted(found, key=lambda one: (-one.prefix_length, one.metric)))


def policies(channel: Channel, version: int) -> tuple[str, ...]:
    """Return in words the policy rules that somebody added, in their order."""
    body = _LAYOUT.pack(_INET if version == 4 else _INET6, 0, 0, 0, 0, 0, 0, 0, 0)
    return tuple(
        words for one in channel.dump(_GET_RULES, body) if (words := "".join(_policy(one.body)))
    )


def _policy(body: bytes) -> Iterator[str]:
    """Yield the parts of a policy rule's words; nothing for the kernel's own."""
    _, to_length, from_length, _, table, _, _, action, _ = m.header(_LAYOUT, body, "a policy rule")
    found = m.attributes(body, _LAYOUT.size)
    priority = m.u32(found[6]) if 6 in found else 0
    if priority in _OWN_POLICIES:
        return
    yield f"{priority}:"
    if 2 in found:
        yield f" from {unpacked(found[2])}/{from_length}"
    if 1 in found:
        yield f" to {unpacked(found[1])}/{to_length}"
    for kind, word in ((3, "iif"), (17, "oif")):
        if kind in found:
            yield f" {word} {m.string(found[kind])}"
    if 10 in found:
        yield f" fwmark {m.u32(found[10]):#x}"
    number = m.u32(found[15]) if 15 in found else table
    yield f" {_ACTIONS.get(action, f'action {action}')}"
    if action == 1:
        yield f" table {number}"


def _covers(route: Route, target: Address) -> bool:
    length = target.max_prefixlen - route.prefix_length
    return int(route.destination) >> length == int(target) >> length


def _body(way: Way, flags: int) -> bytes:
    length = way.target.max_prefixlen
    family = _INET if way.target.version == 4 else _INET6
    from_length = length if way.source else 0
    fixed = _LAYOUT.pack(family, length, from_length, 0, 0, 0, 0, 0, flags)
    parts = [fixed, m.attribute(_TO, way.target.packed)]
    if way.source:
        parts.append(m.attribute(_FROM, way.source.packed))
    if way.device:
        parts.append(m.pack_u32(_IN, socket.if_nametoindex(way.device)))
    return b"".join(parts)
