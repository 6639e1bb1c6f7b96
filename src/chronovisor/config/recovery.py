"""When the store's file is damaged: set it aside under a dated name, let a snapshot take over.

The order keeps a kill at any moment harmless. First the successor is made, whole and durable,
under a name of its own: with no room for it nothing else happens. Then the write-ahead log of the
damaged file goes (SQLite would replay it into the successor), then the file, then the successor
takes the name. Killed between any two of these, the next start finds a missing or an older file
and does all of it again.
"""

import sqlite3
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

from chronovisor.config import sqlite_layout
from chronovisor.config.records import Alarm, Commit, Kind
from chronovisor.config.snapshots import Snapshots, read, sync_directory, write_durably
from chronovisor.config.sqlite_file import SIDE_FILES, connect, open_image
from chronovisor.config.sqlite_layout import Damaged, with_transaction

AUTHOR = "chronovisor"
_ASIDE = ".damaged-"


def replace_damaged(path: Path, snapshots: Snapshots, damage: Damaged, at_ns: int) -> list[Alarm]:
    """Put the newest good snapshot, or an empty store, where the damaged file is.

    Returns what to tell the operator. Raises `OSError` or `sqlite3.Error` when it cannot be done
    now; the damaged file is then still in its place.
    """
    aside = _free_name(path, at_ns)
    alarms: list[Alarm] = []
    base = _newest_good(path, snapshots, alarms)
    origin = f"revision {base[0]} took over from its snapshot" if base else "the store is empty now"
    kept = f"It was kept as {aside.name}" if path.exists() else "Nothing was left of it"
    story = f"{path.name} was damaged ({damage}). {kept}; {origin}"
    successor = path.with_name(f"{path.name}.recovering")
    _build(successor, base[1] if base else None, _recovery_commit(base, story, at_ns))
    for suffix in (*SIDE_FILES, ""):
        source = path.with_name(path.name + suffix)
        if source.exists():
            source.rename(aside.with_name(aside.name + suffix))
    sync_directory(path.parent)
    successor.rename(path)
    sync_directory(path.parent)
    return [Alarm("recovered" if base else "emptied", story, str(aside)), *alarms]


def files_set_aside(path: Path) -> list[Alarm]:
    """Return an alarm for each damaged file that still lies beside the store."""
    found = sorted(path.parent.glob(f"{path.name}{_ASIDE}*"))
    return [
        Alarm(
            "damaged_file",
            f"{file.name} is a damaged store that was set aside; remove it once examined",
            str(file),
        )
        for file in found
        if not file.name.endswith(SIDE_FILES)
    ]


def _newest_good(
    path: Path, snapshots: Snapshots, alarms: list[Alarm]
) -> tuple[int, sqlite3.Connection] | None:
    """Return the newest snapshot that is whole; damaged ones go aside with an alarm each."""
    for revision, file in snapshots.newest_first():
        image = read(file)
        try:
            if image is None:
                raise Damaged("its bytes are not those that its name vouches for")
            return revision, open_image(image, path)
        except Damaged as damage:
            aside = snapshots.set_aside(file)
            text = f"the snapshot of revision {revision} is damaged and was passed over: {damage}"
            alarms.append(Alarm("damaged_snapshot", text, str(aside)))
    return None


def _recovery_commit(base: tuple[int, sqlite3.Connection] | None, story: str, at_ns: int) -> Commit:
    return Commit((base[0] if base else 0) + 1, at_ns, AUTHOR, story, Kind.RECOVERY, ())


def _build(successor: Path, base: sqlite3.Connection | None, commit: Commit) -> None:
    """Write the file that takes over, with the recovery as its newest revision."""
    if base is None:
        base = connect(":memory:")
        sqlite_layout.create(base)
    with closing(base):
        trial = sqlite_layout.read_state(base).trial
        with_transaction(base, lambda memory: sqlite_layout.append(memory, commit, trial))
        write_durably(successor, base.serialize())


def _free_name(path: Path, at_ns: int) -> Path:
    stamp = datetime.fromtimestamp(at_ns // 10**9, UTC).strftime("%Y%m%dT%H%M%SZ")
    name, count = f"{path.name}{_ASIDE}{stamp}", 1
    while any(path.with_name(candidate).exists() for candidate in (name, f"{name}-wal")):
        count += 1
        name = f"{path.name}{_ASIDE}{stamp}-{count}"
    return path.with_name(name)
