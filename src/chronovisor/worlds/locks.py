"""Locks that worlds share: of those with the same one, a single world has a process at a time.

What takes and holds a lock is `launcher.take_lock`, in the process that becomes the world's, so
nothing here can give one away. This only reads who has it.
"""

import json
from pathlib import Path

from chronovisor.errors import Unavailable
from chronovisor.worlds.process import Identity


class Locks:
    """The lock files of one host, `directory`/NAME; they stay, for the file is the lock."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def path(self, name: str) -> Path:
        """Return where a lock's file is (or will be); raise `Unavailable` if it cannot be."""
        try:
            self._directory.mkdir(mode=0o755, parents=True, exist_ok=True)
        except OSError as error:
            raise Unavailable(f"cannot make {self._directory}: {error.strerror}") from error
        return self._directory / name

    def holder(self, name: str) -> Identity | None:
        """Return the process that took the lock last, None if none did or it does not say."""
        try:
            document = json.loads((self._directory / name).read_bytes())
            return Identity(
                int(document["pid"]), int(document["start_ticks"]), str(document["boot_id"])
            )
        except (OSError, ValueError, KeyError, TypeError):
            return None
