"""What of the clock's state outlives visord: whether, and by whom, it was synchronized.

It is kept in the run directory, so that a boot forgets it. A restarted visord that finds the same
grandmaster needs one offset instead of several, and can tell holdover from never synchronized.
"""

import json
from pathlib import Path

from pydantic import TypeAdapter

from chronovisor.clock.daemons import write
from chronovisor.clock.reading import TimeProperties
from chronovisor.clock.state import Memory, Verdict
from chronovisor.errors import Unavailable

_TIME = TypeAdapter(TimeProperties | None)


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
            master_time = _TIME.validate_python(content.get("master_time"))
        except (OSError, ValueError, KeyError, TypeError):
            return Memory()
        if until_s is None:
            return Memory(grandmaster, now_s, master_time)
        valid = isinstance(until_s, int | float) and until_s <= now_s  # CLOCK_BOOTTIME of this boot
        return Memory(grandmaster, float(until_s), master_time) if valid else Memory()

    def write(self, memory: Memory, verdict: Verdict) -> None:
        """Keep the memory; raises `Unavailable` where it cannot be written."""
        if memory.grandmaster is None:
            self._forget()
            return
        until_s = None if verdict.state.synchronized else memory.synchronized_until_s
        content = {
            "grandmaster": memory.grandmaster,
            "until_s": until_s,
            "master_time": _TIME.dump_python(memory.master_time),
        }
        write(self._path, json.dumps(content))

    def _forget(self) -> None:
        try:
            self._path.unlink(missing_ok=True)
        except OSError as error:
            raise Unavailable(f"cannot remove {self._path}: {error.strerror}") from error
