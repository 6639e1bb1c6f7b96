"""What the running ptp4l says of itself, read from its data sets and pushed events.

A full reading comes once in `POLL_S`; offsets and port states are pushed by ptp4l as they change
(SUBSCRIBE_EVENTS_NP), so nothing is missed between readings and nothing is asked more often.
"""

import asyncio
import contextlib
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from chronovisor.clock.kernel_clock import boottime_s
from chronovisor.clock.ptp import (
    Event,
    Events,
    ManagementClient,
    Notification,
    PortState,
    ServerLost,
    Status,
)
from chronovisor.clock.ptp.datasets import PortDataSet, TimeStatusNp
from chronovisor.clock.state import Sample
from chronovisor.errors import ProtocolError, ToolFailed, Unavailable

POLL_S = 1.0
"""How often everything is read: what is shown is never older, and one reading costs about 1 ms."""

SAMPLES_KEPT = 64
"""Offsets that the state and the figures shown rest on: 4 s at 16 Hz, a minute at 1 Hz."""

TIMEOUT_S, SILENCE_S = 1.0, 1.5
"""How long an answer may take, and how long ptp4l may be silent before what it said counts as lost.
A ptp4l that died is noticed at once by its world, not by this."""

HURRY_S, RETRY_S = 2.0, 0.05
"""For how long a ptp4l that has just been started is asked more often, and how often: it answers
within a tenth of a second."""

OFFSETS_S = 0.25
"""How often offsets are asked for where ptp4l cannot push them (3.1.1): enough to see a change of
the clock's state within a second, whatever the rate of Sync messages."""


_FOLLOWING = (PortState.UNCALIBRATED, PortState.SLAVE)


@dataclass(slots=True)
class Seen:
    """The newest of everything; `reading` is None while ptp4l does not answer.

    `outdated` says that events have told of another grandmaster than the reading knows.
    """

    reading: Status | None = None
    silence: str = "ptp4l has not been asked yet"
    samples: deque[Sample] = field(default_factory=lambda: deque(maxlen=SAMPLES_KEPT))
    port_states: dict[int, PortState] = field(default_factory=dict)
    transitions: Counter[int] = field(default_factory=Counter)
    grandmaster: str | None = None
    outdated: bool = False
    _ingress_time_ns: int = 0

    @property
    def master(self) -> str | None:
        """Return the grandmaster that a port follows now.

        ptp4l 3.1.1 with slaveOnly goes on naming a grandmaster whose Announce messages ended; only
        the states of its ports tell.
        """
        follows = any(state in _FOLLOWING for state in self.port_states.values())
        return self.grandmaster if follows else None

    def take_reading(self, reading: Status, now_s: float) -> None:
        """Note a full reading."""
        self.reading, self.silence, self.outdated = reading, "", False
        self.take_time_status(reading.time_status, now_s)
        for port in reading.ports:
            self.take_port(port.data_set)

    def take_time_status(self, status: TimeStatusNp, now_s: float) -> bool:
        """Note an offset; return whether it is a new one."""
        grandmaster = str(status.grandmaster_identity) if status.grandmaster_present else None
        if grandmaster != self.grandmaster:
            self.grandmaster = grandmaster
            self.outdated = True
            self.samples.clear()  # offsets from another master say nothing about this one
            # A time status of the new master may still carry the old one's last offset.
            self._ingress_time_ns = status.ingress_time_ns
            return False
        if grandmaster is None or status.ingress_time_ns in (0, self._ingress_time_ns):
            return False
        self._ingress_time_ns = status.ingress_time_ns
        if status.master_offset_ns == 0 and not self.path_delay_ns:
            return False  # Sync messages arrive, but nothing is computed from them yet
        self.samples.append(Sample(now_s, float(status.master_offset_ns)))
        return True

    @property
    def path_delay_ns(self) -> float | None:
        """Return the delay to the master or, where ports measure it one by one (P2P), the peer."""
        if self.reading is None:
            return None
        following = (p.data_set for p in self.reading.ports if p.data_set.port_state in _FOLLOWING)
        peer_ns = next((port.peer_mean_path_delay_ns for port in following), 0.0)
        return self.reading.current.mean_path_delay_ns or peer_ns

    def take_port(self, port: PortDataSet) -> bool:
        """Note a port's state; return whether it changed."""
        number = port.port_identity.port_number
        before = self.port_states.get(number)
        if before is port.port_state:
            return False
        if before is not None:
            self.transitions[number] += 1
        self.port_states[number] = port.port_state
        return True

    def lose(self, reason: str) -> None:
        """Note that ptp4l does not answer."""
        self.reading, self.silence = None, reason
        self.grandmaster = None
        self.samples.clear()
        self.port_states.clear()


class Observer:
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
        # A grandmaster known from before lets its first offset count, see `take_time_status`.
        self.seen = Seen(grandmaster=grandmaster)
        self.client = ManagementClient(
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
        async with self.client, asyncio.TaskGroup() as tasks:
            tasks.create_task(self._read())
            tasks.create_task(self._listen())

    async def read_once(self) -> None:
        """Read everything now; ptp4l not answering is something seen, not an error."""
        try:
            self.seen.take_reading(await self.client.status(), boottime_s())
            self._answered_at_s = boottime_s()
        except (Unavailable, ToolFailed, ProtocolError) as error:
            self._silent(error.message)
        self._changed()

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
        async with self.client.subscribe(wanted, poll_interval_s=OFFSETS_S, deliver=self._take):
            await asyncio.Event().wait()

    def _take(self, event: Event) -> None:
        match event:
            case Notification(value=TimeStatusNp() as status):
                news = self.seen.take_time_status(status, boottime_s())
            case Notification(value=PortDataSet() as port):
                news = self.seen.take_port(port)
            case ServerLost(reason):
                self._silent(reason)
                news = True
            case _:
                news = False
        if self.seen.outdated:
            self._hurried.set()
        if news:
            self._changed()
