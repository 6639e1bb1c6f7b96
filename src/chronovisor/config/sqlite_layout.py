"""Tables of the store's SQLite file, their versions, and how one proves that they are whole.

SQLite checks its own structure and not our bytes: a flipped bit in a value reads like a value. So
each revision carries a digest that covers the revision before it and everything in force after
it. Whatever changes behind our back, anywhere in the history or the current values, no longer
matches.

Version 1: `revisions (revision, at_ns, author, comment, changes)` and `current_values`.
Version 2: revisions have a kind and digests; a change can be on trial.
"""

import hashlib
import json
import sqlite3
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from types import MappingProxyType
from typing import Any, TypeVar

from chronovisor.config.keys import KeyPath
from chronovisor.config.records import (
    NOTHING_STORED,
    Commit,
    Entry,
    KeyChange,
    Kind,
    State,
    TrialRecord,
)

APPLICATION_ID = 0x43565253  # "CVRS", in the file's header: this is a store of ours
VERSION = 2

_REVISIONS = """CREATE TABLE revisions (
    revision INTEGER PRIMARY KEY,
    at_ns INTEGER NOT NULL,
    author TEXT NOT NULL,
    comment TEXT NOT NULL,
    kind TEXT NOT NULL,
    changes TEXT NOT NULL,  -- JSON: [{"path": ..., "old": ..., "new": ...}]
    state_digest BLOB NOT NULL,
    digest BLOB NOT NULL
) STRICT"""
_CURRENT_VALUES = """CREATE TABLE current_values (
    path TEXT PRIMARY KEY,
    value TEXT NOT NULL,  -- JSON
    revision INTEGER NOT NULL,
    changed_at_ns INTEGER NOT NULL
) STRICT, WITHOUT ROWID"""
_TRIAL = """CREATE TABLE trial (
    id INTEGER PRIMARY KEY CHECK (id = 1),
    base_revision INTEGER NOT NULL,
    revision INTEGER NOT NULL,
    deadline_boot_ns INTEGER NOT NULL,
    boot_id TEXT NOT NULL,
    author TEXT NOT NULL
) STRICT"""

_TABLES = {"revisions": _REVISIONS, "current_values": _CURRENT_VALUES, "trial": _TRIAL}

_COMMIT_COLUMNS = "revision, at_ns, author, comment, kind, changes"


_T = TypeVar("_T")


class Damaged(Exception):
    """The file is not what we wrote; the message says how one can tell."""


def create(connection: sqlite3.Connection) -> None:
    """Make the tables of the newest version in an empty file, at once or not at all."""
    with_transaction(connection, _create)


def _create(connection: sqlite3.Connection) -> None:
    for statement in _TABLES.values():
        connection.execute(statement)
    connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
    connection.execute(f"PRAGMA user_version = {VERSION}")


def version(connection: sqlite3.Connection) -> int:
    """Return the version of the file's tables; 0 for an empty file."""
    return int(connection.execute("PRAGMA user_version").fetchone()[0])


def migrate(connection: sqlite3.Connection) -> None:
    """Bring older tables to `VERSION`, one tested step after another, at once or not at all."""

    def steps(connection: sqlite3.Connection) -> None:
        for older in range(version(connection), VERSION):
            _STEPS[older](connection)
            connection.execute(f"PRAGMA user_version = {older + 1}")

    with_transaction(connection, steps)


def _from_1_to_2(connection: sqlite3.Connection) -> None:
    for table in ("revisions", "current_values"):
        connection.execute(f"ALTER TABLE {table} RENAME TO {table}_1")
    for statement in (_REVISIONS, _CURRENT_VALUES, _TRIAL):
        connection.execute(statement)
    connection.execute("INSERT INTO current_values SELECT * FROM current_values_1")
    digest = b""
    newest = connection.execute("SELECT max(revision) FROM revisions_1").fetchone()[0]
    old_rows = connection.execute(
        "SELECT revision, at_ns, author, comment, 'set', changes FROM revisions_1 ORDER BY revision"
    )
    for row in old_rows:
        # What was in force at older revisions was never digested; only the newest one matters.
        state = state_digest(connection) if row[0] == newest else b""
        digest = digest_of(digest, (*row, state))
        connection.execute(
            "INSERT INTO revisions VALUES (?, ?, ?, ?, ?, ?, ?, ?)", (*row, state, digest)
        )
    connection.execute("DROP TABLE revisions_1")
    connection.execute("DROP TABLE current_values_1")


_STEPS: dict[int, Callable[[sqlite3.Connection], None]] = {1: _from_1_to_2}


def verify_structure(connection: sqlite3.Connection) -> None:
    """Raise `Damaged` unless SQLite finds nothing wrong and the file is a Config Store's."""
    report = [row[0] for row in connection.execute("PRAGMA quick_check(1)")]
    if report != ["ok"]:
        raise Damaged(f"SQLite's quick_check says: {' '.join(str(report[0]).split())}")
    if connection.execute("PRAGMA application_id").fetchone()[0] != APPLICATION_ID:
        raise Damaged("it is not a Config Store")


def verify_contents(connection: sqlite3.Connection) -> None:
    """Raise `Damaged` unless tables, history and all that is in force are as we wrote them."""
    if dict(connection.execute("SELECT name, sql FROM sqlite_schema")) != _TABLES:
        raise Damaged("its tables are not those of a Config Store")
    _verify_digests(connection)


@contextmanager
def damage_told_apart() -> Iterator[None]:
    """Turn SQLite's errors about a wrong file into `Damaged`; others pass."""
    try:
        yield
    except sqlite3.Error as error:
        if not is_damage(error):
            raise
        raise Damaged(str(error)) from error
    except UnicodeDecodeError as error:  # in an error message that quotes damaged bytes
        raise Damaged("SQLite found it malformed") from error


def _verify_digests(connection: sqlite3.Connection) -> None:
    digest, expected, state = b"", 0, None
    for *row, stored in connection.execute("SELECT * FROM revisions ORDER BY revision"):
        expected += 1
        if row[0] != expected:
            raise Damaged(f"revision {expected} is missing from the history")
        digest, state = digest_of(digest, row), row[-1]
        if stored != digest:
            raise Damaged(f"revision {expected} does not match its digest")
    if expected and state != state_digest(connection):
        raise Damaged(f"the current values do not match the digest of revision {expected}")
    if not expected and connection.execute("SELECT count(*) FROM current_values").fetchone()[0]:
        raise Damaged("there are values but no history")


def is_damage(error: sqlite3.Error) -> bool:
    """Say whether SQLite found the file wrong, and not merely out of reach now."""
    code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_CORRUPT)  # undecodable text has none
    if code == sqlite3.SQLITE_IOERR_SHORT_READ:
        return True
    # SQLITE_ERROR: our own tables or columns are not there.
    wrong = (
        sqlite3.SQLITE_CORRUPT,
        sqlite3.SQLITE_NOTADB,
        sqlite3.SQLITE_ERROR,
        sqlite3.SQLITE_FORMAT,
        sqlite3.SQLITE_MISMATCH,
    )
    return code & 0xFF in wrong  # the low byte is the primary code (sqlite.org/rescode.html)


def digest_of(previous: bytes, values: Iterable[Any]) -> bytes:
    """Return the SHA-256 of values after `previous`; each with its type and length."""
    hasher = hashlib.sha256(previous)
    for value in values:
        data = value if isinstance(value, bytes) else str(value).encode()
        hasher.update(f"{type(value).__name__}{len(data)}:".encode())
        hasher.update(data)
    return hasher.digest()


def state_digest(connection: sqlite3.Connection) -> bytes:
    """Return the digest of everything in force: the current values and the trial."""
    digest = b""
    for row in connection.execute("SELECT * FROM current_values ORDER BY path"):
        digest = digest_of(digest, row)
    for row in connection.execute("SELECT * FROM trial"):
        digest = digest_of(digest, row)
    return digest


def newest_revision(connection: sqlite3.Connection) -> int:
    """Return the newest revision; 0 before the first."""
    row = connection.execute("SELECT max(revision) FROM revisions").fetchone()
    return int(row[0] or 0)


def token(connection: sqlite3.Connection) -> str:
    """Return the newest revision's digest as text; it stands for everything before it too."""
    row = connection.execute(
        "SELECT digest FROM revisions ORDER BY revision DESC LIMIT 1"
    ).fetchone()
    return row[0].hex() if row else ""


def append(connection: sqlite3.Connection, commit: Commit, trial: TrialRecord | None) -> None:
    """Write a commit, the values it leaves in force and the trial; inside a transaction."""
    for change in commit.changes:
        if change.new is None:
            connection.execute("DELETE FROM current_values WHERE path = ?", (str(change.path),))
        else:
            connection.execute(
                "INSERT OR REPLACE INTO current_values VALUES (?, ?, ?, ?)",
                (str(change.path), _json(change.new), commit.revision, commit.at_ns),
            )
    connection.execute("DELETE FROM trial")
    if trial:
        connection.execute(
            "INSERT INTO trial VALUES (1, ?, ?, ?, ?, ?)",
            (
                trial.base_revision,
                trial.revision,
                trial.deadline_boot_ns,
                trial.boot_id,
                trial.author,
            ),
        )
    changes = [{"path": str(c.path), "old": c.old, "new": c.new} for c in commit.changes]
    row = (commit.revision, commit.at_ns, commit.author, commit.comment, str(commit.kind))
    sealed = (*row, _json(changes), state_digest(connection))
    previous = connection.execute(
        "SELECT digest FROM revisions WHERE revision = ?", (commit.revision - 1,)
    ).fetchone()
    digest = digest_of(previous[0] if previous else b"", sealed)
    connection.execute("INSERT INTO revisions VALUES (?, ?, ?, ?, ?, ?, ?, ?)", (*sealed, digest))


def read_state(connection: sqlite3.Connection) -> State:
    """Return everything in force, from one read transaction."""

    def read(connection: sqlite3.Connection) -> State:
        rows = connection.execute("SELECT * FROM current_values ORDER BY path").fetchall()
        entries = [Entry(KeyPath.parse(p), json.loads(v), r, at) for p, v, r, at in rows]
        trial = connection.execute(
            "SELECT base_revision, revision, deadline_boot_ns, boot_id, author FROM trial"
        ).fetchone()
        newest = next(read_history(connection), NOTHING_STORED)
        by_path = MappingProxyType({entry.path: entry for entry in entries})
        on_trial = TrialRecord(*trial) if trial else None
        return State(newest.revision, by_path, on_trial, newest, token(connection))

    return with_transaction(connection, read, "BEGIN")


def read_history(
    connection: sqlite3.Connection, path: KeyPath | None = None, newer_than: int = 0
) -> Iterator[Commit]:
    """Yield the commits after revision `newer_than`, newest first; with `path` those of it."""
    # The text search spares decoding most of what does not touch the path; it may find too much.
    rows = connection.execute(
        f"SELECT {_COMMIT_COLUMNS} FROM revisions WHERE revision > ? AND instr(changes, ?) > 0 "
        "ORDER BY revision DESC",
        (newer_than, json.dumps(str(path), ensure_ascii=False) if path else "["),
    )
    for revision, at_ns, author, comment, kind, changes in rows:
        found = tuple(
            KeyChange(KeyPath.parse(c["path"]), c["old"], c["new"]) for c in json.loads(changes)
        )
        if path is None or any(change.path == path for change in found):
            yield Commit(revision, at_ns, author, comment, Kind(kind), found)


def with_transaction(
    connection: sqlite3.Connection,
    work: Callable[[sqlite3.Connection], _T],
    begin: str = "BEGIN IMMEDIATE",
) -> _T:
    """Run `work` in a transaction: all of it or, with any exception, nothing."""
    connection.execute(begin)
    try:
        result = work(connection)
        connection.execute("COMMIT")
    except BaseException:
        # SQLite has rolled back by itself after some errors (full disk); then there is nothing to.
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise
    return result


def _json(value: object) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
