"""The store in one SQLite file: WAL, every commit on the disk before it counts.

Beside `config.db` lie `config.db.snapshots/` and `config.db.lock`. All writers of all processes
take the lock, so that setting a damaged file aside cannot race with a commit into it.

On a disk that is full or read-only at start, the data is served from a copy in memory and commits
are refused; each attempt looks whether the disk has come back.
"""

import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from itertools import islice
from pathlib import Path

from chronovisor.config import sqlite_layout
from chronovisor.config.backend import StaleRevision
from chronovisor.config.keys import KeyPath
from chronovisor.config.records import Alarm, Commit, State, TrialRecord
from chronovisor.config.recovery import files_set_aside, replace_damaged
from chronovisor.config.snapshots import Snapshots
from chronovisor.config.sqlite_file import (
    exclusive,
    open_checked,
    open_in_memory,
    reason_of,
    unavailable,
)
from chronovisor.config.sqlite_layout import Damaged, with_transaction
from chronovisor.errors import Unavailable


class SqliteBackend:
    """The `Backend` in a file at `path`; opening it proves it whole or recovers it.

    Raises `Unavailable` when the file is from a newer Chronovisor, or cannot be read at all.
    """

    def __init__(self, path: Path | str, *, wall_ns: Callable[[], int] = time.time_ns) -> None:
        self._path = Path(path)
        self._lock_path = self._path.with_name(f"{self._path.name}.lock")
        self._snapshots = Snapshots(self._path.with_name(f"{self._path.name}.snapshots"))
        self._wall_ns = wall_ns
        self._mutex = threading.RLock()
        self._connection: sqlite3.Connection | None = None
        self._inode: tuple[int, int] | None = None  # of the open file; None for the copy in memory
        self._story: list[Alarm] = []  # what happened while opening
        self._read_only: Alarm | None = None
        self._snapshot_failure: Alarm | None = None
        with self._mutex, self._failures_told():
            self._open_for_reading()

    @property
    def name(self) -> str:
        """The file's path."""
        return str(self._path)

    @property
    def alarms(self) -> tuple[Alarm, ...]:
        """What happened to the file, what lies beside it, whether it can be written."""
        told = {alarm.path for alarm in self._story}
        aside = (alarm for alarm in files_set_aside(self._path) if alarm.path not in told)
        now = (alarm for alarm in (self._read_only, self._snapshot_failure) if alarm)
        return (*now, *self._story, *aside)

    def token(self) -> str:
        """Return the newest revision's digest."""
        with self._reading() as connection:
            return sqlite_layout.token(connection)

    def load(self) -> State:
        """Return everything in force."""
        with self._reading() as connection:
            return sqlite_layout.read_state(connection)

    def history(
        self, *, path: KeyPath | None = None, newer_than: int = 0, limit: int | None = None
    ) -> list[Commit]:
        """Return commits, newest first; with `path` those that changed it."""
        with self._reading() as connection:
            return list(islice(sqlite_layout.read_history(connection, path, newer_than), limit))

    def commit(self, commit: Commit, trial: TrialRecord | None, *, after: str) -> str:
        """Store a commit durably, or nothing of it; see `Backend.commit`."""

        def write(connection: sqlite3.Connection) -> str:
            if sqlite_layout.token(connection) != after:
                newest = sqlite_layout.newest_revision(connection)
                raise StaleRevision(f"{self.name} has changed and is at revision {newest}")
            sqlite_layout.append(connection, commit, trial)
            return sqlite_layout.token(connection)

        try:
            with self._writing() as connection:
                token = with_transaction(connection, write)
                if trial:
                    _keep_room(connection)
                return token
        except Unavailable:
            # When only the last fsync failed, the commit may be in the log all the same.
            state = self.load()
            if state.newest != commit:
                raise
            return state.token

    def snapshot(self) -> None:
        """Keep a copy of the file unless its newest revision has one."""
        try:
            with self._writing() as connection:
                self._save_snapshot(connection)
        except Unavailable as error:
            self._snapshot_failure = Alarm("snapshot_failed", error.message, self.name)

    def close(self) -> None:
        """Close the file; SQLite then folds its write-ahead log into it."""
        with self._mutex:
            if self._connection:
                self._connection.close()
            self._connection, self._inode = None, None

    def _save_snapshot(self, connection: sqlite3.Connection) -> None:
        newest = sqlite_layout.newest_revision(connection)
        kept = next(self._snapshots.newest_first(), (0, None))[0]
        try:
            if newest not in (0, kept):
                self._snapshots.save(newest, connection.serialize())
            self._snapshot_failure = None
        except OSError as error:
            text = f"no snapshot was written: {reason_of(self._path, error)}"
            self._snapshot_failure = Alarm("snapshot_failed", text, self.name)

    @contextmanager
    def _reading(self) -> Iterator[sqlite3.Connection]:
        with self._mutex, self._failures_told():
            moved = self._inode is not None and self._inode != self._inode_now()
            yield self._open_for_reading() if moved or not self._connection else self._connection

    @contextmanager
    def _writing(self) -> Iterator[sqlite3.Connection]:
        with self._mutex, self._failures_told(), exclusive(self._lock_path):
            if self._inode is None or self._inode != self._inode_now():
                self._open()
            assert self._connection
            yield self._connection

    @contextmanager
    def _failures_told(self) -> Iterator[None]:
        """Turn errors of disk and SQLite into `Unavailable`, and open anew next time.

        After a failed write the open file is in doubt: its last pages may or may not have reached
        the disk. Opening it again settles that.
        """
        try:
            yield
        except (sqlite3.Error, OSError) as error:
            if self._inode is not None:
                self.close()
            raise unavailable(self._path, error) from error
        except Damaged as damage:  # again, right after it was replaced
            raise Unavailable(
                f"{self._path} is damaged and its successor too: {damage}",
                hint="check the disk; the damaged files lie beside it",
            ) from damage

    def _open_for_reading(self) -> sqlite3.Connection:
        try:
            self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            with exclusive(self._lock_path):
                self._open()
        except (sqlite3.Error, OSError) as error:
            self._open_copy(error)
        assert self._connection
        return self._connection

    def _open(self) -> None:
        """Open the file for writing, recovered if need be; the lock is held."""
        try:
            connection = open_checked(self._path, self._snapshots)
        except Damaged as damage:
            now_ns = self._wall_ns()
            self._story += replace_damaged(self._path, self._snapshots, damage, now_ns)
            connection = open_checked(self._path, self._snapshots)
        self.close()
        self._connection, self._inode, self._read_only = connection, self._inode_now(), None
        self._save_snapshot(connection)  # of a commit whose writer was killed before its own

    def _open_copy(self, error: sqlite3.Error | OSError) -> None:
        if not self._path.exists() and not self._snapshots:
            raise unavailable(self._path, error) from error
        self._connection = open_in_memory(self._path, self._snapshots)
        text = f"{self._path} cannot be written: {reason_of(self._path, error)}"
        self._read_only = Alarm(
            "read_only", f"{text}. Settings stay as they are; changes are refused", self.name
        )

    def _inode_now(self) -> tuple[int, int] | None:
        """Return what tells whether the path still names the file that is open."""
        try:
            status = self._path.stat()
        except FileNotFoundError:
            return None
        return status.st_dev, status.st_ino


def _keep_room(connection: sqlite3.Connection) -> None:
    """Fold the log into the file, so that the next commit overwrites it instead of adding to it.

    What ends a trial writes about as much as what began it. So the old values come back even if
    the disk is full by then.
    """
    with suppress(sqlite3.Error):  # the commit stands either way
        connection.execute("PRAGMA wal_checkpoint(PASSIVE)")
