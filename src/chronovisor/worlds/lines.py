"""Output of worlds as lines: pure pieces without files.

Bytes become lines (`LineSplitter`), lines reach whoever watches (`LogWatch`), and a world that
writes more than anybody could read is slowed down (`Allowance`).
"""

import asyncio
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime

LONGEST_LINE = 8192  # bytes; what is longer continues on the next line


@dataclass(frozen=True, slots=True)
class LogLine:
    """One line of a world's output, without its end.

    `at_ns` is Unix time by the wall clock when visord read it. `lost` counts the lines that one
    watcher missed right before this one, because it was slow.
    """

    at_ns: int
    text: str
    lost: int = 0

    def __str__(self) -> str:
        """Return the line as it stands in the log: RFC 3339 time in UTC, blank, text."""
        whole_s, rest_ns = divmod(self.at_ns, 1_000_000_000)
        stamp = datetime.fromtimestamp(whole_s, UTC).strftime("%Y-%m-%dT%H:%M:%S")
        return f"{stamp}.{rest_ns // 1000:06d}Z {self.text}"

    @classmethod
    def parse(cls, line: str) -> "LogLine":
        """Return the line that was written as `line`; a torn one has time 0."""
        stamp, _, text = line.partition(" ")
        try:
            at = datetime.strptime(stamp, "%Y-%m-%dT%H:%M:%S.%fZ").replace(tzinfo=UTC)
        except ValueError:
            return cls(0, line)
        whole_s = int(at.replace(microsecond=0).timestamp())
        return cls(whole_s * 1_000_000_000 + at.microsecond * 1000, text)


class LineSplitter:
    """Cuts a stream of bytes into lines of text, keeping at most `LONGEST_LINE` bytes back."""

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, data: bytes) -> list[str]:
        """Return the lines that `data` completes."""
        *whole, self._rest = (self._rest + data).split(b"\n")
        lines = [part for line in whole for part in _pieces(line)]
        if len(self._rest) >= LONGEST_LINE:
            *full, self._rest = _pieces(self._rest)
            lines += full
        return [_text(line) for line in lines]

    def finish(self) -> list[str]:
        """Return what stands there without an end of line, which will never come."""
        rest, self._rest = self._rest, b""
        return [_text(rest)] if rest else []


def _pieces(line: bytes) -> list[bytes]:
    if len(line) <= LONGEST_LINE:
        return [line]
    return [line[at : at + LONGEST_LINE] for at in range(0, len(line), LONGEST_LINE)]


def _text(line: bytes) -> str:
    # A log line must stay one line to every reader, and must not steer a terminal.
    text = line.removesuffix(b"\r").decode("utf-8", "replace")
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() or char == "\t" else "\ufffd" for char in text)


class LogWatch:
    """An async iterator over the lines from now on; ends when the world is removed.

    Use it as a context manager, so that it is closed. At most `room` lines wait for a slow reader:
    the oldest are dropped and counted in `LogLine.lost` of the next.
    """

    def __init__(self, room: int, on_close: Callable[["LogWatch"], None]) -> None:
        self._waiting: deque[LogLine] = deque()
        self._room = room
        self._lost = 0
        self._on_close = on_close
        self._open = True
        self._changed = asyncio.Event()

    def put(self, lines: list[LogLine]) -> None:
        """Hand lines over; never waits."""
        self._waiting.extend(lines)
        while len(self._waiting) > self._room:
            self._lost += 1 + self._waiting.popleft().lost
        self._changed.set()

    def close(self) -> None:
        """End the iteration after the lines already there."""
        if self._open:
            self._open = False
            self._changed.set()
            self._on_close(self)

    def __enter__(self) -> "LogWatch":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __aiter__(self) -> "LogWatch":
        return self

    async def __anext__(self) -> LogLine:
        while not self._waiting:
            if not self._open:
                raise StopAsyncIteration
            self._changed.clear()
            await self._changed.wait()
        line, lost, self._lost = self._waiting.popleft(), self._lost, 0
        return replace(line, lost=lost) if lost else line


class Allowance:
    """How many bytes may be read: `rate` a second, up to `burst` after a rest."""

    def __init__(self, rate: int, burst: int) -> None:
        self._rate = rate
        self._burst = burst
        self._left = float(burst)
        self._at_s = 0.0

    def take(self, now_s: float, count: int) -> float:
        """Spend `count` bytes at `now_s`; return how long to wait before the next, in seconds."""
        earned = (now_s - self._at_s) * self._rate
        self._left = min(self._left + max(earned, 0.0), self._burst) - count
        self._at_s = now_s
        if self._left > 0:
            return 0.0
        # Until a quarter of the burst is there again, so that waking up is worth it.
        return (self._burst / 4 - self._left) / self._rate
