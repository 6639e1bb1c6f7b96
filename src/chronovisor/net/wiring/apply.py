"""Does the steps of a plan. Each may be repeated: what is as it should be already is no fault."""

import errno
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from chronovisor.errors import ToolFailed
from chronovisor.net.wiring import limits, switches
from chronovisor.net.wiring.actions import (
    Action,
    AddAddress,
    AddRoute,
    ChangeLink,
    LimitFromVm,
    LimitToVm,
    RemoveAddress,
    RemoveNeighbour,
    RemoveRoute,
    SetNeighbour,
    SetSwitch,
)
from chronovisor.net.wiring.netlink import address, link, neighbour, route, traffic
from chronovisor.net.wiring.netlink import message as m
from chronovisor.net.wiring.netlink.channel import Channel, Refused, Request, words
from chronovisor.net.wiring.netlink.link import Link, LinkChange, NewLink
from chronovisor.net.wiring.netlink.traffic import HANDLE, Qdisc, Redirect

_GONE = frozenset({errno.ENOENT, errno.ESRCH, errno.EADDRNOTAVAIL, errno.ENODEV})
_REMOVALS = (RemoveAddress, RemoveRoute, RemoveNeighbour)


@dataclass(frozen=True, slots=True)
class Failure:
    """A step that the kernel refused."""

    action: Action
    message: str

    def __str__(self) -> str:
        """Return the failure as a line for people."""
        return f"cannot {self.action}: {self.message}"


def apply(channel: Channel, actions: Iterable[Action]) -> list[Failure]:
    """Do steps in order; return those that were refused, the rest is done.

    Raises `Overrun` when it is not known what was done: observe and plan again.
    """
    failures: list[Failure] = []
    together: list[Action] = []
    for action in actions:
        if isinstance(action, SetSwitch | LimitToVm | LimitFromVm):
            failures += _batch(channel, together)
            together = []
            failures += _alone(channel, action)
        else:
            together.append(action)
    return failures + _batch(channel, together)


def _batch(channel: Channel, actions: Sequence[Action]) -> list[Failure]:
    if not actions:
        return []
    refused = channel.batch([_request(action) for action in actions])
    return [
        Failure(actions[position], words(said))
        for position, said in refused.items()
        if not (said.errno in _GONE and isinstance(actions[position], _REMOVALS))
    ]


def _request(action: Action) -> Request:
    """Return the netlink message of a step."""
    match action:
        case ChangeLink(change=change):
            return link.SET, 0, change.pack()
        case AddAddress(address=one):
            return address.NEW, m.CREATE | m.REPLACE, one.pack()
        case RemoveAddress(address=one):
            return address.DELETE, 0, one.pack()
        case AddRoute(route=one, replace=replace):
            # without `replace` a route that came meanwhile is refused, never overwritten
            return route.NEW, m.CREATE | (m.REPLACE if replace else m.EXCLUSIVE), one.pack()
        case RemoveRoute(route=one):
            return route.DELETE, 0, one.pack()
        case SetNeighbour(neighbour=one):
            return neighbour.NEW, m.CREATE | m.REPLACE, one.pack()
        case RemoveNeighbour(neighbour=one):
            return neighbour.DELETE, 0, one.pack()
    raise AssertionError(f"no message does {action}")


def _alone(channel: Channel, action: SetSwitch | LimitToVm | LimitFromVm) -> list[Failure]:
    try:
        if isinstance(action, SetSwitch):
            switches.write(action.path, action.value)
        elif isinstance(action, LimitToVm):
            _limit_to_vm(channel, action)
        else:
            _limit_from_vm(channel, action)
    except ToolFailed as error:
        return [Failure(action, error.message)]
    return []


def _limit_to_vm(channel: Channel, action: LimitToVm) -> None:
    """Put a token bucket at the tap's root or take ours away. Raises `Refused`."""
    kbit_s = action.rate.ingress_kbit_s
    if kbit_s is None:
        ours = Qdisc(action.index, "tbf", HANDLE)
        _do(channel, (traffic.DELETE_QDISC, 0, ours.pack()), fine=_NOT_THERE)
        return
    _set_bucket(channel, limits.bucket(action.index, kbit_s, action.rate, _mtu(channel, action)))


def _limit_from_vm(channel: Channel, action: LimitFromVm) -> None:
    """Lead what comes in by the tap through an ifb with a token bucket. Raises `Refused`.

    The filter comes last: led to a device that is down, everything would be lost.
    """
    name = limits.queue_device(action.index)
    kbit_s = action.rate.egress_kbit_s
    if kbit_s is None:
        _do(channel, (traffic.DELETE_FILTER, 0, traffic.our_filters(action.index)), fine=_NOT_THERE)
        if through := _named(channel, name):
            _do(channel, (link.DELETE, 0, link.by_index(through.index)), fine=_NOT_THERE)
        return
    mtu = _mtu(channel, action)
    new = (link.NEW, m.CREATE | m.EXCLUSIVE, NewLink(name, "ifb").pack())
    _do(channel, new, fine=frozenset({errno.EEXIST}))
    through = _named(channel, name)
    if through is None:
        raise ToolFailed(f"{name} went as soon as it was made")
    quiet = LinkChange(through.index, mtu=mtu, ipv6_mode=link.GENERATE_NO_ADDRESS)
    _do(channel, (link.SET, 0, quiet.pack()))
    _do(channel, (link.SET, 0, LinkChange(through.index, up=True).pack()))
    _set_bucket(channel, limits.bucket(through.index, kbit_s, action.rate, mtu))
    hook = (traffic.NEW_QDISC, m.CREATE | m.EXCLUSIVE, traffic.clsact(action.index).pack())
    _do(channel, hook, fine=frozenset({errno.EEXIST}))
    _do(channel, (traffic.DELETE_FILTER, 0, traffic.our_filters(action.index)), fine=_NOT_THERE)
    redirect = Redirect(action.index, through.index)
    _do(channel, (traffic.NEW_FILTER, m.CREATE | m.EXCLUSIVE, redirect.pack()))


_NOT_THERE = _GONE | {errno.EINVAL}


def _set_bucket(channel: Channel, bucket: Qdisc) -> None:
    """Make or change the root of a device, unless it is somebody else's. Raises `ToolFailed`."""
    answers, _ = channel.ask(traffic.GET_QDISC, traffic.ask_qdisc(bucket.index))
    there = [Qdisc.unpack(one.body) for one in answers]
    if any(one.handle not in (0, HANDLE) for one in there):
        text = f"it has a {there[0].kind} that is not ours at its root"
        raise ToolFailed(text, hint="remove it with `tc qdisc del`, or the port's rate_limit")
    _do(channel, (traffic.NEW_QDISC, m.CREATE | m.REPLACE, bucket.pack()))


def _mtu(channel: Channel, action: LimitToVm | LimitFromVm) -> int:
    found = _named(channel, action.device)
    if found is None:
        raise ToolFailed(f"{action.device} is gone")
    return found.mtu


def _named(channel: Channel, name: str) -> Link | None:
    answers, _ = channel.ask(link.GET, link.ask(name))
    return next((Link.unpack(one.body) for one in answers if one.kind == link.NEW), None)


def _do(channel: Channel, request: Request, fine: frozenset[int] = frozenset()) -> None:
    """Have one message done; errors in `fine` mean that it was so already. Raises `Refused`."""
    refused = channel.batch([request])
    if 0 in refused and refused[0].errno not in fine:
        raise Refused(words(refused[0]), refused[0].errno)
