"""Store versions: what version 1 looked like, and what becomes of it."""

import shutil
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from chronovisor.config import Change, ConfigStore, Registry, SqliteBackend
from chronovisor.config import sqlite_layout as layout
from chronovisor.errors import Unavailable

# Version 1 as it was: no kind of commit, no digests, no trials.
VERSION_1 = """
CREATE TABLE revisions (
    revision INTEGER PRIMARY KEY,
    at_ns INTEGER NOT NULL,
    author TEXT NOT NULL,
    comment TEXT NOT NULL,
    changes TEXT NOT NULL
) STRICT;
CREATE TABLE current_values (
    path TEXT PRIMARY KEY,
    value TEXT NOT NULL,
    revision INTEGER NOT NULL,
    changed_at_ns INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
INSERT INTO revisions VALUES
    (1, 100, 'ann', 'first', '[{"path":"host/test/sample","old":null,"new":{"rate":1}}]'),
    (2, 200, 'bob', '', '[{"path":"host/test/sample","old":{"rate":1},"new":{"rate":2}}]');
INSERT INTO current_values VALUES ('host/test/sample', '{"rate":2}', 2, 200);
PRAGMA application_id = 0x43565253;
PRAGMA user_version = 1;
PRAGMA journal_mode = WAL;
"""


@pytest.fixture
def version_1(tmp_path: Path) -> Path:
    path = tmp_path / "config.db"
    with closing(sqlite3.connect(path)) as connection:
        connection.executescript(VERSION_1)
    return path


def user_version(path: Path) -> int:
    with closing(sqlite3.connect(path)) as connection:
        return int(connection.execute("PRAGMA user_version").fetchone()[0])


def test_version_1_becomes_version_2_with_all_it_holds(version_1: Path, registry: Registry) -> None:
    for _ in range(2):  # the second time there is nothing to migrate
        with closing(ConfigStore(SqliteBackend(version_1), registry)) as store:
            entry = store.get("host/test/sample")
            assert entry
            assert (entry.value, entry.revision, entry.changed_at_ns) == ({"rate": 2}, 2, 200)
            assert [(c.revision, c.author, c.comment, c.kind) for c in store.history()] == [
                (2, "bob", "", "set"),
                (1, "ann", "first", "set"),
            ]
            assert store.alarms == ()
    assert user_version(version_1) == 2
    with closing(ConfigStore(SqliteBackend(version_1), registry)) as store:
        store.commit([Change("host/test/sample", {"rate": 3})], author="cat", try_s=60)
        store.abandon(author="cat")
        store.rollback(1, author="cat")
        assert store.revision == 5


def test_an_empty_version_1_migrates(tmp_path: Path) -> None:
    path = tmp_path / "config.db"
    with closing(sqlite3.connect(path)) as connection:
        connection.executescript(VERSION_1 + "DELETE FROM revisions; DELETE FROM current_values")
    with closing(SqliteBackend(path)) as backend:
        assert backend.load().revision == 0


def test_a_migration_that_fails_leaves_version_1(
    version_1: Path, registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = layout._from_1_to_2

    def fail_at_the_end(connection: sqlite3.Connection) -> None:
        real(connection)
        error = sqlite3.OperationalError("database or disk is full")
        error.sqlite_errorcode = sqlite3.SQLITE_FULL
        raise error

    with monkeypatch.context() as patch:
        patch.setitem(layout._STEPS, 1, fail_at_the_end)
        with pytest.raises(Unavailable):
            SqliteBackend(version_1)
    assert user_version(version_1) == 1
    with closing(ConfigStore(SqliteBackend(version_1), registry)) as store:
        assert store.revision == 2


def tree(directory: Path) -> dict[str, tuple[bytes, Any]]:
    files = (path for path in directory.iterdir() if path.suffix != ".lock")
    return {path.name: (path.read_bytes(), path.stat().st_mtime_ns) for path in files}


def test_a_newer_version_is_refused_and_not_touched(tmp_path: Path, registry: Registry) -> None:
    path = tmp_path / "config.db"
    with closing(ConfigStore(SqliteBackend(path), registry)) as store:
        store.commit([Change("host/test/sample", {"rate": 1})], author="a")
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA user_version = 3")
        connection.commit()
    before = tree(tmp_path / "config.db.snapshots"), path.read_bytes(), path.stat().st_mtime_ns
    with pytest.raises(Unavailable) as caught:
        SqliteBackend(path)
    assert str(path) in caught.value.message
    assert "version 3; this Chronovisor knows versions up to 2" in caught.value.message
    assert "install the newer Chronovisor" in str(caught.value.hint)
    after = tree(tmp_path / "config.db.snapshots"), path.read_bytes(), path.stat().st_mtime_ns
    assert after == before
    assert sorted(p.name for p in tmp_path.iterdir()) == [
        "config.db",
        "config.db.lock",
        "config.db.snapshots",
    ]


def test_a_newer_version_still_in_the_log_is_refused_too(
    tmp_path: Path, registry: Registry
) -> None:
    path = tmp_path / "config.db"
    with closing(ConfigStore(SqliteBackend(path), registry)) as store:
        store.commit([Change("host/test/sample", {"rate": 1})], author="a")
    with closing(sqlite3.connect(path)) as newer:
        newer.execute("PRAGMA wal_autocheckpoint = 0")
        newer.execute("PRAGMA user_version = 9")
        newer.commit()
        with pytest.raises(Unavailable, match="version 9"):
            SqliteBackend(path)


def test_what_a_killed_newer_version_left_is_not_touched(
    tmp_path: Path, registry: Registry
) -> None:
    path = tmp_path / "new" / "config.db"
    with closing(ConfigStore(SqliteBackend(tmp_path / "config.db"), registry)) as store:
        store.commit([Change("host/test/sample", {"rate": 1})], author="a")
    with closing(sqlite3.connect(tmp_path / "config.db")) as newer:
        newer.execute("PRAGMA user_version = 9")
        newer.commit()
        newer.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        newer.execute("CREATE TABLE of_the_future (x)")
        newer.commit()
        path.parent.mkdir()
        for suffix in ("", "-wal"):
            shutil.copy(tmp_path / f"config.db{suffix}", path.parent)
    before = tree(path.parent)
    assert before["config.db-wal"][0]
    with pytest.raises(Unavailable, match="version 9"):
        SqliteBackend(path)
    assert tree(path.parent) == before


def test_files_are_private(tmp_path: Path, registry: Registry) -> None:
    directory = tmp_path / "new" / "state"
    with closing(ConfigStore(SqliteBackend(directory / "config.db"), registry)) as store:
        store.commit([Change("host/test/sample", {"token": "s"})], author="a")
        for path in directory.rglob("*"):
            assert path.stat().st_mode & 0o077 == 0, path
    assert directory.stat().st_mode & 0o077 == 0
