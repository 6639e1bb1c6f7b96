"""What the running ptpd says of itself: its status file once a second, its statistics at once.

Silence is when the status file is not rewritten: ptpd does that whatever its port does. A file that
is half-written changes nothing, the one before holds.
"""

import asyncio
import os
import time
from collections.abc import Callable, Mapping

from chronovisor.clock.kernel_clock import boottime_s
from chronovisor.clock.observe import Seen
from chronovisor.clock.ptpd import statistics, status_file
from chronovisor.clock.ptpd.paths import Paths
from chronovisor.clock.ptpd.reading import Newest, reading
from chronovisor.clock.ptpd.statistics import Line
from chronovisor.clock.ptpd.tail import Tail
from chronovisor.errors import ProtocolError, ToolFailed

POLL_S = 0.25
"""How often the files are looked at; two calls of stat while nothing is new."""

SILENCE_S = 3.0
"""How long the status file, due every second, may stay as it is."""

OLD_S = 2.5
"""Age of a line above which it is no news to a visord that has just started."""

_Stamp = tuple[int, int, int]


class PtpdObserver:
    """Watches one ptpd; `seen` is always the newest, `changed` is called on it."""

    def __init__(
        self, paths: Paths, *, grandmaster: str | None, changed: Callable[[], None]
    ) -> None:
        self.seen = Seen(grandmaster=grandmaster, silence="ptpd has not been heard of yet")
        self._paths = paths
        self._changed = changed
        self._tail = Tail(paths.statistics, statistics.MAX_LINE_BYTES)
        self._lock = asyncio.Lock()
        self._newest = Newest()
        self._stamp: _Stamp | None = None
        self._written_at_s: float | None = None
        self._trouble = ""
        self._begun = False

    @property
    def live(self) -> Mapping[str, int]:
        """Return nothing: ptpd reads its settings at its start."""
        return {}

    async def set_live(self, option: str, value: int) -> None:
        """Set nothing; raises `ToolFailed`."""
        raise ToolFailed(f"{option} {value} cannot be set in a running ptpd")

    async def run(self) -> None:
        """Read for ever."""
        try:
            while True:
                await self.read_once()
                await asyncio.sleep(POLL_S)
        finally:
            self._tail.close()

    async def read_once(self) -> None:
        """Read what is new in both files; that there is nothing is seen, not an error."""
        async with self._lock:
            status, lines = await asyncio.to_thread(lambda: (self._status(), self._tail.lines()))
            # The status first: a line may tell of what came after it
            news = self._take_status(status) if status is not None else self._silent()
            for line in lines:
                news = self._take_line(line) or news
            self._begun = True
        if news:
            self._changed()

    def hurry(self) -> None:
        """Forget what was known: ptpd has just been started, and has written nothing yet."""
        self.seen.lose("ptpd has just been started")
        self._written_at_s = None
        self._begun = True

    def _status(self) -> bytes | None:
        """Return the status file if it was written since the last look."""
        try:
            found = self._paths.status.stat()
            stamp = (found.st_ino, found.st_mtime_ns, found.st_size)
            if stamp == self._stamp or not found.st_size:
                return None
            first, self._stamp = self._stamp is None, stamp
            if first and abs(time.time() - found.st_mtime) > SILENCE_S:
                return None  # of a ptpd that is gone, or does nothing
            file = os.open(self._paths.status, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
            try:
                return os.read(file, status_file.MAX_BYTES + 1)
            finally:
                os.close(file)
        except OSError:
            return None

    def _take_status(self, data: bytes) -> bool:
        try:
            status = status_file.parse(data)
        except ProtocolError as error:
            self._trouble = error.message
            return self._silent()
        if status is None:
            self._stamp = (0, 0, 0)  # half-written: look again
            return self._silent()
        self._trouble, self._written_at_s = "", boottime_s()
        self.seen.take_reading(reading(status, self._newest), boottime_s())
        return True

    def _silent(self) -> bool:
        """Take silence for what it is once it lasts; return whether that is news."""
        if self.seen.reading is None and not self._trouble:
            return False
        if self._written_at_s is not None and boottime_s() - self._written_at_s <= SILENCE_S:
            return False
        reason = f"ptpd has not written its status for {SILENCE_S:g} s"
        self.seen.lose(self._trouble or reason)
        return True

    def _take_line(self, data: bytes) -> bool:
        try:
            line = statistics.parse(data)
        except ProtocolError:
            return False  # cut off by a crash or a full disk; the next one is whole
        if line is None or (at_s := self._heard_at_s(line)) is None:
            return False
        news = line.state is not None and self.seen.take_port(1, line.state)
        if line.offset_ns is not None:
            self._newest = Newest(line.parent, line.offset_ns, line.at_ns)
            news = self.seen.take_measurement(self._newest.measurement, at_s) or news
        return news

    def _heard_at_s(self, line: Line) -> float | None:
        """Return when a line was written, on CLOCK_BOOTTIME; None for one of long ago.

        Lines have times of day. One that has just appeared is at most as old as our last look.
        """
        age_s = time.time() - line.at_ns / 1e9
        if self._begun:
            return boottime_s() - (age_s if 0 <= age_s <= 2 * POLL_S else 0.0)
        return boottime_s() - age_s if 0 <= age_s <= OLD_S else None
