"""Copies of the whole store beside it: what takes over when the file itself is damaged.

A snapshot is a complete SQLite file, history and all, that any SQLite can open. Its name carries
its revision and the SHA-256 of its bytes, so writing one is a single atomic rename and a damaged
one gives itself away.
"""

import hashlib
import os
import re
from collections.abc import Iterator
from pathlib import Path

KEPT = 5

_NAME = re.compile(r"(\d{10,})-([0-9a-f]{64})\.db\Z")


class Snapshots:
    """The newest few snapshots in one directory; whoever changes it holds the store's lock."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def __bool__(self) -> bool:
        return next(self.newest_first(), None) is not None

    def newest_first(self) -> Iterator[tuple[int, Path]]:
        """Yield revision and path of every snapshot, good or not."""
        try:
            names = [path.name for path in self._directory.iterdir()]
        except (FileNotFoundError, NotADirectoryError):
            return
        found = [(int(match[1]), name) for name in names if (match := _NAME.match(name))]
        for revision, name in sorted(found, reverse=True):
            yield revision, self._directory / name

    def newer_than(self, revision: int) -> int | None:
        """Return the revision of the newest good snapshot if it is above `revision`."""
        for found, path in self.newest_first():
            if found <= revision:
                return None
            if read(path) is not None:
                return found
        return None

    def save(self, revision: int, image: bytes) -> None:
        """Keep `image` as the snapshot of `revision` and drop the oldest. Raises `OSError`."""
        self._directory.mkdir(mode=0o700, exist_ok=True)
        name = f"{revision:010d}-{hashlib.sha256(image).hexdigest()}.db"
        for leftover in self._directory.glob("*.tmp"):  # of a writer that was killed
            leftover.unlink()
        temporary = self._directory / f"{name}.tmp"
        try:
            write_durably(temporary, image)
            temporary.replace(self._directory / name)
        finally:
            temporary.unlink(missing_ok=True)
        sync_directory(self._directory)
        for _, old in list(self.newest_first())[KEPT:]:
            old.unlink()

    def set_aside(self, path: Path) -> Path:
        """Take a damaged snapshot out of the sequence, keeping its bytes; return its new path."""
        aside = path.with_name(f"{path.name}.damaged")
        path.replace(aside)
        return aside


def read(path: Path) -> bytes | None:
    """Return a snapshot's bytes, or `None` when they are not what its name says."""
    match = _NAME.match(path.name)
    try:
        image = path.read_bytes()
    except OSError:
        return None
    return image if match and hashlib.sha256(image).hexdigest() == match[2] else None


def write_durably(path: Path, data: bytes) -> None:
    """Write a private file (mode 0600) and return once it is on the disk."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def sync_directory(path: Path) -> None:
    """Return once the names in a directory are on the disk (fsync(2))."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
