"""What the running ptp4l says of itself, read from its data sets and pushed events.

A full reading comes once in `POLL_S`; offsets and port states are pushed by ptp4l as they change
(SUBSCRIBE_EVENTS_NP), so nothing is missed between readings and nothing is asked more often.
"""

import asyncio
import contextlib
from collections.abc import Callable, Mapping
from pathlib import Path

from chronovisor.clock.kernel_clock import boottime_s
from chronovisor.clock.linuxptp.reading import measurement, reading
from chronovisor.clock.observe import Seen
from chronovisor.clock.ptp import (
    Event,
    Events,
    ManagementClient,
    Notification,
    ServerLost,
)
from chronovisor.clock.ptp.datasets import PortDataSet, Priority1, Priority2, TimeStatusNp
from chronovisor.errors import ProtocolError, ToolFailed, Unavailable

POLL_S = 1.0
"""How often everything is read: what is shown is never older, and one reading costs about 1 ms."""

TIMEOUT_S, SILENCE_S = 1.0, 1.5
"""How long an answer may take, and how long ptp4l may be silent before what it said counts as lost.
A ptp4l that died is noticed at once by its world, not by this."""

HURRY_S, RETRY_S = 2.0, 0.05
"""For how long a ptp4l that has just been started is asked more often, and how often: it answers
within a tenth of a second."""

OFFSETS_S = 0.25
"""How often offsets are asked for where ptp4l cannot push them (3.1.1): enough to see a change of
the clock's state within a second, whatever the rate of Sync messages."""

_LIVE = {"priority1": Priority1, "priority2": Priority2}
"""Options that PTP management sets in a running ptp4l (IEEE 1588-2019 clause 15.5.3.3)."""


class Ptp4lObserver:
    """Watches one ptp4l until cancelled; `seen` is always the newest, `changed` is called on it."""

    def __init__(
        self,
        server: Path,
        *,
        domain_number: int,
        transport_specific: int,
        grandmaster: str | None,
        changed: Callable[[], None],
    ) -> None:
        # A grandmaster known from before lets its first offset count, see `take_measurement`.
        self.seen = Seen(grandmaster=grandmaster, silence="ptp4l has not been asked yet")
        self._client = ManagementClient(
            server,
            local_directory=server.parent,
            domain_number=domain_number,
            transport_specific=transport_specific,
            timeout_s=TIMEOUT_S,
        )
        self._changed = changed
        self._hurried = asyncio.Event()
        self._hurry_until_s = 0.0
        self._answered_at_s = 0.0

    async def run(self) -> None:
        """Read and listen for ever."""
        async with self._client, asyncio.TaskGroup() as tasks:
            tasks.create_task(self._read())
            tasks.create_task(self._listen())

    async def read_once(self) -> None:
        """Read everything now; ptp4l not answering is something seen, not an error."""
        try:
            self.seen.take_reading(reading(await self._client.status()), boottime_s())
            self._answered_at_s = boottime_s()
        except (Unavailable, ToolFailed, ProtocolError) as error:
            self._silent(error.message)
        self._changed()

    @property
    def live(self) -> Mapping[str, int]:
        """Return the options that can be set in the running ptp4l, as it has them."""
        own = self.seen.reading.own if self.seen.reading else None
        values = {name: getattr(own, name) for name in _LIVE} if own else {}
        return {name: value for name, value in values.items() if value is not None}

    async def set_live(self, option: str, value: int) -> None:
        """Set one option. Raises `ToolFailed` if ptp4l refuses, `Unavailable` if it is silent."""
        await self._client.set(_LIVE[option](value))

    def _silent(self, reason: str) -> None:
        """Take silence for what it is once it lasts: on a busy host an answer may be late."""
        if boottime_s() - self._answered_at_s > SILENCE_S:
            self.seen.lose(reason)

    def hurry(self) -> None:
        """Read at once, and often until there is an answer: ptp4l has just been started.

        What an earlier ptp4l said is forgotten.
        """
        self.seen.lose("ptp4l has just been started")
        self._hurry_until_s = boottime_s() + HURRY_S
        self._hurried.set()

    async def _read(self) -> None:
        while True:
            await self.read_once()
            waiting = self.seen.reading is None and boottime_s() < self._hurry_until_s
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(RETRY_S if waiting else POLL_S):
                    await self._hurried.wait()
            self._hurried.clear()

    async def _listen(self) -> None:
        wanted = Events.PORT_STATE | Events.TIME_SYNC
        async with self._client.subscribe(wanted, poll_interval_s=OFFSETS_S, deliver=self._take):
            await asyncio.Event().wait()

    def _take(self, event: Event) -> None:
        match event:
            case Notification(value=TimeStatusNp() as status):
                news = self.seen.take_measurement(measurement(status), boottime_s())
            case Notification(value=PortDataSet() as port):
                news = self.seen.take_port(port.port_identity.port_number, port.port_state)
            case ServerLost(reason):
                self._silent(reason)
                news = True
            case _:
                news = False
        if self.seen.outdated:
            self._hurried.set()
        if news:
            self._changed()
