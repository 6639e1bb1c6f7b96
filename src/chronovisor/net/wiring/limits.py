"""Rate limits of a port: token buckets in the tap's way out, and on an ifb for its way in.

What goes to the VM leaves the host by the tap: a `tbf` at its root. What comes from the VM arrives
there, where nothing can queue: a filter sends it through an `ifb` of the port's own, whose `tbf`
queues, and from there back to where it came in. Delay makes TCP slow down where a policer's losses
make it stutter; and neither `police` nor `matchall` is in every kernel, `ifb` and `u32` are.

Frames that come back from an ifb pass no nftables chain at the *netdev ingress* hook of the tap;
the hooks behind it (arp, inet prerouting and further) see them as ever.
"""

from chronovisor.net.settings import RateLimit
from chronovisor.net.wiring.netlink.link import Link
from chronovisor.net.wiring.netlink.traffic import HANDLE, Qdisc
from chronovisor.net.wiring.observed import Observed

_BYTE_S_PER_KBIT_S = 125
_QUEUE_MS = 50
_PREFIX = "cvl"
_MARGIN_BYTE = 64  # Ethernet and what may stand before it


def queue_device(index: int) -> str:
    """Return the name of the ifb of a tap by the tap's number."""
    return f"{_PREFIX}{index}"


def tap_of(link: Link) -> int | None:
    """Return the number of the tap that an ifb of ours belongs to; None for any other device."""
    digits = link.name.removeprefix(_PREFIX)
    ours = link.kind == "ifb" and link.name.startswith(_PREFIX) and digits.isdecimal()
    return int(digits) if ours else None


def bucket(index: int, kbit_s: int, rate: RateLimit, mtu: int) -> Qdisc:
    """Return the token bucket for a rate: a burst at once, then 50 ms of queue."""
    byte_s = kbit_s * _BYTE_S_PER_KBIT_S
    burst = max(rate.burst_kbyte * 1024, mtu + _MARGIN_BYTE)
    limit = min(burst + byte_s * _QUEUE_MS // 1000, 0xFFFFFFFF)
    return Qdisc(index, "tbf", HANDLE, rate_byte_s=byte_s, limit_byte=limit, burst_byte=burst)


def to_vm_differs(link: Link, rate: RateLimit, mtu: int, observed: Observed) -> bool:
    """Return whether the bound of what goes to the VM is not as it should be."""
    return _differs(link.index, rate.ingress_kbit_s, rate, mtu, observed)


def from_vm_differs(link: Link, rate: RateLimit, mtu: int, observed: Observed) -> bool:
    """Return whether the bound of what comes from the VM is not as it should be."""
    through = observed.links.get(queue_device(link.index))
    if rate.egress_kbit_s is None:
        return through is not None or link.index in observed.redirects
    if through is None or not through.up or observed.redirects.get(link.index) != through.index:
        return True
    return _differs(through.index, rate.egress_kbit_s, rate, mtu, observed)


def _differs(index: int, kbit_s: int | None, rate: RateLimit, mtu: int, observed: Observed) -> bool:
    there = observed.qdiscs.get(index)
    ours = there is not None and there.handle == HANDLE
    if kbit_s is None:
        return ours
    wanted = bucket(index, kbit_s, rate, mtu)
    return (
        there is None
        or not ours
        or (there.rate_byte_s, there.limit_byte) != (wanted.rate_byte_s, wanted.limit_byte)
    )
