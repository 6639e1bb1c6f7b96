"""Traffic control: token buckets, the hook for incoming frames, redirection (tc-tbf(8), tc-u32(8)).

Layouts and numbers are those of linux/pkt_sched.h, linux/pkt_cls.h and linux/tc_act/tc_mirred.h.
"""

import struct
from dataclasses import dataclass

from chronovisor.net.marks import ROUTE_PROTOCOL
from chronovisor.net.wiring.netlink import message as m

NEW_QDISC, DELETE_QDISC, GET_QDISC = 36, 37, 38
NEW_FILTER, DELETE_FILTER, GET_FILTER = 44, 45, 46
ROOT, CLSACT, INGRESS = 0xFFFFFFFF, 0xFFFFFFF1, 0xFFFFFFF2  # TC_H_ROOT, TC_H_CLSACT, ingress
HANDLE = 0x86 << 16
"""Handle of qdiscs that are ours, `86:` as tc(8) shows it."""

_CLSACT_HANDLE = 0xFFFF0000
_LAYOUT = struct.Struct("=BxxxiIII")  # tcmsg: family, index, handle, parent, info
_KIND, _OPTIONS = 1, 2  # TCA_*
_TBF_PARAMETERS, _TBF_RATE64, _TBF_BURST = 1, 4, 6
_TBF = struct.Struct("=BBHhHI12xIII")  # tc_tbf_qopt; a tc_ratespec comes first
_LINK_LAYER_ETHERNET = 1
_U32_SELECTOR, _U32_ACTION = 5, 7
_SELECTOR = struct.Struct("=BBBxHHhhI IIii")  # tc_u32_sel with one tc_u32_key
_TERMINAL = 1  # TC_U32_TERMINAL
_ACTION_KIND, _ACTION_OPTIONS = 1, 2
_MIRRED_PARAMETERS = 2
_MIRRED = struct.Struct("=IIiiiiI")  # tc_mirred
_STOLEN, _EGRESS_REDIRECT = 4, 1
_OUR_INFO = ROUTE_PROTOCOL << 16 | 0x0300  # priority; ETH_P_ALL in network byte order
_MOST = 0xFFFFFFFF


@dataclass(frozen=True, slots=True)
class Qdisc:
    """A queueing discipline of a device; rate and limit are those of a token bucket, else 0.

    `burst_byte` is said when one is made; the kernel does not tell of it again.
    """

    index: int
    kind: str
    handle: int
    parent: int = ROOT
    rate_byte_s: int = 0
    limit_byte: int = 0
    burst_byte: int = 0

    def pack(self) -> bytes:
        """Return the body of RTM_NEWQDISC or RTM_DELQDISC."""
        fixed = _LAYOUT.pack(0, self.index, self.handle, self.parent, 0)
        fixed += m.pack_string(_KIND, self.kind)
        if self.kind != "tbf":
            return fixed
        rate = min(self.rate_byte_s, _MOST)
        plain = _TBF.pack(0, _LINK_LAYER_ETHERNET, 0, 0, 0, rate, self.limit_byte, 0, 0)
        options = m.attribute(_TBF_PARAMETERS, plain) + m.pack_u32(_TBF_BURST, self.burst_byte)
        if self.rate_byte_s > _MOST:
            options += m.attribute(_TBF_RATE64, struct.pack("=Q", self.rate_byte_s))
        return fixed + m.attribute(_OPTIONS | m.NESTED, options)

    @classmethod
    def unpack(cls, body: bytes) -> "Qdisc":
        """Return the queueing discipline that a message tells of. Raises `ProtocolError`."""
        _, index, handle, parent, _ = m.header(_LAYOUT, body, "a qdisc")
        found = m.attributes(body, _LAYOUT.size)
        kind = m.string(found.get(_KIND, b""))
        if kind != "tbf":
            return cls(index, kind, handle, parent)
        options = m.attributes(found.get(_OPTIONS, b""))
        plain = m.header(_TBF, options.get(_TBF_PARAMETERS, b""), "a token bucket")
        rate, limit = plain[5], plain[6]
        if len(wide := options.get(_TBF_RATE64, b"")) == 8:
            rate = struct.unpack("=Q", wide)[0]
        burst = m.u32(options[_TBF_BURST]) if _TBF_BURST in options else 0
        return cls(index, kind, handle, parent, rate, limit, burst)


@dataclass(frozen=True, slots=True)
class Redirect:
    """A filter of ours: all that comes in on a device goes out of device `to` first."""

    index: int
    to: int

    def pack(self) -> bytes:
        """Return the body of RTM_NEWTFILTER."""
        mirred = _MIRRED.pack(0, 0, _STOLEN, 0, 0, _EGRESS_REDIRECT, self.to)
        inner = m.attribute(_MIRRED_PARAMETERS, mirred)
        action = m.pack_string(_ACTION_KIND, "mirred") + m.attribute(
            _ACTION_OPTIONS | m.NESTED, inner
        )
        actions = m.attribute(1 | m.NESTED, action)
        everything = _SELECTOR.pack(_TERMINAL, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0)
        options = m.attribute(_U32_SELECTOR, everything) + m.attribute(
            _U32_ACTION | m.NESTED, actions
        )
        fixed = _LAYOUT.pack(0, self.index, 0, INGRESS, _OUR_INFO)
        return fixed + m.pack_string(_KIND, "u32") + m.attribute(_OPTIONS | m.NESTED, options)

    @classmethod
    def unpack(cls, body: bytes) -> "Redirect | None":
        """Return the redirection that a filter message tells of; None for any other filter.

        Raises `ProtocolError`.
        """
        _, index, _, _, info = m.header(_LAYOUT, body, "a filter")
        found = m.attributes(body, _LAYOUT.size)
        if info != _OUR_INFO or m.string(found.get(_KIND, b"")) != "u32":
            return None
        options = m.attributes(found.get(_OPTIONS, b""))
        if _U32_ACTION not in options:
            return None
        action = m.attributes(m.attributes(options[_U32_ACTION]).get(1, b""))
        inner = m.attributes(action.get(_ACTION_OPTIONS, b""))
        if _MIRRED_PARAMETERS not in inner:
            return None
        return cls(index, m.header(_MIRRED, inner[_MIRRED_PARAMETERS], "a redirection")[6])


def clsact(index: int) -> Qdisc:
    """Return the hook for incoming frames; it carries the filters of others too."""
    return Qdisc(index, "clsact", _CLSACT_HANDLE, CLSACT)


def our_filters(index: int) -> bytes:
    """Return the body of RTM_DELTFILTER for every filter of ours on a device."""
    return _LAYOUT.pack(0, index, 0, INGRESS, _OUR_INFO)


def ask_qdisc(index: int = 0) -> bytes:
    """Return the body of RTM_GETQDISC: a device's root, or for a dump of all."""
    return _LAYOUT.pack(0, index, 0, ROOT if index else 0, 0)


def ask_filters(index: int) -> bytes:
    """Return the body of RTM_GETTFILTER for a dump of what looks at a device's incoming frames."""
    return _LAYOUT.pack(0, index, 0, INGRESS, 0)
