"""Opening the store's SQLite file: only when it is whole and not from the future."""

import fcntl
import os
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory

from chronovisor.config import sqlite_layout
from chronovisor.config.snapshots import Snapshots, read
from chronovisor.config.sqlite_layout import Damaged, damage_told_apart
from chronovisor.errors import Unavailable

_BUSY_TIMEOUT_S = 10.0
_LOCK_POLL_S = 0.002
_HEADER_LENGTH = 100  # sqlite.org/fileformat2.html section 1.3
_MAGIC = b"SQLite format 3\0"
_USER_VERSION = slice(60, 64)  # big-endian, in the header
_MEMORY_DIRECTORY = Path("/dev/shm")
SIDE_FILES = ("-wal", "-shm")

_REASONS = {
    sqlite3.SQLITE_FULL: "no space is left on its disk",
    sqlite3.SQLITE_READONLY: "it is read-only",
    sqlite3.SQLITE_BUSY: "another program holds it locked",
    sqlite3.SQLITE_LOCKED: "another program holds it locked",
    sqlite3.SQLITE_CANTOPEN: "it cannot be opened",
    sqlite3.SQLITE_IOERR: "its disk reports an input/output error",
}


class NewerLayout(Unavailable):
    """The file was written by a newer Chronovisor."""


@damage_told_apart()
def open_checked(path: Path, snapshots: Snapshots) -> sqlite3.Connection:
    """Return a connection to a file that was proven whole, made or migrated where needed.

    The caller holds the lock. Raises `Damaged`, `NewerLayout`, and `sqlite3.Error` or `OSError`
    when the file cannot be reached or written now.
    """
    if snapshots and not (path.exists() and path.stat().st_size):
        raise Damaged(f"it is {'empty' if path.exists() else 'missing'}, but has snapshots")
    _check_header(path)
    if not path.exists():
        # SQLite gives the files beside it the same mode, and secrets are in all of them.
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
    connection = connect(path)
    try:
        _make_durable(connection)
        _prepare(connection, path, is_new=not snapshots)
        if newer := snapshots.newer_than(sqlite_layout.newest_revision(connection)):
            raise Damaged(f"it has lost commits: a snapshot holds revision {newer}")
    except BaseException:
        connection.close()
        raise
    return connection


def connect(path: Path | str) -> sqlite3.Connection:
    """Return a connection whose transactions are ours to begin and end, usable by any thread."""
    return sqlite3.connect(
        path, timeout=_BUSY_TIMEOUT_S, isolation_level=None, check_same_thread=False
    )


def _make_durable(connection: sqlite3.Connection) -> None:
    mode = connection.execute("PRAGMA journal_mode = WAL").fetchone()[0]
    connection.execute("PRAGMA synchronous = FULL")
    if mode != "wal":
        raise Damaged(f"its header asks for journal mode {mode}")


def _prepare(connection: sqlite3.Connection, path: Path, *, is_new: bool) -> None:
    """Make or migrate the tables and verify them."""
    found = sqlite_layout.version(connection)
    if found > sqlite_layout.VERSION:  # the header said otherwise: it is still in the WAL
        raise newer_layout(path, found)
    if found == 0:
        if not is_new or _has_tables(connection):
            raise Damaged("its header carries no version")
        sqlite_layout.create(connection)
    sqlite_layout.verify_structure(connection)
    if 0 < found < sqlite_layout.VERSION:
        sqlite_layout.migrate(connection)
    sqlite_layout.verify_contents(connection)


def _has_tables(connection: sqlite3.Connection) -> bool:
    return bool(connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()[0])


def _check_header(path: Path) -> None:
    """Look at the file's first bytes without SQLite, which might write to it."""
    try:
        with path.open("rb") as file:
            header = file.read(_HEADER_LENGTH)
    except FileNotFoundError:
        return
    if not header:
        return  # killed right after making the file; SQLite takes it for an empty database
    if len(header) < _HEADER_LENGTH or not header.startswith(_MAGIC):
        raise Damaged("it does not begin like an SQLite file")
    found = int.from_bytes(header[_USER_VERSION], "big")
    if found > sqlite_layout.VERSION:
        raise newer_layout(path, found)


def newer_layout(path: Path, found: int) -> NewerLayout:
    """Return the refusal of a file that a newer Chronovisor wrote."""
    return NewerLayout(
        f"{path} has store version {found}; this Chronovisor knows versions up to "
        f"{sqlite_layout.VERSION}. The file was left as it is",
        hint="install the newer Chronovisor again, or move the file and its .snapshots "
        "directory away to start with an empty store",
    )


def open_in_memory(path: Path, snapshots: Snapshots) -> sqlite3.Connection:
    """Return a private copy in memory of a file that cannot be opened where it lies.

    For a full or read-only disk, where SQLite cannot make the files it needs beside it. A damaged
    file is passed over for the newest good snapshot. Raises `Unavailable` when nothing is left.
    """
    try:
        _check_header(path)
        with TemporaryDirectory(dir=_roomy_directory()) as directory:
            copy = Path(directory, path.name)
            for suffix in ("", "-wal"):
                source = path.with_name(path.name + suffix)
                if source.exists():
                    copy.with_name(copy.name + suffix).write_bytes(source.read_bytes())
            with closing(connect(copy)) as on_disk:
                return _verified_memory(on_disk, path)
    except (Damaged, sqlite3.Error):
        for _, snapshot in snapshots.newest_first():
            image = read(snapshot)
            with suppress(Damaged):
                if image is not None:
                    return open_image(image, path)
        raise Unavailable(
            f"{path} is damaged, has no good snapshot, and its disk cannot be written",
            hint="make the disk writable; the store then starts empty",
        ) from None


def open_image(image: bytes, path: Path) -> sqlite3.Connection:
    """Return a snapshot's bytes as a verified database in memory. Raises `Damaged`."""
    with closing(connect(":memory:")) as raw:
        # A database in memory has no WAL; 1 means rollback journal (fileformat2.html 1.3.3).
        raw.deserialize(image[:18] + b"\x01\x01" + image[20:])
        return _verified_memory(raw, path)


@damage_told_apart()
def _verified_memory(source: sqlite3.Connection, path: Path) -> sqlite3.Connection:
    memory = connect(":memory:")
    try:
        source.backup(memory)
        _prepare(memory, path, is_new=False)
    except BaseException:
        memory.close()
        raise
    return memory


def _roomy_directory() -> Path | None:
    return _MEMORY_DIRECTORY if os.access(_MEMORY_DIRECTORY, os.W_OK) else None


@contextmanager
def exclusive(lock: Path) -> Iterator[None]:
    """Hold the lock file's flock(2), which ends with the process whatever kills it.

    Raises `OSError`; `Unavailable` when another process keeps it for too long.
    """
    descriptor = os.open(lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        deadline = time.monotonic() + _BUSY_TIMEOUT_S
        while not _flocked(descriptor):
            if time.monotonic() > deadline:
                raise Unavailable(
                    f"{lock} is held by another process",
                    hint=f"find it with: fuser {lock}",
                )
            time.sleep(_LOCK_POLL_S)
        yield
    finally:
        os.close(descriptor)


def _flocked(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def unavailable(path: Path, error: sqlite3.Error | OSError) -> Unavailable:
    """Return `error` in an operator's words."""
    return Unavailable(
        f"{path} cannot be written: {reason_of(path, error)}. Nothing was changed",
        hint=f"make {path.parent} writable and leave some room on its disk, then try again",
    )


def reason_of(path: Path, error: sqlite3.Error | OSError) -> str:
    """Return why the file cannot be used; what its disk says comes before what SQLite says."""
    try:
        disk = os.statvfs(path.parent)
    except OSError as missing:
        return str(missing.strerror)
    if disk.f_flag & os.ST_RDONLY:
        return "its disk is read-only"
    if disk.f_bavail == 0:
        return "no space is left on its disk"
    if isinstance(error, OSError):
        return str(error.strerror or error)
    code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_CORRUPT)
    return _REASONS.get(code & 0xFF, str(error))
