"""Forks a process that commits for each line it reads, to be killed. Not a test itself.

Everything is imported once; a fork starts at once. A line on standard input is a JSON object:
`path` of the store, `point` (where the child kills itself, or "" to wait for the parent's kill)
and `hit` (at which passing of that point). The answer is the child's pid, then, when it is
dead, "dead". The child writes each finished commit's `rate` to `path` + ".acknowledged".
"""

import json
import os
import signal
import sqlite3
import sys
from collections.abc import Callable
from itertools import count
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from chronovisor.config import Change, ConfigStore, Registry, SqliteBackend
from chronovisor.config.sqlite_layout import Damaged

PATHS = ("host/test/sample/a", "host/test/sample/b")


class Sample(BaseModel):
    rate: int


def registry() -> Registry:
    registry = Registry()
    registry.register("host/test/sample", Sample, instances=True, description="A sample")
    return registry


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def countdown(hit: int) -> Callable[[], None]:
    left = count(hit, -1)
    return lambda: die() if next(left) == 0 else None


class Traced(sqlite3.Connection):
    """A connection that may die in the middle of SQLite's work."""

    passed: Callable[[], None] = staticmethod(lambda: None)
    before: str | None = None

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        if Traced.before is None:
            # Some way into a statement: every 20 instructions of SQLite's own machine.
            self.set_progress_handler(lambda: Traced.passed(), 20)

    def execute(self, sql: str, *arguments: Any) -> sqlite3.Cursor:
        word = Traced.before
        if word and word.startswith("before ") and sql.startswith(word[7:]):
            Traced.passed()
        cursor = super().execute(sql, *arguments)
        if word and word.startswith("after ") and sql.startswith(word[6:]):
            Traced.passed()
        return cursor


def arm(point: str, hit: int) -> None:
    """Make this process kill itself when it passes `point` for the `hit`th time (from 0)."""
    passed = countdown(hit)
    kind, _, name = point.partition(":")
    if kind == "sql":
        Traced.passed = passed
        Traced.before = None if name == "inside" else name
        real_connect = sqlite3.connect

        def connect(*arguments: Any, **named: Any) -> sqlite3.Connection:
            return real_connect(*arguments, factory=Traced, **named)

        setattr(sqlite3, "connect", connect)  # noqa: B010 - mypy would not have it assigned
    elif kind == "call":
        real = getattr(os, name)

        def deadly(*arguments: Any, **named: Any) -> Any:
            passed()
            return real(*arguments, **named)

        setattr(os, name, deadly)


def commit_for_ever(path: Path) -> None:
    store = ConfigStore(SqliteBackend(path), registry())
    with path.with_name(f"{path.name}.acknowledged").open("a", buffering=1) as acknowledged:
        entry = store.get(PATHS[0])
        for rate in count(entry.value["rate"] + 1 if entry else 1):
            if store.trial:
                store.abandon(author="crash") if rate % 2 else store.confirm(author="crash")
            changes = [Change(key, {"rate": rate}) for key in PATHS]
            store.commit(changes, author="crash", try_s=600 if rate % 3 == 0 else None)
            acknowledged.write(f"{store.revision} {rate}\n")


def serve() -> None:
    for line in sys.stdin:
        order = json.loads(line)
        pid = os.fork()
        if pid == 0:
            try:
                if order["point"]:
                    arm(order["point"], order["hit"])
                commit_for_ever(Path(order["path"]))
            except (Exception, Damaged) as error:  # noqa: BLE001 - whatever it was, the test wants to know
                print(f"failed: {error!r}", flush=True)
            finally:
                os._exit(1)
        print(pid, flush=True)
        os.waitpid(pid, 0)
        print("dead", flush=True)


if __name__ == "__main__":
    serve()
