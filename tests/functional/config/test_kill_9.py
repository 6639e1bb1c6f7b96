"""kill -9 at any moment of a commit: old or new value, history whole, trial consistent."""

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel

from chronovisor.config import ConfigStore, Registry, SqliteBackend
from chronovisor.config.records import undone

SERVER = Path(__file__).with_name("crash_server.py")
PATHS = ("host/test/sample/a", "host/test/sample/b")
RANDOM_KILLS = 250
KILLS_PER_POINT = 10
POINTS = (
    "sql:inside",
    "sql:before BEGIN",
    "sql:after BEGIN",
    "sql:before INSERT OR REPLACE INTO current",
    "sql:after INSERT OR REPLACE INTO current",
    "sql:before INSERT INTO revisions",
    "sql:after INSERT INTO revisions",
    "sql:before COMMIT",
    "sql:after COMMIT",
    "call:fsync",
    "call:replace",
    "call:unlink",
)


class Sample(BaseModel):
    rate: int


class CrashServer:
    """The process that forks victims; see crash_server.py."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, str(SERVER)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            bufsize=1,
        )

    def kill_one(self, path: Path, *, point: str = "", hit: int = 0, after_s: float = 0) -> None:
        """Let a child commit until it is killed: at a point, or by us after a time."""
        assert self._process.stdin
        self._process.stdin.write(
            json.dumps({"path": str(path), "point": point, "hit": hit}) + "\n"
        )
        pid = int(self._line())
        timer = threading.Timer(after_s if not point else 30, os.kill, (pid, signal.SIGKILL))
        timer.start()
        answer = self._line()
        assert answer == "dead", answer
        assert not (point and timer.finished.is_set()), f"{point} was never passed"
        timer.cancel()

    def close(self) -> None:
        self._process.communicate(timeout=60)

    def _line(self) -> str:
        assert self._process.stdout
        return self._process.stdout.readline().strip()


@pytest.fixture(scope="module")
def server() -> Iterator[CrashServer]:
    with closing(CrashServer()) as server:
        yield server


@pytest.fixture
def registry() -> Registry:
    registry = Registry()
    registry.register("host/test/sample", Sample, instances=True, description="A sample")
    return registry


def acknowledged(path: Path) -> tuple[int, int]:
    """Return revision and rate of the last commit that was reported done."""
    lines = path.with_name(f"{path.name}.acknowledged").read_text().splitlines()
    if not lines:
        return 0, 0
    revision, rate = lines[-1].split()
    return int(revision), int(rate)


def check(path: Path, registry: Registry, before: int) -> int:
    """Open what the killed process left and judge it; return its revision for the next time."""
    with closing(ConfigStore(SqliteBackend(path), registry)) as store:
        assert store.alarms == ()
        history = store.history(limit=None)
        assert [c.revision for c in history] == list(range(store.revision, 0, -1))
        values = {entry.path: entry.value for entry in store.entries()}
        assert undone(values, history) == {}, "the history leads from nothing to what is there"
        rates = {value["rate"] for value in values.values()}
        assert len(values) in (0, len(PATHS)), "both keys or none"
        assert len(rates) <= 1, "never half a change"
        done_revision, _ = acknowledged(path)
        # Between a report and a kill at most a trial's end and the next commit can be done.
        assert done_revision <= store.revision <= max(before, done_revision) + 2
        check_trial(store, history)
        return store.revision


def check_trial(store: ConfigStore, history: Any) -> None:
    trial = store.trial
    assert (trial is not None) == (bool(history) and on_trial(history[0]))
    if trial:
        assert (trial.revision, trial.base_revision) == (store.revision, store.revision - 1)


def on_trial(commit: Any) -> bool:
    """Say whether this commit began a trial: the victim tries every third rate."""
    if commit.kind != "set":
        return False
    return bool(commit.changes[0].new["rate"] % 3 == 0)


def test_killed_at_random_moments(
    server: CrashServer, registry: Registry, tmp_path: Path, record_property: Any
) -> None:
    chance = random.Random(20)
    path = tmp_path / "config.db"
    revision = 0
    for kill in range(RANDOM_KILLS):
        if kill % 50 == 0:  # a young store and an old one both
            shutil.rmtree(tmp_path)
            tmp_path.mkdir()
            path.with_name(f"{path.name}.acknowledged").touch()
            revision = 0
        server.kill_one(path, after_s=chance.uniform(0.0, 0.04))
        revision = check(path, registry, revision)
    record_property("kills", RANDOM_KILLS)


@pytest.mark.parametrize("point", POINTS)
def test_killed_at_a_chosen_point(
    server: CrashServer, registry: Registry, tmp_path: Path, point: str
) -> None:
    chance = random.Random(point)
    path = tmp_path / "config.db"
    path.with_name(f"{path.name}.acknowledged").touch()
    revision = 0
    for kill in range(KILLS_PER_POINT):
        hit = chance.randrange(2000) if point == "sql:inside" else kill
        server.kill_one(path, point=point, hit=hit)
        revision = check(path, registry, revision)
    assert revision > 0


def test_a_trial_whose_owner_was_killed_expires(
    server: CrashServer, registry: Registry, tmp_path: Path
) -> None:
    path = tmp_path / "config.db"
    path.with_name(f"{path.name}.acknowledged").touch()
    chance = random.Random(3)
    for _ in range(200):
        server.kill_one(path, after_s=chance.uniform(0.02, 0.05))
        with closing(ConfigStore(SqliteBackend(path), registry)) as store:
            if trial := store.trial:
                before = store.history(limit=1)[0].changes[0].old
                store.expire(trial.deadline_boot_ns)
                entry = store.get(PATHS[0])
                assert (entry and entry.value) == before
                assert store.trial is None
                return
    pytest.fail("no victim died during a trial")


@pytest.mark.parametrize(
    ("point", "hits"), [("call:rename", 2), ("call:fsync", 8), ("sql:inside", 8)]
)
def test_killed_while_recovering(
    server: CrashServer, registry: Registry, tmp_path: Path, point: str, hits: int
) -> None:
    """However often recovery is killed, the next start ends it and nothing is lost."""
    good = tmp_path / "good"
    good.mkdir()
    path = good / "config.db"
    path.with_name(f"{path.name}.acknowledged").touch()
    server.kill_one(path, point="sql:before COMMIT", hit=8)
    revision = check(path, registry, 0)
    for hit in range(hits):
        work = tmp_path / f"{hit}" / "config.db"
        shutil.copytree(good, work.parent)
        with work.open("r+b") as file:
            file.truncate(5000)
        server.kill_one(work, point=point, hit=hit * 13 if point == "sql:inside" else hit)
        with closing(ConfigStore(SqliteBackend(work), registry)) as store:
            history = [c for c in store.history(limit=None) if c.kind != "recovery"]
            assert len(history) >= revision
            assert [a for a in store.alarms if a.kind == "emptied"] == []
            assert undone({e.path: e.value for e in store.entries()}, history) == {}
