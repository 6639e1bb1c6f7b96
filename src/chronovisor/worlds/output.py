"""What a world writes to stdout and stderr: from a FIFO into a bounded log and to watchers.

The world has the FIFO open for reading too (O_RDWR), so without visord it gets no SIGPIPE and
what it writes waits for the next visord; and O_NONBLOCK, so that a full pipe makes it lose lines
(EAGAIN) but never wait: a clock must not stop for its log. The pipe holds 1 MiB.

Weighed and left: a file as the world's output loses nothing, not even the last words of a world
that dies while no visord runs (which the FIFO loses, for nobody holds it any more), but without
visord nothing bounds it, and `/run` is memory. A process beside each world (as conmon does it)
would bound it at about 8 MB each in Python. So the last words are lost in just that case.
"""

import asyncio
import contextlib
import errno
import fcntl
import os
import stat
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path

from chronovisor.worlds.lines import Allowance, LineSplitter, LogLine, LogWatch
from chronovisor.worlds.spec import LogLimits

_PIPE_BYTES = 1 << 20  # the most that /proc/sys/fs/pipe-max-size allows by default
_READ_BYTES = 1 << 16
_RATE_BYTES_S = 1 << 20
_BURST_BYTES = 4 << 20
_REMEMBERED_LINES = 20
_WATCH_ROOM = 1000
_F_SETPIPE_SZ = 1031  # linux/fcntl.h; `fcntl.F_SETPIPE_SZ` is there from Python 3.10 on Linux only


class LogFile:
    """A log of `limits.files` files, `path`, `path.1` …, each of at most `limits.max_bytes`."""

    def __init__(self, path: Path, limits: LogLimits) -> None:
        self.limits = limits
        self._path = path
        self._fd = -1
        self._size = 0

    def append(self, lines: list[LogLine]) -> None:
        """Write the lines, rotating where the bound is reached; raise `OSError` if refused."""
        batch: list[bytes] = []
        size = self._open()
        for line in lines:
            data = f"{line}\n".encode()
            if size + len(data) > self.limits.max_bytes and size:
                self._write(b"".join(batch))
                batch.clear()
                self._rotate()
                size = self._open()
            batch.append(data)
            size += len(data)
        self._write(b"".join(batch))

    def tail(self, count: int) -> list[LogLine]:
        """Return the last `count` lines, oldest first."""
        found: list[str] = []
        for path in [self._path, *map(self._older, range(1, self.limits.files))]:
            if len(found) >= count:
                break
            with contextlib.suppress(FileNotFoundError):
                found[:0] = path.read_text("utf-8", "replace").splitlines()
        return [LogLine.parse(line) for line in (found[-count:] if count > 0 else [])]

    def close(self) -> None:
        """Close the file; the next `append` opens it again."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def _open(self) -> int:
        if self._fd < 0:
            flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC
            self._fd = os.open(self._path, flags, 0o640)
            self._size = os.fstat(self._fd).st_size
        return self._size

    def _write(self, data: bytes) -> None:
        while data:
            written = os.write(self._fd, data)
            self._size += written
            data = data[written:]

    def _rotate(self) -> None:
        self.close()
        # From the oldest on: killed in between, a number is missing and no line twice.
        for number in range(self.limits.files - 1, 0, -1):
            with contextlib.suppress(FileNotFoundError):
                self._older(number - 1).replace(self._older(number))
        if self.limits.files == 1:
            self._path.unlink(missing_ok=True)

    def _older(self, number: int) -> Path:
        return self._path.with_name(f"{self._path.name}.{number}") if number else self._path


class Output:
    """Reads one world's FIFO as long as visord runs, whichever processes write to it."""

    def __init__(self, fifo: Path, log: LogFile, now_ns: Callable[[], int]) -> None:
        self.log_problem: str | None = None
        self._fifo = fifo
        self._log = log
        self._now_ns = now_ns
        self._last: deque[LogLine] = deque(maxlen=_REMEMBERED_LINES)
        self._watches: set[LogWatch] = set()
        self._splitter = LineSplitter()
        self._allowance = Allowance(_RATE_BYTES_S, _BURST_BYTES)
        self._flooded = False
        self._fd = -1
        self._pause: asyncio.TimerHandle | None = None
        self._loop = asyncio.get_running_loop()

    def open(self) -> None:
        """Read from now on, what waits in the pipe first; raise `OSError` if that cannot be."""
        if self._fd >= 0:
            return
        if not self._last:
            with contextlib.suppress(OSError):
                self._last.extend(self._log.tail(_REMEMBERED_LINES))
        self._fd = self._open_fifo()
        with contextlib.suppress(PermissionError):  # beyond the user's share of pipe memory
            fcntl.fcntl(self._fd, _F_SETPIPE_SZ, _PIPE_BYTES)
        self._loop.add_reader(self._fd, self._read)

    def try_open(self) -> None:
        """Do as `open` does, and make what stands against it a `log_problem`."""
        try:
            self.open()
        except OSError as error:
            self.log_problem = f"output is not being read: {error}"

    def open_for_world(self, uid: int | None) -> int:
        """Return a new descriptor for a world's stdout and stderr, which the caller closes."""
        self.open()
        fd = self._open_fifo()
        if uid is not None:
            # So that the world may open /dev/stderr, which is this FIFO again.
            os.fchown(fd, uid, -1)
        return fd

    def finish(self) -> None:
        """Take all that a world left which has ended, also the line that it did not end."""
        if self._fd >= 0:
            for _ in range(_PIPE_BYTES // _READ_BYTES + 1):
                if not self._take():
                    break
        self._deliver(self._splitter.finish())

    def close(self) -> None:
        """Stop reading; what the world writes waits in the pipe."""
        self._resume()
        if self._fd >= 0:
            self._loop.remove_reader(self._fd)
            os.close(self._fd)
            self._fd = -1
        self._log.close()

    def end_watches(self) -> None:
        """Tell all watchers that nothing more will come."""
        for watch in list(self._watches):
            watch.close()

    def limit_log(self, limits: LogLimits) -> None:
        """Bound the log so from the next line on."""
        self._log.limits = limits

    def watch(self) -> LogWatch:
        """Return the lines from now on."""
        watch = LogWatch(_WATCH_ROOM, self._watches.discard)
        self._watches.add(watch)
        return watch

    def tail(self, count: int) -> list[LogLine]:
        """Return the last `count` lines; raise `OSError` if the log cannot be read."""
        if count <= len(self._last):
            return list(self._last)[len(self._last) - count :]
        return self._log.tail(count) or list(self._last)

    def last_lines(self) -> tuple[str, ...]:
        """Return the texts of the newest lines, as a `World` shows them."""
        return tuple(line.text for line in self._last)

    def _open_fifo(self) -> int:
        for _ in range(2):
            with contextlib.suppress(FileExistsError):
                os.mkfifo(self._fifo, 0o600)
            fd = os.open(self._fifo, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOFOLLOW)
            if stat.S_ISFIFO(os.fstat(fd).st_mode):
                return fd
            os.close(fd)
            self._fifo.unlink()
        raise OSError(errno.EEXIST, "is not a FIFO", str(self._fifo))

    def _read(self) -> None:
        count = self._take()
        wait_s = self._allowance.take(time.monotonic(), count)
        if wait_s > 0:
            if not self._flooded:
                self._flooded = True
                self._deliver([f"chronovisor: more than {_RATE_BYTES_S} bytes/s, lines get lost"])
            self._loop.remove_reader(self._fd)
            self._pause = self._loop.call_later(wait_s, self._resume)
        elif count < _READ_BYTES:
            self._flooded = False

    def _resume(self) -> None:
        if self._pause is not None:
            self._pause.cancel()
            self._pause = None
            self._loop.add_reader(self._fd, self._read)

    def _take(self) -> int:
        try:
            data = os.read(self._fd, _READ_BYTES)
        except BlockingIOError:
            return 0
        self._deliver(self._splitter.feed(data))
        return len(data)

    def _deliver(self, texts: list[str]) -> None:
        if not texts:
            return
        now_ns = self._now_ns()
        lines = [LogLine(now_ns, text) for text in texts]
        self._last.extend(lines)
        for watch in self._watches:
            watch.put(lines)
        try:
            self._log.append(lines)
            self.log_problem = None
        except OSError as error:  # a full disk must not take a world or visord down
            self.log_problem = f"output is not being written to the log: {error.strerror}"
            self._log.close()
