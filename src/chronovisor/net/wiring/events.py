"""What the kernel tells of unasked: devices, addresses and host routes that come and go.

Messages are lost when they come faster than they are read (netlink(7), ENOBUFS); then all that was
known is doubtful, and `Lost` says so.
"""

import asyncio
import ctypes
import socket
import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from chronovisor.errors import ProtocolError
from chronovisor.net.wiring.netlink import address as addresses
from chronovisor.net.wiring.netlink import link as links
from chronovisor.net.wiring.netlink import message as m
from chronovisor.net.wiring.netlink import route as routes
from chronovisor.net.wiring.netlink.address import DeviceAddress
from chronovisor.net.wiring.netlink.channel import Overrun, opened, receive
from chronovisor.net.wiring.netlink.link import Link
from chronovisor.net.wiring.netlink.route import Route

GROUPS = 0x1 | 0x10 | 0x40 | 0x100 | 0x400
"""RTMGRP_LINK, _IPV4_IFADDR, _IPV4_ROUTE, _IPV6_IFADDR and _IPV6_ROUTE."""

_ATTACH_FILTER = 26  # SO_ATTACH_FILTER
_DATAGRAMS_AT_ONCE = 64  # then others on the event loop have their turn


@dataclass(frozen=True, slots=True)
class LinkChanged:
    """A device is new or differs from before."""

    link: Link


@dataclass(frozen=True, slots=True)
class LinkGone:
    """A device was removed, or moved to another network namespace."""

    index: int
    name: str


@dataclass(frozen=True, slots=True)
class AddressGone:
    """A device lost an address."""

    address: DeviceAddress


@dataclass(frozen=True, slots=True)
class RouteChanged:
    """A route to a single address came (`gone` is false) or went."""

    route: Route
    gone: bool


@dataclass(frozen=True, slots=True)
class Lost:
    """Something happened that was not heard; everything must be read again."""


Event = LinkChanged | LinkGone | AddressGone | RouteChanged | Lost


def events(data: bytes) -> Iterator[Event]:
    """Yield what a datagram tells of that matters here. Raises `ProtocolError`."""
    for message in m.split(data):
        if message.kind == links.NEW:
            yield LinkChanged(Link.unpack(message.body))
        elif message.kind == links.DELETE:
            gone = Link.unpack(message.body)
            yield LinkGone(gone.index, gone.name)
        elif message.kind == addresses.DELETE:
            yield AddressGone(DeviceAddress.unpack(message.body))
        elif message.kind in (routes.NEW, routes.DELETE) and routes.leads_to_a_host(message.body):
            yield RouteChanged(Route.unpack(message.body), message.kind == routes.DELETE)


def _pass_over(source: socket.socket, ours: int) -> None:
    """Have the kernel keep to itself what is no news, before it fills the buffer.

    That is addresses that come, addresses and routes that port id `ours` changed, and the kernel's
    own routes for each address and device: a start with 3,000 ports makes 50,000 such messages. A
    classic BPF program (bpf(4)) over the header and that of a route (`routes.leads_to_a_host`).
    """

    def big(layout: str, value: int) -> int:
        return int.from_bytes(struct.pack(layout, value), "big")  # it loads in network byte order

    load_1, load_2, load_4, equals, answer = 0x30, 0x28, 0x20, 0x15, 0x06  # ldb [k], …, jeq, ret
    kind, port, length, table = 4, 12, 17, 20  # of nlmsghdr, and of rtmsg behind it
    program = [  # operation, steps to pass over if equal and if not, operand
        (load_2, 0, 0, kind),
        (equals, 11, 0, big("=H", links.NEW)),
        (equals, 10, 0, big("=H", links.DELETE)),
        (equals, 10, 0, big("=H", addresses.NEW)),
        (load_4, 0, 0, port),
        (equals, 8, 0, big("=I", ours)),
        (load_2, 0, 0, kind),
        (equals, 5, 0, big("=H", addresses.DELETE)),
        (load_1, 0, 0, table),
        (equals, 0, 4, routes.MAIN),
        (load_1, 0, 0, length),
        (equals, 1, 0, 32),
        (equals, 0, 1, 128),
        (answer, 0, 0, 0xFFFFFFFF),
        (answer, 0, 0, 0),
    ]
    code = ctypes.create_string_buffer(b"".join(struct.pack("=HBBI", *one) for one in program))
    source.setsockopt(
        socket.SOL_SOCKET,
        _ATTACH_FILTER,
        struct.pack("@HP", len(program), ctypes.addressof(code)),
    )


class Listener:
    """Calls `heard` on the event loop with each event, from `start` until `close`."""

    def __init__(self, heard: Callable[[Event], None]) -> None:
        self._heard = heard
        self._socket: socket.socket | None = None

    def start(self, ours: int = 0) -> None:
        """Begin to listen, in the running event loop. Raises `ToolFailed`.

        `ours` is the port id of the channel by which this process makes changes.
        """
        self._socket = opened(GROUPS, blocking=False)
        _pass_over(self._socket, ours)
        asyncio.get_running_loop().add_reader(self._socket, self._read)

    def close(self) -> None:
        """Stop listening."""
        if self._socket is not None:
            asyncio.get_running_loop().remove_reader(self._socket)
            self._socket.close()
            self._socket = None

    def drain(self) -> None:
        """Have all heard that was told until now."""
        while self._read():
            pass

    def _read(self) -> bool:
        """Read some datagrams; return whether there may be more."""
        for _ in range(_DATAGRAMS_AT_ONCE):
            if self._socket is None:  # closed by what heard an event
                return False
            try:
                for event in events(receive(self._socket)):
                    self._heard(event)
            except BlockingIOError:
                return False
            except (Overrun, ProtocolError):
                self._heard(Lost())
        return True
