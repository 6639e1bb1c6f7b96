"""What has been seen of a PTP engine: the newest of everything, and what is forgotten when."""

from collections import Counter, deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

from chronovisor.clock.ptp import PortState
from chronovisor.clock.reading import Measurement, Reading
from chronovisor.clock.state import Sample

SAMPLES_KEPT = 64
"""Offsets that the state and the figures shown rest on: 4 s at 16 Hz, a minute at 1 Hz."""

_FOLLOWING = (PortState.UNCALIBRATED, PortState.SLAVE)


@dataclass(slots=True)
class Seen:
    """The newest of everything; `reading` is None while the engine does not answer.

    `outdated` says that events have told of another grandmaster than the reading knows.
    """

    reading: Reading | None = None
    silence: str = "it has not been asked yet"
    samples: deque[Sample] = field(default_factory=lambda: deque(maxlen=SAMPLES_KEPT))
    port_states: dict[int, PortState] = field(default_factory=dict)
    transitions: Counter[int] = field(default_factory=Counter)
    grandmaster: str | None = None
    outdated: bool = False
    _mark: int = 0

    @property
    def master(self) -> str | None:
        """Return the grandmaster that a port follows now.

        ptp4l 3.1.1 with slaveOnly goes on naming a grandmaster whose Announce messages ended; only
        the states of its ports tell.
        """
        follows = any(state in _FOLLOWING for state in self.port_states.values())
        return self.grandmaster if follows else None

    @property
    def calibrated(self) -> bool:
        """Return whether a port follows a master with a clock that this one has set."""
        return PortState.SLAVE in self.port_states.values()

    def take_reading(self, reading: Reading, now_s: float) -> None:
        """Note a full reading."""
        self.reading, self.silence, self.outdated = reading, "", False
        self.take_measurement(reading.measurement, now_s)
        for port in reading.ports:
            self.take_port(port.number, port.state)

    def take_measurement(self, measured: Measurement, now_s: float) -> bool:
        """Note an offset; return whether it is a new one."""
        if measured.grandmaster != self.grandmaster:
            self.grandmaster = measured.grandmaster
            self.outdated = True
            self.samples.clear()  # offsets from another master say nothing about this one
            # What is told of the new master may still carry the old one's last offset.
            self._mark = measured.mark
            return False
        if measured.grandmaster is None or measured.mark in (0, self._mark):
            return False
        self._mark = measured.mark
        if measured.offset_ns == 0 and not self.path_delay_ns:
            return False  # Sync messages arrive, but nothing is computed from them yet
        self.samples.append(Sample(now_s, measured.offset_ns))
        return True

    @property
    def path_delay_ns(self) -> float | None:
        """Return the delay to the master or, where ports measure it one by one (P2P), the peer."""
        if self.reading is None:
            return None
        following = (port for port in self.reading.ports if port.state in _FOLLOWING)
        peer_ns = next((port.peer_mean_path_delay_ns for port in following), 0.0)
        return self.reading.mean_path_delay_ns or peer_ns

    def take_port(self, number: int, state: PortState) -> bool:
        """Note a port's state; return whether it changed."""
        before = self.port_states.get(number)
        if before is state:
            return False
        if before is not None:
            self.transitions[number] += 1
        self.port_states[number] = state
        return True

    def lose(self, reason: str) -> None:
        """Note that the engine does not answer."""
        self.reading, self.silence = None, reason
        self.grandmaster = None
        self.samples.clear()
        self.port_states.clear()


class Observer(Protocol):
    """Watches the program of one engine; `seen` is always the newest of it."""

    @property
    def seen(self) -> Seen:
        """Return what is known now."""

    @property
    def live(self) -> Mapping[str, int]:
        """Return the options that can be set while the program runs, as it has them now.

        Empty while it is silent, and where there are none.
        """

    async def run(self) -> None:
        """Read and listen until cancelled."""

    async def read_once(self) -> None:
        """Read everything now; silence is something seen, not an error."""

    async def set_live(self, option: str, value: int) -> None:
        """Set one of the options of `live`; raises `ToolFailed` or `Unavailable`."""

    def hurry(self) -> None:
        """Forget what was known and read soon: the program has just been started."""
