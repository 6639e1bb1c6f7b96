"""The management client: asks and tells a running ptp4l, over its Unix socket.

    async with ManagementClient(Path("/run/chronovisor/ptp4l.sock"), local_directory=run) as ptp:
        parent = await ptp.get(ParentDataSet)
        ports = await ptp.get_all_ports(PortDataSet)
        await ptp.set(Priority1(100))
        status = await ptp.status()

Requests are matched to replies by our own port identity, the sequence id and the management id.
What does not match is dropped and counted in `rejected`; nothing that arrives can break a client.
"""

import asyncio
import secrets
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol, Self, TypeVar

from chronovisor.clock.ptp.datasets import DataSet, DefaultDataSet, Scope, SubscribeEventsNp
from chronovisor.clock.ptp.exchange import Batch, Request
from chronovisor.clock.ptp.identity import ALL_PORTS, ClockIdentity, PortIdentity
from chronovisor.clock.ptp.local_socket import LocalSocket, server_unavailable
from chronovisor.clock.ptp.management import ErrorStatus, ManagementMessage
from chronovisor.clock.ptp.status import Status, StatusRequest
from chronovisor.clock.ptp.subscription import Event, Subscription
from chronovisor.clock.ptp.vocabulary import Events, ManagementAction, ManagementId
from chronovisor.errors import InvalidInput, ProtocolError, ToolFailed, Unavailable

DataSetT = TypeVar("DataSetT", bound=DataSet)

# Port numbers of ours: requests come from the first, subscriptions from those behind it, so that
# a pushed message is never taken for a reply.
_REQUESTS_PORT = 1
_LAST_PORT = 0xFFFE


@dataclass(slots=True)
class Rejected:
    """What arrived and was not for us, or not what it claimed to be."""

    count: int = 0
    last_reason: str = ""


class NotificationSink(Protocol):
    """Takes what ptp4l pushes to one subscription."""

    def notified(self, message: ManagementMessage) -> None:
        """Take one message; raises `ProtocolError` for one that is not a notification."""


class ManagementClient:
    """A client of the ptp4l that serves at `server` (its `uds_address`).

    Its own socket lies in `local_directory`, is made at the first call and removed by `close`.
    `domain_number` and `transport_specific` must be ptp4l's own, or it does not answer. A ptp4l
    that is gone makes a call raise `Unavailable`; the next call tries again by itself.
    """

    def __init__(
        self,
        server: Path,
        *,
        local_directory: Path,
        domain_number: int = 0,
        transport_specific: int = 0,
        timeout_s: float = 2.0,
    ) -> None:
        self.server = server
        self.rejected = Rejected()
        self.connections = 0
        self._local_directory = local_directory
        self._domain_number = domain_number
        self._transport_specific = transport_specific
        self._sdo_id = transport_specific << 8
        self._timeout_s = timeout_s
        # ptp4l keeps one subscription per port identity: ours must differ from everybody else's.
        self._identity = ClockIdentity(secrets.token_bytes(8))
        self._replies_go_to = self._identity + _REQUESTS_PORT.to_bytes(2, "big")
        self._sequence_id = secrets.randbelow(0x10000)
        self._socket: LocalSocket | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._writable: asyncio.Future[None] | None = None
        self._pending: dict[bytes, Batch] = {}
        self._sinks: dict[int, NotificationSink] = {}
        self._status = StatusRequest(self._request)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Remove our socket; calls under way raise `Unavailable`. A later call opens it again."""
        if self._socket is not None and self._loop is not None:
            self._became_writable()
            self._loop.remove_reader(self._socket.fileno())
            self._socket.close()
            self._socket = None
        for batch in set(self._pending.values()):
            if not batch.done.done():
                batch.done.set_exception(Unavailable("the PTP management client was closed"))

    async def get(
        self, kind: type[DataSetT], *, port: int | None = None, like: DataSetT | None = None
    ) -> DataSetT:
        """Return a data set, of the port with that number if it is a port's.

        `like` goes into the request where linuxptp looks for a key there
        (ALTERNATE_TIME_OFFSET_*). Raises `ToolFailed` if ptp4l refuses, `Unavailable` if it is
        silent or gone.
        """
        request = self._request(kind, port=_port_for(kind, port), value=like)
        return await self._ask_one(request)

    async def get_all_ports(self, kind: type[DataSetT]) -> list[tuple[PortIdentity, DataSetT]]:
        """Return a data set of each port, by port number; errors as for `get`."""
        if kind.scope is not Scope.PORT:
            raise InvalidInput(f"{kind.__name__} is a data set of the clock, not of its ports")
        request = self._request(kind)
        await self.exchange([self._request(DefaultDataSet), request])
        self.check(request)
        return [request.values[port] for port in sorted(request.values)]

    async def set(self, value: DataSetT, *, port: int | None = None) -> DataSetT:
        """Tell ptp4l a value and return what it says it is now; errors as for `get`."""
        kind = type(value)
        request = self._request(
            kind, action=ManagementAction.SET, value=value, port=_port_for(kind, port)
        )
        return await self._ask_one(request)

    async def command(self, value: DataSetT, *, port: int) -> None:
        """Give a port a command (`EnablePort`, `DisablePort`); errors as for `get`."""
        await self._ask_one(self._request(type(value), action=ManagementAction.COMMAND, port=port))

    async def status(self) -> Status:
        """Return all that a clock's status is made of, in one round trip; errors as for `get`."""
        requests = self._status.again()
        await self.exchange(requests)
        return self._status.collect(requests, self.check)

    def subscribe(
        self,
        events: Events,
        *,
        duration_s: int = 10,
        poll_interval_s: float = 0.25,
        check_interval_s: float = 1.0,
        deliver: Callable[[Event], None] | None = None,
    ) -> Subscription:
        """Return a subscription to events, an async context manager and iterator.

        It lives through restarts of ptp4l, which it notices within `check_interval_s`. What the
        running release does not push is read: the time status each `poll_interval_s`, the parent
        each `check_interval_s`.
        """
        return Subscription(
            self,
            events,
            duration_s=duration_s,
            poll_interval_s=poll_interval_s,
            check_interval_s=check_interval_s,
            deliver=deliver,
        )

    async def subscribe_port(self, port: int, value: SubscribeEventsNp) -> SubscribeEventsNp:
        """Subscribe from one of our port numbers (`add_sink`); for `Subscription`."""
        return await self._ask_one(
            self._request(
                SubscribeEventsNp, action=ManagementAction.SET, value=value, source_port=port
            )
        )

    async def subscription_of(self, port: int) -> SubscribeEventsNp:
        """Return what one of our port numbers is subscribed to; for `Subscription`."""
        return await self._ask_one(self._request(SubscribeEventsNp, source_port=port))

    async def get_from(self, kind: type[DataSetT]) -> list[tuple[PortIdentity, DataSetT]]:
        """Return a data set of each port, or the clock's one, with who sent it."""
        if kind.scope is Scope.PORT:
            return await self.get_all_ports(kind)
        request = self._request(kind)
        await self.exchange([request])
        self.check(request)
        return list(request.values.values())

    async def _ask_one(self, request: Request[DataSetT]) -> DataSetT:
        await self.exchange([request])
        self.check(request)
        ((_, value),) = request.values.values()
        return value

    def check(self, request: Request[Any]) -> None:
        """Raise `ToolFailed` if a request was refused."""
        if request.error is not None:
            raise refusal(request.action, request.error)

    def _request(
        self,
        kind: type[DataSetT],
        *,
        action: ManagementAction = ManagementAction.GET,
        value: DataSet | None = None,
        port: int = ALL_PORTS,
        source_port: int = _REQUESTS_PORT,
    ) -> Request[DataSetT]:
        return Request(
            kind,
            PortIdentity(self._identity, source_port),
            action=action,
            value=value,
            port=port,
            domain_number=self._domain_number,
            transport_specific=self._transport_specific,
        )

    async def exchange(self, requests: Sequence[Request[Any]]) -> None:
        """Send requests together and return when each is answered or refused."""
        loop = asyncio.get_running_loop()
        numbered = {self._next_key(): request for request in requests}
        batch = Batch(numbered, loop.create_future())
        self._pending.update(dict.fromkeys(numbered, batch))
        timer = loop.call_later(self._timeout_s, self._expire, batch)
        try:
            await self._send([request.packet(key) for key, request in numbered.items()], batch.done)
            await batch.done
        finally:
            timer.cancel()
            batch.done.cancel()
            for key in numbered:
                self._pending.pop(key, None)

    def _next_key(self) -> bytes:
        self._sequence_id = (self._sequence_id + 1) & 0xFFFF
        return self._sequence_id.to_bytes(2, "big")

    def _expire(self, batch: Batch) -> None:
        if batch.done.done():
            return
        rejected = f"; last rejected: {self.rejected.last_reason}" if self.rejected.count else ""
        batch.done.set_exception(
            Unavailable(
                f"ptp4l at {self.server} has not answered {batch.unanswered()} within "
                f"{self._timeout_s:g} s{rejected}",
                hint=f"it answers domain {self._domain_number} and transportSpecific "
                f"{self._transport_specific} only if those are its own",
            )
        )

    async def _send(self, packets: Sequence[bytes], done: "asyncio.Future[None]") -> None:
        """Send all packets to one ptp4l; one that was restarted meanwhile gets them all."""
        connected = self._open()
        retried = self.connections != connected
        while True:
            sock = self._socket
            if sock is None:
                raise Unavailable("the PTP management client was closed")
            try:
                for packet in packets:
                    while True:
                        try:
                            sock.send(packet)
                            break
                        except BlockingIOError:  # ptp4l's queue is full, see max_dgram_qlen
                            await self._until_writable(done)
            except OSError as reason:
                if retried:
                    raise server_unavailable(self.server, reason) from reason
                retried = True
                self._reconnect()
            else:
                break

    async def _until_writable(self, done: "asyncio.Future[None]") -> None:
        """Wait for room in ptp4l's queue, at most until `done` has failed."""
        assert self._socket is not None
        loop = asyncio.get_running_loop()
        if self._writable is None:
            self._writable = loop.create_future()
            loop.add_writer(self._socket.fileno(), self._became_writable)
        await asyncio.wait((self._writable, done), return_when=asyncio.FIRST_COMPLETED)
        if done.done():
            done.result()

    def _became_writable(self) -> None:
        if self._writable is not None and self._socket is not None and self._loop is not None:
            self._loop.remove_writer(self._socket.fileno())
            self._writable.set_result(None)
            self._writable = None

    def _open(self) -> int:
        before = self.connections
        if self._socket is None:
            self._loop = asyncio.get_running_loop()
            self._socket = LocalSocket(self.server, self._local_directory)
            self._loop.add_reader(self._socket.fileno(), self._receive)
            self.connections += 1
        return before

    def _reconnect(self) -> None:
        assert self._socket is not None
        self._socket.connect()
        self.connections += 1

    def _receive(self) -> None:
        """Take all datagrams that are there."""
        while self._socket is not None:
            try:
                data = self._socket.receive_one()
            except OSError as reason:  # ptp4l is gone; the next send says so
                self._reject(f"receive: {reason.strerror}")
                return
            if data is None:
                return
            try:
                key = data[30:32]  # sequenceId, IEEE 1588-2019 table 35
                if key in self._pending and data[34:44] == self._replies_go_to:
                    self._pending[key].accept(key, data, self._judge)
                else:
                    self._take_other(key, data)
            except ProtocolError as reason:
                self._reject(reason.message)

    def _take_other(self, key: bytes, data: bytes) -> None:
        """Take what is no reply to a request: a notification, or the answer to a subscription."""
        message = ManagementMessage.unpack(data)
        self._judge(message)
        if message.management_id == ManagementId.SUBSCRIBE_EVENTS_NP and key in self._pending:
            self._pending[key].accept(key, data, self._judge)
            return
        sink = self._sinks.get(message.target.port_number)
        if sink is None:
            raise ProtocolError(f"sequenceId {message.sequence_id}: nobody awaits this reply")
        sink.notified(message)

    def _judge(self, message: ManagementMessage) -> None:
        """Raise `ProtocolError` for a message that is not meant for this client."""
        if message.target.clock_identity != self._identity:
            raise ProtocolError(f"meant for {message.target}")
        if message.domain_number != self._domain_number or message.sdo_id != self._sdo_id:
            raise ProtocolError(f"domain {message.domain_number}, sdoId {message.sdo_id:#05x}")

    def _reject(self, reason: str) -> None:
        self.rejected.count += 1
        self.rejected.last_reason = reason

    def add_sink(self, sink: NotificationSink) -> int:
        """Give a subscription a port number of its own."""
        port = next(p for p in range(_REQUESTS_PORT + 1, _LAST_PORT) if p not in self._sinks)
        self._sinks[port] = sink
        return port

    def remove_sink(self, port: int) -> None:
        """Take the port number back."""
        self._sinks.pop(port, None)


def _port_for(kind: type[DataSet], port: int | None) -> int:
    if kind.scope is Scope.CLOCK:
        if port is not None:
            raise InvalidInput(f"{kind.__name__} is a data set of the clock; port {port} was named")
        return ALL_PORTS
    if port is None or not 1 <= port < ALL_PORTS:
        raise InvalidInput(
            f"{kind.__name__} is a data set of a port; name one from 1",
            hint="or ask for all with get_all_ports",
        )
    return port


def refusal(action: ManagementAction, error: ErrorStatus) -> ToolFailed:
    """Return the error for a request that ptp4l refused."""
    name = ManagementId(error.management_id).name
    words = f" ({error.display})" if error.display else ""
    return ToolFailed(f"ptp4l refused {action.name} {name}: {error.error.name}{words}")
