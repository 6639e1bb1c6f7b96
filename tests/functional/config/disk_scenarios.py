"""What the store does on a disk of its own, full or read-only. Not a test itself: it mounts.

Run in a private mount namespace: `unshare --mount python disk_scenarios.py NAME DIRECTORY`.
"""

import os
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel

from chronovisor.config import Change, Clocks, Commit, ConfigStore, Registry, SqliteBackend
from chronovisor.errors import Unavailable

KEY = "host/test/sample"
FULL, READ_ONLY = "no space is left on its disk", "its disk is read-only"


class Sample(BaseModel):
    rate: int
    text: str = ""


class Disk:
    """A small tmpfs with a store on it."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.path = directory / "config.db"
        self.boot_ns = 0
        run("mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(directory))

    def open(self) -> ConfigStore:
        registry = Registry()
        registry.register(KEY, Sample, description="A sample")
        clocks = Clocks(boot_ns=lambda: self.boot_ns)
        return ConfigStore(SqliteBackend(self.path), registry, clocks=clocks)

    def fill(self) -> None:
        descriptor = os.open(self.directory / "filler", os.O_WRONLY | os.O_CREAT)
        try:
            while True:
                os.write(descriptor, bytes(4096))
        except OSError:
            pass  # now it is full
        finally:
            os.close(descriptor)

    def make_room(self) -> None:
        (self.directory / "filler").unlink()

    def remount(self, how: str) -> None:
        run("mount", "-o", f"remount,{how}", str(self.directory))


def run(*argv: str) -> None:
    subprocess.run(argv, check=True)


def put(store: ConfigStore, value: int, text: str = "", **more: Any) -> Commit:
    return store.commit([Change(KEY, {"rate": value, "text": text})], author="a", **more)


def refused(disk: Disk, reason: str, attempt: Callable[[], object]) -> None:
    with pytest.raises(Unavailable) as caught:
        attempt()
    assert str(disk.path) in caught.value.message
    assert reason in caught.value.message
    assert caught.value.hint


def holds(store: ConfigStore, value: int, revision: int) -> None:
    entry = store.get(KEY)
    assert entry
    assert (entry.value["rate"], store.revision) == (value, revision)
    assert len(store.history()) == revision


def full(disk: Disk) -> None:
    heard: list[int] = []
    with closing(disk.open()) as store:
        put(store, 1)
        store.subscribe(lambda commit: heard.append(commit.revision))
        disk.fill()
        for _ in range(3):
            refused(disk, FULL, lambda: put(store, 2, "x" * 100_000))
            holds(store, 1, 1)
        assert heard == []
        disk.make_room()
        put(store, 3, "x" * 100_000)
        holds(store, 3, 2)
        assert heard == [2]
        assert store.alarms == ()
    with closing(disk.open()) as store:
        holds(store, 3, 2)


def full_at_start(disk: Disk) -> None:
    with closing(disk.open()) as store:
        put(store, 1)
    disk.fill()
    with closing(disk.open()) as store:
        holds(store, 1, 1)
        (alarm,) = store.alarms
        assert alarm.kind == "read_only"
        assert FULL in alarm.message
        refused(disk, FULL, lambda: put(store, 2, "x" * 100_000))
        holds(store, 1, 1)
        disk.make_room()
        put(store, 2)
        holds(store, 2, 2)
        assert store.alarms == ()


def full_while_damaged(disk: Disk) -> None:
    with closing(disk.open()) as store:
        put(store, 1, "x" * 20_000)
        put(store, 2, "x" * 20_000)
    os.truncate(disk.path, 5000)
    disk.fill()
    with closing(disk.open()) as store:
        holds(store, 2, 2)
        refused(disk, FULL, lambda: put(store, 3, "x" * 20_000))
        disk.make_room()
        put(store, 3)
        assert [c.kind for c in store.history()] == ["set", "recovery", "set", "set"]
        assert store.alarms[0].kind == "recovered"


def trial_ends_on_a_full_disk(disk: Disk) -> None:
    with closing(disk.open()) as store:
        put(store, 1)
        put(store, 2, "x" * 100_000, try_s=60)
        disk.fill()
        disk.boot_ns += 61 * 10**9
        store.expire()  # its room was kept
        holds(store, 1, 3)
        assert store.trial is None


def trial_ends_after_a_restart_on_a_full_disk(disk: Disk) -> None:
    with closing(disk.open()) as store:
        put(store, 1)
        put(store, 2, try_s=60)
    disk.fill()
    disk.boot_ns += 61 * 10**9
    with closing(disk.open()) as store:
        assert "trial_overdue" in [alarm.kind for alarm in store.alarms]
        refused(disk, FULL, store.expire)
        disk.make_room()
        store.expire()
        holds(store, 1, 3)
        assert store.alarms == ()


def read_only_at_start(disk: Disk) -> None:
    with closing(disk.open()) as store:
        put(store, 1)
    disk.remount("ro")
    with closing(disk.open()) as store:
        holds(store, 1, 1)
        (alarm,) = store.alarms
        assert alarm.kind == "read_only"
        assert READ_ONLY in alarm.message
        refused(disk, READ_ONLY, lambda: put(store, 2))
        holds(store, 1, 1)
        disk.remount("rw")
        put(store, 2)
        holds(store, 2, 2)
        assert store.alarms == ()


def read_only_while_running(disk: Disk) -> None:
    # A file system with writers cannot be remounted read-only; a read-only bind mount over it can.
    with closing(disk.open()) as store:
        put(store, 1)
        run("mount", "--bind", str(disk.directory), str(disk.directory))
        disk.remount("ro,bind")
        refused(disk, READ_ONLY, lambda: put(store, 2))
        holds(store, 1, 1)
        run("umount", str(disk.directory))
        put(store, 2)
        holds(store, 2, 2)


def read_only_with_a_log(disk: Disk) -> None:
    with closing(disk.open()) as store:
        put(store, 1)
        put(store, 2)
        kept = {p: p.read_bytes() for p in disk.directory.glob("config.db*") if p.is_file()}
    for file, data in kept.items():  # as a killed writer leaves them
        file.write_bytes(data)
    disk.remount("ro")
    with closing(disk.open()) as store:
        holds(store, 2, 2)


def read_only_while_damaged(disk: Disk) -> None:
    with closing(disk.open()) as store:
        put(store, 1)
    os.truncate(disk.path, 5000)
    disk.remount("ro")
    with closing(disk.open()) as store:
        holds(store, 1, 1)
        refused(disk, READ_ONLY, lambda: put(store, 2))


def read_only_and_nothing_there(disk: Disk) -> None:
    disk.remount("ro")
    refused(disk, READ_ONLY, disk.open)


if __name__ == "__main__":
    globals()[sys.argv[1]](Disk(Path(sys.argv[2])))
