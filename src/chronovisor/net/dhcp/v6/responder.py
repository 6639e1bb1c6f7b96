"""The process that answers VMs' router solicitations and DHCPv6: `python -m …responder DIRECTORY`.

It knows nothing but the records in the directory and the devices that exist, holds no state that
matters, and may be killed and started again at any time. It ends without a last advertisement:
its end is not the router's.
"""

import contextlib
import math
import random
import selectors
import socket
import sys
import time
from ipaddress import IPv6Address
from pathlib import Path

from chronovisor.errors import ProtocolError
from chronovisor.net.dhcp.v6 import advertisement, frames, message
from chronovisor.net.dhcp.v6.answer import answer
from chronovisor.net.dhcp.v6.ears import (
    CLIENT_PORT,
    SERVER_PORT,
    TAPS_A_SOCKET,
    Ear,
    Heard,
    receive,
)
from chronovisor.net.dhcp.v6.frames import ALL_NODES, ALL_NODES_MAC, icmp6, udp
from chronovisor.net.dhcp.v6.record import Record
from chronovisor.net.dhcp.v6.records import Records

ANSWERS_A_SECOND = 20
"""To one tap. A client at work asks about once a second (RFC 8415 section 7.6)."""

INITIAL, INITIAL_INTERVAL_S = 3, 16.0  # RFC 4861 section 10, MAX_INITIAL_RTR_…
TICK_S = 1.0
SETTLE_S = 0.02
"""How long events of devices are gathered before all devices are looked at."""

_AT_ONCE = 64  # packets taken from one socket before the next gets its turn
_LINK_EVENTS = 1  # RTMGRP_LINK, linux/rtnetlink.h


class Responder:
    """Listens on the tap of every record and answers what its VM may ask."""

    def __init__(self, directory: Path) -> None:
        self._records = Records(directory)
        self._ears: list[Ear] = []
        self._devices: dict[int, str] = {}
        self._due: dict[str, tuple[float, int]] = {}
        self._answered: dict[int, tuple[int, int]] = {}
        self._look_at_s = self._soonest_s = math.inf
        self._selector = selectors.DefaultSelector()
        self._wire = frames.open_wire()
        self._links = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0)
        self._links.setblocking(False)
        self._links.bind((0, _LINK_EVENTS))
        self._selector.register(self._links, selectors.EVENT_READ, None)

    def run(self) -> None:
        """Answer for ever."""
        self._follow_devices()
        look_s = TICK_S
        while True:
            self._advertise_due()
            for key, _ in self._selector.select(look_s):
                if key.fileobj is self._links:
                    self._drain_links()
                else:
                    self._hear(key.data, key.fileobj)
            self._records.current()
            if self._records.changed:
                self._look_at_s = 0.0
            if self._look_at_s <= time.monotonic():
                self._follow_devices()
            next_s = min(self._look_at_s, self._soonest_s)
            look_s = min(TICK_S, max(next_s - time.monotonic(), 0.0))

    def _drain_links(self) -> None:
        with contextlib.suppress(OSError):  # empty, or overrun: all devices are looked at anyway
            while self._links.recv(65536):
                pass
        self._look_at_s = min(self._look_at_s, time.monotonic() + SETTLE_S)

    def _follow_devices(self) -> None:
        """Join on taps that came, leave those that went, and have changes advertised soon."""
        self._look_at_s = math.inf
        records = self._records.current()
        present = {index: name for index, name in socket.if_nameindex() if name in records}
        for ear in self._ears:
            for index in [one for one in ear.indexes if present.get(one) != self._devices.get(one)]:
                ear.leave(index)
                self._devices.pop(index, None)
                self._answered.pop(index, None)
        for index, name in present.items():
            if index not in self._devices:
                self._join(index, name)
        now = time.monotonic()
        self._due = {name: due for name, due in self._due.items() if name in records}
        for name in self._records.changed:
            self._is_due(name, now)
        self._records.changed.clear()

    def _join(self, index: int, name: str) -> None:
        ear = next((one for one in self._ears if len(one.indexes) < TAPS_A_SOCKET), None)
        if ear is None:
            ear = Ear()
            self._ears.append(ear)
            self._selector.register(ear.icmp, selectors.EVENT_READ, ear)
            self._selector.register(ear.udp, selectors.EVENT_READ, ear)
        try:
            ear.join(index)
        except OSError as error:
            ear.leave(index)
            sys.stderr.write(f"{name}: cannot listen for IPv6 requests: {error.strerror}\n")
            return
        self._devices[index] = name
        self._is_due(name, time.monotonic())

    def _hear(self, ear: Ear, wire: object) -> None:
        assert isinstance(wire, socket.socket)
        for _ in range(_AT_ONCE):
            heard = receive(wire)
            if heard is None:
                return
            record = self._records.current().get(self._devices.get(heard.index, ""))
            if record is None or not self._may_answer(heard.index):
                continue
            if wire is ear.icmp:
                self._solicited(record, heard)
            else:
                self._asked(record, heard)

    def _may_answer(self, index: int) -> bool:
        second = int(time.monotonic())
        then, count = self._answered.get(index, (second, 0))
        count = count + 1 if then == second else 1
        self._answered[index] = (second, count)
        return count <= ANSWERS_A_SECOND

    def _solicited(self, record: Record, heard: Heard) -> None:
        if not record.advertise or not advertisement.is_solicitation(heard.data, heard.hop_limit):
            return
        to = ALL_NODES if heard.sender.is_unspecified else heard.sender
        self._send(record, to, icmp6(record.router, to, advertisement.pack(record)))

    def _asked(self, record: Record, heard: Heard) -> None:
        try:
            reply = answer(message.unpack(heard.data), record)
        except ProtocolError:
            return  # RFC 8415 section 16: what is broken is discarded
        if reply is not None and heard.sender.is_link_local:
            ports = SERVER_PORT, CLIENT_PORT
            packet = udp(record.router, heard.sender, ports, message.pack(reply))
            self._send(record, heard.sender, packet)

    def _send(self, record: Record, to: IPv6Address, packet: bytes) -> bool:
        """Send to a port's VM; return whether that went out."""
        mac = ALL_NODES_MAC if to == ALL_NODES else record.mac
        try:
            frames.send(self._wire, record.device, mac, packet)
        except OSError:
            return False  # the tap is down, or just went; the VM asks again
        return True

    def _advertise_due(self) -> None:
        """Send what is due unasked: often at first, then every few minutes (RFC 4861 6.2.4).

        A few at a time: nobody who asks waits for a thousand who did not.
        """
        now = time.monotonic()
        if now < self._soonest_s:
            return
        records = self._records.current()
        present = {*self._devices.values()}
        due = [name for name, (when, _) in self._due.items() if when <= now and name in present]
        for name in due[:_AT_ONCE]:
            if record := records.get(name):
                self._due[name] = self._advertise(record, self._due[name][1], now)
        others = (when for name, (when, _) in self._due.items() if name in present)
        self._soonest_s = min(others, default=math.inf)

    def _is_due(self, name: str, when_s: float) -> None:
        self._due[name] = (when_s, INITIAL)
        self._soonest_s = min(self._soonest_s, when_s)

    def _advertise(self, record: Record, left: int, now: float) -> tuple[float, int]:
        """Advertise to all; return when to do so next, and how many early ones are left."""
        packet = icmp6(record.router, ALL_NODES, advertisement.pack(record))
        if record.advertise and not self._send(record, ALL_NODES, packet):
            return now + TICK_S, left
        longest_s = INITIAL_INTERVAL_S if left > 1 else advertisement.INTERVAL_S
        return now + random.uniform(longest_s / 3, longest_s), max(left - 1, 1)


def main() -> None:
    """Run the responder of the directory given on the command line."""
    if len(sys.argv) != 2:
        sys.exit("usage: python -m chronovisor.net.dhcp.v6.responder DIRECTORY")
    Responder(Path(sys.argv[1])).run()


if __name__ == "__main__":
    main()
