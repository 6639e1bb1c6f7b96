"""Being told: what ptp4l pushes, and what it cannot push and is asked for.

    async with client.subscribe(Events.PORT_STATE | Events.TIME_SYNC) as subscription:
        async for event in subscription:
            match event:
                case Notification(port, PortDataSet() as data_set): ...
                case ServerLost(reason): ...

Each release pushes what it knows (`Events`) and accepts the rest in silence: 3.1.1 pushes port
states alone. So TIME_STATUS_NP and PARENT_DATA_SET are also asked for until the first one is
pushed, and a change counts as an event; a reader need not know which of the two it was.

After each (re)connection everything watched is delivered once, changed or not: a reader that has
missed something is right again at once.

The subscription lasts `duration_s` and is renewed when half of that is over. The default is short
on purpose: ptp4l's sends block, and what it pushes to a reader that is stopped (not killed) piles
up in its send buffer, some 200 messages deep. At 16 a second 10 s stay below that.
"""

import asyncio
import time
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass
from types import TracebackType
from typing import Protocol, Self

from chronovisor.clock.ptp.datasets import (
    CmldsInfoNp,
    DataSet,
    ParentDataSet,
    PortDataSet,
    SubscribeEventsNp,
    TimeStatusNp,
)
from chronovisor.clock.ptp.identity import PortIdentity
from chronovisor.clock.ptp.management import ErrorStatus, ManagementMessage
from chronovisor.clock.ptp.vocabulary import Events, ManagementAction
from chronovisor.errors import ChronovisorError, InvalidInput, ProtocolError, Unavailable

_KINDS: dict[Events, type[DataSet]] = {
    Events.PORT_STATE: PortDataSet,
    Events.TIME_SYNC: TimeStatusNp,
    Events.PARENT_DATA_SET: ParentDataSet,
    Events.CMLDS: CmldsInfoNp,
}
_PUSHED: dict[int, type[DataSet]] = {kind.management_id: kind for kind in _KINDS.values()}
# A reader that is this far behind loses the oldest: what is newer says more.
_MOST_WAITING = 1024


@dataclass(frozen=True, slots=True)
class Notification:
    """A data set as it is now. `port` sent it; port number 0 speaks for the whole clock."""

    port: PortIdentity
    value: DataSet
    received_monotonic_s: float


@dataclass(frozen=True, slots=True)
class ServerLost:
    """ptp4l is gone or silent; what was known is old until the next notification."""

    reason: str


Event = Notification | ServerLost


class _Asker(Protocol):
    """What a subscription needs of the client."""

    @property
    def connections(self) -> int: ...

    async def subscribe_port(self, port: int, value: SubscribeEventsNp) -> SubscribeEventsNp: ...

    async def subscription_of(self, port: int) -> SubscribeEventsNp: ...

    async def get_from(self, kind: type[DataSet]) -> list[tuple[PortIdentity, DataSet]]: ...

    def add_sink(self, sink: "Subscription") -> int: ...

    def remove_sink(self, port: int) -> None: ...


class Subscription:
    """One subscription; an async context manager and an async iterator of events.

    With `deliver` given, it is called with each event as it arrives, which saves a task switch,
    and nothing is kept for iteration. `dropped` counts what a slow reader has lost.
    """

    def __init__(
        self,
        client: _Asker,
        events: Events,
        *,
        duration_s: int,
        poll_interval_s: float,
        check_interval_s: float,
        deliver: Callable[[Event], None] | None,
    ) -> None:
        if not events or not 1 <= duration_s <= 0xFFFF:
            raise InvalidInput("a subscription needs an event and 1 to 65535 s")
        self.dropped = 0
        self.renewals = 0
        self._client = client
        self._events = events
        self._duration_s = duration_s
        self._poll_interval_s = poll_interval_s
        self._check_interval_s = min(check_interval_s, duration_s / 2)
        self._deliver = deliver or self._keep
        self._waiting: deque[Event] = deque(maxlen=_MOST_WAITING)
        self._arrived = asyncio.Event()
        self._pushed: set[type[DataSet]] = set()
        self._newest: dict[tuple[type[DataSet], int], DataSet] = {}
        self._pushed_meanwhile: set[tuple[type[DataSet], int]] = set()
        self._connection = 0
        self._lost = False
        self._task: asyncio.Task[None] | None = None
        self.port = 0

    async def __aenter__(self) -> Self:
        self.port = self._client.add_sink(self)
        self._task = asyncio.create_task(self._run(), name="ptp-subscription")
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._task is not None:
            self._task.cancel()
            with suppress(asyncio.CancelledError):
                await self._task
        # Cancel politely; a ptp4l that is gone has forgotten us anyway.
        with suppress(ChronovisorError):
            if not self._lost:
                await self._client.subscribe_port(self.port, SubscribeEventsNp(0, Events(0)))
        self._client.remove_sink(self.port)

    async def granted(self) -> SubscribeEventsNp:
        """Return what ptp4l says it pushes to us and for how long; errors as for `get`."""
        return await self._client.subscription_of(self.port)

    def __aiter__(self) -> AsyncIterator[Event]:
        return self

    async def __anext__(self) -> Event:
        while not self._waiting:
            if self._task is not None and self._task.done():
                self._task.result()  # a fault of ours must not look like silence
                raise StopAsyncIteration
            self._arrived.clear()
            await self._arrived.wait()
        return self._waiting.popleft()

    def _keep(self, event: Event) -> None:
        if len(self._waiting) == _MOST_WAITING:
            self.dropped += 1
        self._waiting.append(event)
        self._arrived.set()

    def notified(self, message: ManagementMessage) -> None:
        """Take what ptp4l has pushed; raises `ProtocolError` for anything else."""
        kind = _PUSHED.get(message.management_id)
        if kind is None or isinstance(message.body, ErrorStatus):
            raise ProtocolError(f"0x{message.management_id:04x} is no notification")
        if message.action is not ManagementAction.RESPONSE:
            raise ProtocolError(f"a notification with action {message.action.name}")
        value = kind.unpack(message.body)
        self._pushed.add(kind)
        key = kind, message.source.port_number
        self._newest[key] = value
        self._pushed_meanwhile.add(key)
        self._deliver(Notification(message.source, value, time.monotonic()))

    async def _run(self) -> None:
        try:
            await self._keep_subscribed()
        finally:
            self._arrived.set()

    async def _keep_subscribed(self) -> None:
        renew_at = poll_at = check_at = 0.0
        while True:
            now = time.monotonic()
            try:
                if self._lost or now >= renew_at or self._client.connections != self._connection:
                    await self._subscribe()
                    renew_at = now + self._duration_s / 2
                if now >= check_at:
                    await self._ask(self._unpushed(Events.PARENT_DATA_SET) or [PortDataSet])
                    check_at = now + self._check_interval_s
                if now >= poll_at:
                    await self._ask(self._unpushed(Events.TIME_SYNC))
                    poll_at = now + self._poll_interval_s
            except Unavailable as reason:
                self._lose(reason)
                renew_at = check_at = poll_at = 0.0
                await asyncio.sleep(self._poll_interval_s)
                continue
            polls = bool(self._unpushed(Events.TIME_SYNC))
            next_at = min(renew_at, check_at, poll_at if polls else check_at)
            await asyncio.sleep(max(0.0, next_at - time.monotonic()))

    async def _subscribe(self) -> None:
        wanted = SubscribeEventsNp(self._duration_s, self._events)
        await self._client.subscribe_port(self.port, wanted)
        self.renewals += 1
        if self._lost or self._client.connections != self._connection:
            self._connection = self._client.connections
            self._lost = False
            self._pushed.clear()
            self._newest.clear()
            await self._ask(
                _KINDS[e] for e in Events if e in self._events and e is not Events.CMLDS
            )

    def _unpushed(self, event: Events) -> list[type[DataSet]]:
        kind = _KINDS[event]
        return [kind] if event in self._events and kind not in self._pushed else []

    async def _ask(self, kinds: Iterable[type[DataSet]]) -> None:
        """Read data sets and deliver those that differ from the newest known."""
        for kind in kinds:
            self._pushed_meanwhile.clear()
            for port, value in await self._client.get_from(kind):
                key = kind, port.port_number
                # What was pushed while we waited is newer than the answer.
                if key not in self._pushed_meanwhile and self._newest.get(key) != value:
                    self._newest[key] = value
                    if any(_KINDS[e] is kind for e in Events if e in self._events):
                        self._deliver(Notification(port, value, time.monotonic()))

    def _lose(self, reason: Unavailable) -> None:
        if not self._lost:
            self._lost = True
            self._deliver(ServerLost(reason.message))
