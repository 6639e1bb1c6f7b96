"""Writes `ptpd.stats`: a line for each offset measured, in the columns of ptpd 2.3.1's statistics.

Tooling made for ptpd reads it, whichever engine runs. The seventeen columns: local time, state, the
master's port, one way delay, offset from master, slave to master, master to slave (s), observed
drift (ppb), the last packet, mean (s) and deviation (ns) of delay and offset, mean and deviation of
the drift (ppb), and the times of master to slave and slave to master once more, which ptpd has
before its filters. Both engines tell offset and delay; the times of each direction follow from
them (IEEE 1588-2019 clause 11.3), the drift is the kernel's correction with its sign turned.

Only what was measured is written: nothing while no master is followed. A line is written whole; one
that a crash cut off is taken away before the next. The file is begun anew at its bound, the one
before is kept as `ptpd.stats.1`.
"""

import os
import statistics
import time
from collections import deque
from datetime import datetime
from pathlib import Path

from chronovisor.clock.kernel_clock import boottime_s, system_clock_frequency_ppb
from chronovisor.clock.observe import SAMPLES_KEPT, Seen
from chronovisor.clock.ptp import PortIdentity
from chronovisor.clock.settings import StatisticsLogSettings

HEADER = (
    "# Timestamp, State, Clock ID, One Way Delay, Offset From Master, Slave to Master, "
    "Master to Slave, Observed Drift, Last packet Received, One Way Delay Mean, "
    "One Way Delay Std Dev, Offset From Master Mean, Offset From Master Std Dev, "
    "Observed Drift Mean, Observed Drift Std Dev, raw delayMS, raw delaySM\n"
)
_FOLLOWS = "slv"  # offsets are measured while a port follows; ptpd's word for that


class StatisticsLog:
    """The file; `problem` says why it cannot be written, empty while it can."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.problem = ""
        self._written_at_s: float | None = None
        self._delays_ns: deque[float] = deque(maxlen=SAMPLES_KEPT)
        self._drifts_ppb: deque[float] = deque(maxlen=SAMPLES_KEPT)

    def take(self, settings: StatisticsLogSettings, seen: Seen | None) -> None:
        """Write the offsets that are new since the last call."""
        if not settings.enabled:
            self._written_at_s, self.problem = None, ""
            return
        reading = seen.reading if seen else None
        if seen is None or reading is None or seen.outdated or not seen.samples:
            return
        newest_s = seen.samples[-1].at_s
        if self._written_at_s is None:
            self._written_at_s = newest_s  # the visord before may have written this one
        delay_ns, parent = seen.path_delay_ns, reading.parent
        if delay_ns is None or parent is None or newest_s <= self._written_at_s:
            return
        offsets = [sample.offset_ns for sample in seen.samples]
        lines = []
        for place, sample in enumerate(seen.samples, 1):
            if sample.at_s > self._written_at_s:
                self._delays_ns.append(delay_ns)
                self._drifts_ppb.append(-(system_clock_frequency_ppb() or 0.0))
                at_s = time.time() - (boottime_s() - sample.at_s)
                lines.append(self._line(at_s, parent.port, offsets[:place]))
        self._written_at_s = newest_s
        try:
            self._append("".join(lines).encode(), settings.max_size_kib * 1024)
            self.problem = ""
        except OSError as error:
            self.problem = f"{self.path} cannot be written: {error.strerror}"

    def _line(self, at_s: float, parent: PortIdentity, offsets_ns: list[float]) -> str:
        return line(at_s, parent, offsets_ns, list(self._delays_ns), list(self._drifts_ppb))

    def _append(self, data: bytes, most_bytes: int) -> None:
        # One small write to a file system in memory: not worth a thread
        file = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o644)
        try:
            size = _whole(file)
            if size + len(data) > most_bytes and size:
                self.path.rename(f"{self.path}.1")
                os.close(file)
                file = os.open(
                    self.path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o644
                )
                size = 0
            data = data if size else HEADER.encode() + data
            if os.write(file, data) != len(data):
                os.ftruncate(file, size)
                raise OSError(28, "the file system is full")  # ENOSPC
        finally:
            os.close(file)


def line(
    at_s: float,
    parent: PortIdentity,
    offsets_ns: list[float],
    delays_ns: list[float],
    drifts_ppb: list[float],
) -> str:
    """Return a line; the newest of each list is its last and now. `at_s` is Unix time."""
    offset_ns, delay_ns = offsets_ns[-1], delays_ns[-1]
    to_slave, to_master = _signed(delay_ns + offset_ns), _signed(delay_ns - offset_ns)
    identity = parent.clock_identity.hex()
    columns = (
        datetime.fromtimestamp(at_s).strftime("%Y-%m-%d %H:%M:%S.%f"),
        _FOLLOWS,
        f"{identity}(unknown)/{parent.port_number}",
        *(_signed(delay_ns), _signed(offset_ns), to_master, to_slave),
        f"{drifts_ppb[-1]:.9f}",
        "S",
        f"{statistics.fmean(delays_ns) / 1e9:.9f}",
        f"{statistics.pstdev(delays_ns):.0f}",
        f"{statistics.fmean(offsets_ns) / 1e9:.9f}",
        f"{statistics.pstdev(offsets_ns):.0f}",
        f"{statistics.fmean(drifts_ppb):.0f}",
        f"{statistics.pstdev(drifts_ppb):.0f}",
        *(to_slave, to_master),
    )
    return ", ".join(columns) + "\n"


def _signed(value_ns: float) -> str:
    """Return seconds as ptpd writes them: a blank where a minus would be."""
    return f"{value_ns / 1e9: .9f}"


def _whole(file: int) -> int:
    """Take away what a crash left of a last line; return the size."""
    size = os.fstat(file).st_size
    tail = os.pread(file, 4096, max(0, size - 4096))
    if tail and not tail.endswith(b"\n"):
        size -= len(tail) - (tail.rfind(b"\n") + 1)
        os.ftruncate(file, size)
    return size
