"""The listening sockets of one tap, and the bounds of the VM behind it.

Each is bound to its device (SO_BINDTODEVICE, socket(7)), so a connection it accepts came in on that
tap, whatever else is true, and replies leave by that tap and no other. One socket for all taps
would have one queue for all VMs too, which any of them could fill. IP_FREEBIND (ip(7)) lets them
be bound before the addresses are there.
"""

import asyncio
import os
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass

from chronovisor.net.marks import METADATA_IPV4, METADATA_IPV6
from chronovisor.net.metadata.connection import Connection
from chronovisor.net.metadata.replies import Reply, Request, refusal
from chronovisor.net.metadata.state import Guest

PORT = 80
QUEUE = 16
"""Connections that wait to be accepted on one tap; the kernel drops more."""

MOST_CONNECTIONS = 16
"""Open connections of one tap; more wait in its queue."""

RATE_HZ = 200.0
BURST = 400.0
"""Requests and connections of one tap a second; a booting VM makes some 60 in all."""

_IP_FREEBIND, _IPV6_FREEBIND = 15, 78  # <linux/in.h>, <linux/in6.h>; not in the socket module
_RETRY_S = 1.0

Ask = Callable[["Tap", Connection, Request], Reply | None]


@dataclass(slots=True)
class Counts:
    """What a tap's VM has done, for people who look for a fault."""

    connections: int = 0
    requests: int = 0
    refused: int = 0
    last_at_s: float = 0.0
    last_target: str = ""


class Tap:
    """Listens on one device for one guest. `faults` says by family why it cannot."""

    def __init__(self, device: str, index: int, guest: Guest, ask: Ask) -> None:
        self.device = device
        self.index = index
        self.guest = guest
        self.counts = Counts()
        self.faults: dict[int, str] = {}
        self.asking = 0
        self._ask = ask
        self._loop = asyncio.get_running_loop()
        self._listeners: dict[int, socket.socket] = {}
        self._connections: set[Connection] = set()
        self._tokens, self._filled_at = BURST, time.monotonic()
        self._accepting = False
        self._timer: asyncio.TimerHandle | None = None
        self.open()

    @property
    def open_connections(self) -> int:
        """Return how many connections there are now."""
        return len(self._connections)

    def open(self) -> None:
        """Open what is not open yet; may be called at any time again."""
        for version in (4, 6):
            if version in self._listeners:
                continue
            try:
                self._listeners[version] = _listener(version, self.device, self.index)
            except OSError as error:
                self.faults[version] = error.strerror or str(error)
            else:
                self.faults.pop(version, None)
        self._accept_again()

    def close(self) -> None:
        """Stop listening and end all connections."""
        self._stop_accepting()
        if self._timer is not None:
            self._timer.cancel()
        for listener in self._listeners.values():
            listener.close()
        self._listeners.clear()
        for connection in [*self._connections]:
            connection.close()

    def wait_s(self) -> float:
        """Take one token of the bucket; 0, or the seconds until there is one."""
        now = time.monotonic()
        self._tokens = min(BURST, self._tokens + (now - self._filled_at) * RATE_HZ)
        self._filled_at = now
        if self._tokens < 1:
            return (1 - self._tokens) / RATE_HZ
        self._tokens -= 1
        return 0.0

    def ask(self, connection: Connection, request: Request) -> Reply | None:
        """Return the answer to a request of this tap's VM; None where it comes later."""
        self.counts.requests += 1
        self.counts.last_at_s, self.counts.last_target = time.time(), request.target[:200]
        if not self._may_ask(connection.source):
            self.counts.refused += 1
            return refusal(403, f"{connection.source} is not an address of this port")
        return self._ask(self, connection, request)

    def closed(self, connection: Connection) -> None:
        """Forget a connection and take the next."""
        self._connections.discard(connection)
        self._accept_again()

    def _may_ask(self, source: str) -> bool:
        # Link-local addresses are on this link alone, and this VM alone is on this link.
        return source in self.guest.sources or source.startswith("fe80:")

    def _accept_again(self) -> None:
        full = len(self._connections) >= MOST_CONNECTIONS
        if self._listeners and not full and self._timer is None:
            for listener in self._listeners.values():
                self._loop.add_reader(listener, self._accept, listener)
            self._accepting = True

    def _stop_accepting(self, for_s: float | None = None) -> None:
        if self._accepting:
            for listener in self._listeners.values():
                self._loop.remove_reader(listener)
            self._accepting = False
        if for_s is not None:
            self._timer = self._loop.call_later(for_s, self._go_on)

    def _go_on(self) -> None:
        self._timer = None
        self._accept_again()

    def _accept(self, listener: socket.socket) -> None:
        if (delay_s := self.wait_s()) > 0:
            self._stop_accepting(delay_s)
            return
        try:
            sock, address = listener.accept()
        except (BlockingIOError, ConnectionAbortedError):
            return
        except OSError:  # out of descriptors or memory: this tap pauses, others go on
            self._stop_accepting(_RETRY_S)
            return
        sock.setblocking(False)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.counts.connections += 1
        self._connections.add(Connection(sock, address[0], self))
        if len(self._connections) >= MOST_CONNECTIONS:
            self._stop_accepting()


def _listener(version: int, device: str, index: int) -> socket.socket:
    family = socket.AF_INET if version == 4 else socket.AF_INET6
    listener = socket.socket(family, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, os.fsencode(device))
        if version == 4:
            listener.setsockopt(socket.IPPROTO_IP, _IP_FREEBIND, 1)
            listener.bind((str(METADATA_IPV4), PORT))
        else:
            listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            listener.setsockopt(socket.IPPROTO_IPV6, _IPV6_FREEBIND, 1)
            listener.bind((str(METADATA_IPV6), PORT, 0, index))
        listener.listen(QUEUE)
    except BaseException:
        listener.close()
        raise
    return listener
