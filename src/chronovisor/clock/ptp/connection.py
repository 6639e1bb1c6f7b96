"""Requests out, replies and notifications in: the traffic of one client with one ptp4l.

ptp4l answers a handful of requests within a fraction of a millisecond. To wait for that in the
call itself, `_PATIENCE_S` at most, costs a third less CPU than one turn of the event loop per
reply, and holds up other tasks less than those turns would. What is not there by then arrives
through the event loop.
"""

import asyncio
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from chronovisor.clock.ptp.exchange import SEQUENCE_END, SEQUENCE_START, Answer, Batch, Request
from chronovisor.clock.ptp.identity import ClockIdentity
from chronovisor.clock.ptp.local_socket import LocalSocket, server_unavailable
from chronovisor.clock.ptp.management import ManagementMessage
from chronovisor.clock.ptp.vocabulary import ManagementId
from chronovisor.errors import ProtocolError, Unavailable

REQUESTS_PORT = 1
"""The port number requests come from. Subscriptions have those behind it, so that a pushed message
is never taken for a reply."""

_SUBSCRIBE = ManagementId.SUBSCRIBE_EVENTS_NP
_LAST_PORT = 0xFFFE
_PATIENCE_S = 0.001
_MOST_AT_ONCE = 64  # of datagrams, so that a flood cannot keep the event loop from its work


@dataclass(slots=True)
class Rejected:
    """What arrived and was not for us, or not what it claimed to be."""

    count: int = 0
    last_reason: str = ""


class NotificationSink(Protocol):
    """Takes what ptp4l pushes to one subscription."""

    def notified(self, message: ManagementMessage) -> None:
        """Take one message; raises `ProtocolError` for one that is not a notification."""


class Connection:
    """Opens itself at the first exchange and again after ptp4l was restarted; `count` tells."""

    def __init__(
        self,
        server: Path,
        local_directory: Path,
        *,
        domain_number: int,
        transport_specific: int,
        timeout_s: float,
    ) -> None:
        self.server = server
        self.domain_number = domain_number
        self.transport_specific = transport_specific
        # ptp4l keeps one subscription per port identity: ours must differ from everybody else's.
        self.identity = ClockIdentity(secrets.token_bytes(8))
        self.rejected = Rejected()
        self.count = 0
        self._local_directory = local_directory
        self._timeout_s = timeout_s
        self._sequence_id = secrets.randbelow(0x10000)
        self._socket: LocalSocket | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._writable: asyncio.Future[None] | None = None
        self._pending: dict[bytes, Answer[Any]] = {}
        self._sinks: dict[int, NotificationSink] = {}

    def close(self) -> None:
        """Remove our socket; exchanges under way raise `Unavailable`."""
        if self._socket is not None and self._loop is not None:
            self._became_writable()
            self._loop.remove_reader(self._socket.fileno())
            self._socket.close()
            self._socket = None
        for answer in self._pending.values():
            answer.batch.fail(Unavailable("the PTP management client was closed"))

    async def exchange(self, requests: Sequence[Request[Any]]) -> list[Answer[Any]]:
        """Send requests together and return their answers, or raise `Unavailable`."""
        batch = Batch(requests)
        keys, packets = [], []
        number, pending = self._sequence_id, self._pending
        for answer in batch.answers:
            number = (number + 1) & 0xFFFF
            key = number.to_bytes(2, "big")
            keys.append(key)
            packets.append(answer.request.head + key + answer.request.tail)
            pending[key] = answer
        self._sequence_id = number
        try:
            await self._send(packets)
            self._receive_soon(batch)
            if batch.missing:
                await self._wait(batch)
        finally:
            for key in keys:
                pending.pop(key, None)
        return batch.take_answers()

    async def _wait(self, batch: Batch) -> None:
        loop = asyncio.get_running_loop()
        done = batch.wait(loop)
        timer = loop.call_later(self._timeout_s, self._expire, batch)
        try:
            await done
        finally:
            timer.cancel()

    def _expire(self, batch: Batch) -> None:
        batch.fail(self._silence(batch.unanswered()))

    def _silence(self, what: str) -> Unavailable:
        rejected = f"; last rejected: {self.rejected.last_reason}" if self.rejected.count else ""
        return Unavailable(
            f"ptp4l at {self.server} has not answered {what} within "
            f"{self._timeout_s:g} s{rejected}",
            hint=f"it answers domain {self.domain_number} and transportSpecific "
            f"{self.transport_specific} only if those are its own",
        )

    async def _send(self, packets: Sequence[bytes]) -> None:
        """Send all packets to one ptp4l; one that was restarted meanwhile gets them all."""
        retried = self._open()
        while True:
            try:
                sent = 0
                while (sent := self._socket_now().send_from(packets, sent)) < len(packets):
                    await self._until_writable()  # ptp4l's queue is full, see max_dgram_qlen
            except OSError as reason:
                if retried:
                    raise server_unavailable(self.server, reason) from reason
                retried = True
                self._socket_now().connect()
                self.count += 1
            else:
                return

    def _socket_now(self) -> LocalSocket:
        if self._socket is None:
            raise Unavailable("the PTP management client was closed")
        return self._socket

    def _open(self) -> bool:
        """Open the socket if it is not; say whether that was done."""
        if self._socket is not None:
            return False
        self._loop = asyncio.get_running_loop()
        self._socket = LocalSocket(self.server, self._local_directory, patience_s=_PATIENCE_S)
        self._loop.add_reader(self._socket.fileno(), self._receive)
        self.count += 1
        return True

    async def _until_writable(self) -> None:
        """Wait for room in ptp4l's queue; several exchanges may wait at once."""
        sock = self._socket_now()
        loop = asyncio.get_running_loop()
        if self._writable is None:
            self._writable = loop.create_future()
            loop.add_writer(sock.fileno(), self._became_writable)
        done, _ = await asyncio.wait((self._writable,), timeout=self._timeout_s)
        if not done:
            raise self._silence("anything")

    def _became_writable(self) -> None:
        if self._writable is not None and self._socket is not None and self._loop is not None:
            self._loop.remove_writer(self._socket.fileno())
            self._writable.set_result(None)
            self._writable = None

    def _receive(self) -> None:
        """Take the datagrams that are there."""
        for _ in range(_MOST_AT_ONCE):
            try:
                data = None if self._socket is None else self._socket.receive_one()
            except OSError as reason:  # ptp4l is gone; the next send says so
                self._reject(f"receive: {reason.strerror}")
                return
            if data is None:
                return
            self._take(data)

    def _receive_soon(self, batch: Batch) -> None:
        """Take datagrams until nothing is missing, or none came for `_PATIENCE_S`."""
        sock = self._socket_now()
        for _ in range(_MOST_AT_ONCE):
            try:
                data = sock.receive_soon()
            except OSError as reason:
                self._reject(f"receive: {reason.strerror}")
                return
            if data is None:
                return
            self._take(data)
            if not batch.missing:
                return

    def _take(self, data: bytes) -> None:
        answer = self._pending.get(data[SEQUENCE_START:SEQUENCE_END])
        if answer is not None and answer.recall(data):
            return
        try:
            self._take_new(answer, data)
        except ProtocolError as reason:
            self._reject(reason.message)

    def _take_new(self, answer: Answer[Any] | None, data: bytes) -> None:
        """Take a reply, a notification, or the answer to a subscription."""
        message = ManagementMessage.unpack(data)
        port = message.target.port_number
        is_reply = port == REQUESTS_PORT or message.management_id == _SUBSCRIBE
        if answer is not None and is_reply:
            answer.accept(data, message, self._judge)
            return
        self._judge(message)
        sink = self._sinks.get(port)
        if sink is None or is_reply:
            raise ProtocolError(f"sequenceId {message.sequence_id}: nobody awaits this reply")
        sink.notified(message)

    def _judge(self, message: ManagementMessage) -> None:
        """Raise `ProtocolError` for a message that is not meant for this client."""
        if message.target.clock_identity != self.identity:
            raise ProtocolError(f"meant for {message.target}")
        if message.domain_number != self.domain_number or (
            message.sdo_id != self.transport_specific << 8
        ):
            raise ProtocolError(f"domain {message.domain_number}, sdoId {message.sdo_id:#05x}")

    def _reject(self, reason: str) -> None:
        self.rejected.count += 1
        self.rejected.last_reason = reason

    def add_sink(self, sink: NotificationSink) -> int:
        """Give a subscription a port number of its own."""
        free = (p for p in range(REQUESTS_PORT + 1, _LAST_PORT) if p not in self._sinks)
        port = next(free)
        self._sinks[port] = sink
        return port

    def remove_sink(self, port: int) -> None:
        """Take the port number back."""
        self._sinks.pop(port, None)
