"""The system clock beside the NIC's clock that it is carried along from; read, never set.

With hardware time stamps ptp4l speaks of the NIC's clock alone. Whether the system clock has that
time, too, is a second question, and the kernel answers it without phc2sys (linux/ptp_clock.h,
PTP_SYS_OFFSET_EXTENDED).
"""

from collections.abc import Callable
from dataclasses import dataclass

from chronovisor.clock.daemon_seen import Daemon
from chronovisor.clock.preflight.phc import Phc
from chronovisor.clock.reading import TimeProperties
from chronovisor.clock.settings import Discipline, SystemTime, TimeStamping
from chronovisor.errors import ToolFailed

READ_S = 0.5
"""How old a comparison may be: a clock that left its time is told of that much later at most."""


@dataclass(frozen=True, slots=True)
class Carried:
    """What is known of the system clock and of the daemon that carries it along.

    `offset_ns` is the system clock minus the NIC's clock, both as UTC, wrong by `error_ns` at most;
    None with the reason in `unknown`.
    """

    daemon: Daemon = Daemon.RUNNING
    daemon_reason: str = ""
    offset_ns: float | None = None
    error_ns: float = 0.0
    unknown: str = "it has not been compared with the NIC's clock yet"

    @property
    def known(self) -> bool:
        """Return whether the offset is known now."""
        return self.offset_ns is not None

    @property
    def at_least_ns(self) -> float:
        """Return by how much the system clock is off for certain; 0 while that is not known."""
        return max(0.0, abs(self.offset_ns or 0.0) - self.error_ns)


def is_carried(settings: SystemTime) -> bool:
    """Return whether these settings have the system clock follow a NIC's clock."""
    ports = settings.ptp_config.active_ports()
    hardware = any(port.time_stamping is TimeStamping.HARDWARE for port in ports)
    return settings.discipline is Discipline.SYSTEM_CLOCK and hardware


def utc_offset_s(settings: SystemTime, properties: TimeProperties) -> int | None:
    """Return by how much the NIC's clock is ahead of UTC, None while that is not known.

    As phc2sys has it: its option -O, or currentUtcOffset where the grandmaster has PTP's timescale.
    """
    given = settings.options.phc2sys.get("O")
    if given is not None:
        return -int(str(given), 0)
    return properties.utc_offset_s if properties.ptp_timescale else 0


class Comparison:
    """Compares the system clock with a NIC's clock, no more often than is of use."""

    def __init__(self, now_s: Callable[[], float]) -> None:
        self._now_s = now_s
        self._taken_s: float | None = None
        self._of: tuple[int | None, int | None] = (None, None)
        self._found: tuple[float | None, float, str] = (None, 0.0, "")

    def take(
        self, phc_index: int | None, utc_offset_s: int | None
    ) -> tuple[float | None, float, str]:
        """Return the offset and its possible error in ns, and why it is not known."""
        asked, now_s = (phc_index, utc_offset_s), self._now_s()
        if asked != self._of or self._taken_s is None or now_s - self._taken_s >= READ_S:
            self._of, self._taken_s = asked, now_s
            self._found = _compare(phc_index, utc_offset_s)
        return self._found


def _compare(phc_index: int | None, utc_offset_s: int | None) -> tuple[float | None, float, str]:
    if phc_index is None:
        return None, 0.0, "the NIC that ptp4l follows shows no clock"
    if utc_offset_s is None:
        return None, 0.0, "the grandmaster's offset from UTC is not known"
    try:
        with Phc(phc_index) as clock:
            offset_ns, error_ns = clock.beside_system_clock()
    except ToolFailed as error:  # unplugged, or not for us to see
        return None, 0.0, error.message
    return offset_ns + utc_offset_s * 1_000_000_000, float(error_ns), ""
