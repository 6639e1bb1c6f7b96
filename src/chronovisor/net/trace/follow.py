"""Follows live packets: marks them, hears what the kernel tells of each, and says it in words.

::

    with Trace(selection) as trace:
        async for step in trace.steps(timeout_s=30.0):
            ...

The table that marks is the kernel's to take away when the socket closes, whatever happens here.
"""

import asyncio
import contextlib
import errno
import itertools
import os
import socket
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

from chronovisor.errors import ToolFailed
from chronovisor.net.explain.lookup import name_of
from chronovisor.net.firewall.netfilter import NetfilterSocket, Refused
from chronovisor.net.trace import message
from chronovisor.net.trace.marking import TABLE, Selection, marking
from chronovisor.net.trace.message import Event, Kind
from chronovisor.net.trace.names import Rules, meaning
from chronovisor.net.wiring.netlink import message as netlink

_NETFILTER, _SOL_NETLINK, _ADD_MEMBERSHIP = 12, 270, 1  # linux/netlink.h
_KIND = 10 << 8 | message.MESSAGE  # NFNL_SUBSYS_NFTABLES
_RECEIVE_BYTE = 1 << 16

LAST_S = 0.5
"""How long the last packet may take; it is not known to be at its end."""

_numbers = itertools.count(1)


@dataclass(frozen=True, slots=True)
class Step:
    """One step of a packet; `packet` counts from 1.

    `rule` is nft's text, `meaning` whose it is (empty for others' rules). Devices and `headers`
    come with the first step of each base chain. `verdict` is `drop`, `accept`, `jump …`, or what
    else the rule or policy said.
    """

    packet: int
    table: str
    chain: str
    verdict: str
    rule: str = ""
    meaning: str = ""
    device_in: str = ""
    device_out: str = ""
    headers: str = ""


@dataclass(slots=True)
class Packets:
    """Tells the packets of one trace apart; the kernel's numbers come again for later ones."""

    table: str
    most: int
    _known: dict[int, int] = field(default_factory=dict)
    begun: int = 0

    def number(self, event: Event) -> int | None:
        """Return which packet an event is of; None where it is none of this trace.

        A packet begins where our rule marks it: other traces' packets never met that one.
        """
        if event.table == self.table:
            if event.handle:  # without, it tells of the chain's end
                self.begun += 1
                self._known[event.packet] = self.begun
            return None
        found = self._known.get(event.packet)
        return found if found is not None and found <= self.most else None


class Trace(contextlib.AbstractContextManager["Trace"]):
    """Packets are marked from its making until its end. Belongs to one event loop.

    Raises `ToolFailed` when the kernel does not mark or tell.
    """

    def __init__(self, selection: Selection) -> None:
        self._packets = Packets(f"{TABLE}-{os.getpid()}-{next(_numbers)}", selection.count)
        self._rules = Rules()
        self._wire = _listening()
        try:
            self._marker = _marking(self._packets.table, selection)
        except ToolFailed:
            self._wire.close()
            raise

    def __exit__(self, *exc: object) -> None:
        self.close()

    def close(self) -> None:
        """Mark nothing any more; the kernel removes the table."""
        self._marker.close()
        self._wire.close()

    async def steps(self, timeout_s: float) -> AsyncIterator[Step]:
        """Yield the steps of packets as they pass, until all have passed or time is up."""
        loop = asyncio.get_running_loop()
        deadline = time.monotonic() + timeout_s
        while (left_s := deadline - time.monotonic()) > 0:
            if self._packets.begun >= self._packets.most:
                left_s = min(left_s, LAST_S)
            try:
                async with asyncio.timeout(left_s):
                    data = await loop.sock_recv(self._wire, _RECEIVE_BYTE)
            except TimeoutError:
                return
            except OSError as error:
                if error.errno == errno.ENOBUFS:  # somebody traces everything: some are lost
                    continue
                raise ToolFailed(f"cannot hear trace messages: {error.strerror}") from error
            for event in events(data):
                number = self._packets.number(event)
                if self._packets.begun > self._packets.most:
                    return
                if number is not None:
                    yield await asyncio.to_thread(_step, number, event, self._rules)


def events(data: bytes) -> list[Event]:
    """Return the trace events of a datagram; what is none is passed over.

    Raises `ProtocolError`.
    """
    return [Event.unpack(one.body) for one in netlink.split(data) if one.kind == _KIND]


def _listening() -> socket.socket:
    wire = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, _NETFILTER)
    try:
        wire.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
        wire.bind((0, 0))
        wire.setsockopt(_SOL_NETLINK, _ADD_MEMBERSHIP, message.GROUP)
        wire.setblocking(False)
    except OSError as error:
        wire.close()
        raise ToolFailed(f"cannot hear trace messages: {error.strerror}") from error
    return wire


def _marking(name: str, selection: Selection) -> NetfilterSocket:
    """Return the socket that holds the table which marks; it goes when the socket is closed."""
    netfilter = NetfilterSocket()
    try:
        netfilter.commit(marking(name, selection))
    except Refused as error:
        netfilter.close()
        raise ToolFailed(
            f"cannot mark packets: {error.message}", hint="a trace needs Linux 5.12 or later"
        ) from error
    return netfilter


def _step(number: int, event: Event, rules: Rules) -> Step:
    rule, words = "", ""
    if event.kind is Kind.RULE and event.handle:
        found = rules.text(event.family, event.table, event.chain, event.handle)
        rule, words = found.text, meaning(event.table, event.chain, found.origin)
    elif event.kind is Kind.POLICY:
        rule = "policy"
    elif not event.handle:
        rule = "end of chain"
    return Step(
        packet=number,
        table=event.table,
        chain=event.chain,
        verdict=f"{event.verdict} {event.target}".strip(),
        rule=rule,
        meaning=words,
        device_in=name_of(event.iif) if event.iif else "",
        device_out=name_of(event.oif) if event.oif else "",
        headers=message.describe(event),
    )
