"""What happens to the system clock while a test goes on: the truth and its writers, all the time.

Both are sampled by processes of their own, so that a busy test does not leave gaps.
"""

import contextlib
import itertools
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

SAMPLE_S = 0.04
LOOK_S = 0.02
"""How often the truth is sampled, and how often writers are looked for: the two together take a
tenth of an emulated processor, and what they take is missed by the daemons that they watch."""

LOOKS_TOLD = 50
_TESTS = Path(__file__).parents[1]
_KERNEL = ("0", "2")  # kthreadd, and whose parent it is
_PTPD_SETS_NOTHING = {b"-n", b"-v", b"-H", b"-k"}  # ptpd2(8): no adjustment, or only words


@dataclass(frozen=True, slots=True)
class Sample:
    """The system clock minus the reference, less what is expected, at an instant of raw time."""

    raw_ns: int
    offset_ns: int


@dataclass(frozen=True, slots=True)
class Recording:
    """Samples in their order, and the sets of writers that were seen alive together."""

    samples: list[Sample] = field(default_factory=list)
    writers: set[tuple[str, ...]] = field(default_factory=set)
    looks: int = 0

    def worst_ns(self, since: int = 0) -> int:
        """Return the largest offset from a sample on."""
        return max((abs(sample.offset_ns) for sample in self.samples[since:]), default=0)

    def jumps(self, most_ppm: float, slack_ns: int) -> list[tuple[int, int]]:
        """Return (elapsed, change) of neighbours that a clock slewed so fast cannot have."""
        found = []
        for before, after in zip(self.samples, self.samples[1:], strict=False):
            elapsed = after.raw_ns - before.raw_ns
            change = after.offset_ns - before.offset_ns
            if abs(change) > elapsed * most_ppm / 1e6 + slack_ns:
                found.append((elapsed, change))
        return found

    def fastest_ppm(self, over_s: float = 1.0) -> float:
        """Return the largest rate against the reference, over about a second."""
        rates, first = [0.0], 0
        for sample in self.samples:
            while sample.raw_ns - self.samples[first].raw_ns > over_s * 1e9:
                first += 1
            elapsed = sample.raw_ns - self.samples[first].raw_ns
            if elapsed > over_s * 0.9e9:
                change = sample.offset_ns - self.samples[first].offset_ns
                rates.append(abs(change) / elapsed * 1e6)
        return max(rates)


class Recorder:
    """Two processes that sample; `now` is what they have seen so far."""

    def __init__(self, directory: Path) -> None:
        self._truth, self._writers = directory / "truth", directory / "writers"

    @contextlib.contextmanager
    def running(self, reference: str, expected_ns: int) -> Iterator["Recorder"]:
        """Sample while the context lasts."""
        from visords import until  # not for the samplers, which start sooner without

        words = [["truth", str(self._truth), reference, str(expected_ns)]]
        words.append(["writers", str(self._writers)])
        env = {"PYTHONPATH": str(_TESTS)}
        started = [
            subprocess.Popen([sys.executable, "-S", "-m", "hwsim.record", *one], env=env)
            for one in words
        ]
        try:
            until("both sample", lambda: self._truth.exists() and self._writers.exists())
            yield self
        finally:
            for process in started:
                process.kill()
                process.wait()

    def now(self) -> Recording:
        """Return what has been recorded."""
        recording = Recording()
        for line in _lines(self._truth):
            recording.samples.append(Sample(*line))
        looks = 0
        for line in _lines(self._writers):
            looks, *alive = line
            recording.writers.add(tuple(map(str, alive)))
        return Recording(recording.samples, recording.writers, looks)


def _lines(file: Path) -> list[list[int]]:
    whole = file.read_bytes().rpartition(b"\n")[0] if file.exists() else b""
    return [json.loads(line) for line in whole.splitlines()]


def sample_truth(file: Path, reference: str, expected_ns: int) -> None:
    """Write the truth down for ever."""
    from hwsim import truth

    source = os.open(truth.CLOCKS, os.O_RDONLY)
    with file.open("w", buffering=1) as out:
        while True:
            clocks = dict(map(str.split, os.pread(source, 4096, 0).decode().splitlines()))
            offset_ns = int(clocks["realtime"]) - int(clocks[reference]) - expected_ns
            out.write(f"[{clocks['raw']}, {offset_ns}]\n")
            time.sleep(SAMPLE_S)


def sample_writers(file: Path) -> None:
    """Write down for ever who is alive that may set the system clock; from /proc alone.

    Each line has how often has been looked so far, and who was seen then.
    """
    known: dict[str, str] = {}  # by the bare names, for paths cost ten times as much
    told: list[str] | None = None
    with file.open("w", buffering=1) as out:
        for looks in itertools.count(1):
            pids = {name for name in os.listdir("/proc") if name.isdigit()}  # noqa: PTH208
            for pid in known.keys() - pids:
                del known[pid]
            for pid in pids - known.keys():
                what = writer(Path("/proc") / pid)
                if what is not None:
                    known[pid] = what
            alive = sorted(f"{what} {pid}" for pid, what in known.items() if _lives(pid, what))
            if alive != told or looks % LOOKS_TOLD == 0:
                out.write(json.dumps([looks, *alive]) + "\n")
                told = alive
            time.sleep(LOOK_S)


def _lives(pid: str, what: str) -> bool:
    if not what:
        return False
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


def writer(process: Path) -> str | None:
    """Return a process's name if it may set the system clock, "" if not, None if it may become so.

    ptp4l's file is read when its process is first seen: it is written before the process starts.
    """
    try:
        argv = (process / "cmdline").read_bytes().split(b"\0")
        if not argv[0]:  # a thread of the kernel, or a process amid its exec
            parent = (process / "stat").read_text().rpartition(")")[2].split()[1]
            return "" if parent in _KERNEL else None
        name = Path(argv[0].decode()).name
        if name == "chronyd":
            return "" if b"-x" in argv else "chronyd"
        if name == "phc2sys":
            return "phc2sys"
        if name == "ptpd":
            return "" if _PTPD_SETS_NOTHING & set(argv) else "ptpd"
        if name == "ptp4l" and b"-f" in argv:
            text = Path(argv[argv.index(b"-f") + 1].decode()).read_bytes()
            steers = b"time_stamping software" in text and b"free_running 0" in text
            return "ptp4l" if steers else ""
    except (OSError, IndexError, ValueError):
        return None
    # A launcher is a Python that becomes the program; everything else stays what it is.
    return None if name.startswith("python") else ""


if __name__ == "__main__":
    if sys.argv[1] == "truth":
        sample_truth(Path(sys.argv[2]), sys.argv[3], int(sys.argv[4]))
    else:
        sample_writers(Path(sys.argv[2]))
