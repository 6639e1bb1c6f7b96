"""The management client: asks and tells a running ptp4l, over its Unix socket.

    async with ManagementClient(Path("/run/chronovisor/ptp4l.sock"), local_directory=run) as ptp:
        parent = await ptp.get(ParentDataSet)
        ports = await ptp.get_all_ports(PortDataSet)
        await ptp.set(Priority1(100))
        status = await ptp.status()

Requests are matched to replies by our own port identity, the sequence id and the management id.
What does not match is dropped and counted in `rejected`; nothing that arrives can break a client.
"""

from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

from chronovisor.clock.ptp.connection import (
    REQUESTS_PORT,
    Connection,
    NotificationSink,
    Rejected,
)
from chronovisor.clock.ptp.datasets import DataSet, DefaultDataSet, Scope, SubscribeEventsNp
from chronovisor.clock.ptp.exchange import Answer, Request, refusal
from chronovisor.clock.ptp.identity import ALL_PORTS, PortIdentity
from chronovisor.clock.ptp.status import KINDS, Status, collect
from chronovisor.clock.ptp.subscription import Event, Subscription
from chronovisor.clock.ptp.vocabulary import Events, ManagementAction
from chronovisor.errors import InvalidInput

DataSetT = TypeVar("DataSetT", bound=DataSet)


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
        self._connection = Connection(
            server,
            local_directory,
            domain_number=domain_number,
            transport_specific=transport_specific,
            timeout_s=timeout_s,
        )
        self._gets: dict[type[DataSet], Request[Any]] = {}
        self._status_requests = [self._get_request(kind) for kind in KINDS]

    @property
    def server(self) -> Path:
        """The path of ptp4l's socket."""
        return self._connection.server

    @property
    def rejected(self) -> Rejected:
        """What arrived and was dropped."""
        return self._connection.rejected

    @property
    def connections(self) -> int:
        """How often ptp4l was connected to; grows when it was restarted."""
        return self._connection.count

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
        self._connection.close()

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
        _, answer = await self._connection.exchange(
            [self._get_request(DefaultDataSet), self._get_request(kind)]
        )
        return values(answer)

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
        return collect(await self._connection.exchange(self._status_requests))

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
        (answer,) = await self._connection.exchange([self._get_request(kind)])
        return values(answer)

    async def _ask_one(self, request: Request[DataSetT]) -> DataSetT:
        answer: Answer[DataSetT]
        (answer,) = await self._connection.exchange([request])
        if answer.error is not None:
            raise refusal(answer)
        return answer.value

    def _get_request(self, kind: type[DataSetT]) -> Request[DataSetT]:
        """Return a GET to the clock or to all its ports; the octets are made once."""
        request = self._gets.get(kind)
        if request is None:
            request = self._gets[kind] = self._request(kind)
        return request

    def _request(
        self,
        kind: type[DataSetT],
        *,
        action: ManagementAction = ManagementAction.GET,
        value: DataSet | None = None,
        port: int = ALL_PORTS,
        source_port: int = REQUESTS_PORT,
    ) -> Request[DataSetT]:
        return Request(
            kind,
            PortIdentity(self._connection.identity, source_port),
            action=action,
            value=value,
            port=port,
            domain_number=self._connection.domain_number,
            transport_specific=self._connection.transport_specific,
        )

    def add_sink(self, sink: NotificationSink) -> int:
        """Give a subscription a port number of its own."""
        return self._connection.add_sink(sink)

    def remove_sink(self, port: int) -> None:
        """Take the port number back."""
        self._connection.remove_sink(port)


def values(answer: Answer[DataSetT]) -> list[tuple[PortIdentity, DataSetT]]:
    """Return who sent what, by port number; raises `ToolFailed` for a refusal."""
    if answer.error is not None:
        raise refusal(answer)
    return [(source, value) for _, (_, source, value) in sorted(answer.values.items())]


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
