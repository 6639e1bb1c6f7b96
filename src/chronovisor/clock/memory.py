"""What of the clock's state outlives visord: whether, and by whom, it was synchronized.

It is kept in the run directory, so that a boot forgets it. A restarted visord that finds the same
grandmaster needs one offset instead of several, and can tell holdover from never synchronized.
"""

import json
from pathlib import Path

from chronovisor.clock.daemons import write
from chronovisor.clock.state import Memory, Verdict
from chronovisor.errors import Unavailable


class MemoryFile:
    """The memory on disk, written when the clock's state changes."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def read(self, now_s: float) -> Memory:
        """Return what was known; nothing where the file is missing or damaged.

        A clock that was synchronized when visord died counts as synchronized until now.
        """
        try:
            content = json.loads(self._path.read_text(encoding="utf-8"))
            grandmaster = str(content["grandmaster"])
            until_s = content["until_s"]
        except (OSError, ValueError, KeyError, TypeError):
            return Memory()
        if until_s is None:
            return Memory(grandmaster, now_s)
        valid = isinstance(until_s, int | float) and until_s <= now_s  # CLOCK_BOOTTIME of this boot
        return Memory(grandmaster, float(until_s)) if valid else Memory()

    def write(self, memory: Memory, verdict: Verdict) -> None:
        """Keep the memory; raises `Unavailable` where it cannot be written."""
        if memory.grandmaster is None:
            self._forget()
            return
        until_s = None if verdict.state.synchronized else memory.synchronized_until_s
        write(self._path, json.dumps({"grandmaster": memory.grandmaster, "until_s": until_s}))

    def _forget(self) -> None:
        try:
            self._path.unlink(missing_ok=True)
        except OSError as error:
            raise Unavailable(f"cannot remove {self._path}: {error.strerror}") from error
