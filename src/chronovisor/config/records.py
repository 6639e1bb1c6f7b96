"""What the store keeps and hands out: entries, commits, trials, alarms; and the pure steps on them.

Times of day are nanoseconds since 1970 (CLOCK_REALTIME) and only for people: this product steps
wall clocks. Deadlines are nanoseconds of CLOCK_BOOTTIME together with the boot they belong to.
"""

import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from pathlib import Path
from types import MappingProxyType
from typing import Any

from chronovisor.config.fields import same
from chronovisor.config.keys import KeyPath
from chronovisor.errors import Unavailable

Value = dict[str, Any]
"""The value of a key: the fields that were given, as JSON."""

_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")  # random(4)


class Kind(StrEnum):
    """Why a commit was made."""

    INITIAL = "initial"  # revision 0: nothing was ever stored
    SET = "set"
    ROLLBACK = "rollback"
    TRIAL_CONFIRMED = "trial_confirmed"
    TRIAL_EXPIRED = "trial_expired"
    TRIAL_ABANDONED = "trial_abandoned"
    IMPORT = "import"
    RECOVERY = "recovery"  # the file was damaged; what follows stands on a snapshot


@dataclass(frozen=True, slots=True)
class Entry:
    """A stored value, the revision that last changed it, and when that was."""

    path: KeyPath
    value: Value
    revision: int
    changed_at_ns: int


@dataclass(frozen=True, slots=True)
class Change:
    """What somebody wants: a new whole value for a key, or `None` to delete it.

    With `expected_revision` only if that is the revision that last changed the key; 0 is "not
    there". Other keys may change meanwhile.
    """

    path: KeyPath | str
    value: Mapping[str, Any] | None
    expected_revision: int | None = None


@dataclass(frozen=True, slots=True)
class KeyChange:
    """What a commit did to one key; `None` is "not there"."""

    path: KeyPath
    old: Value | None
    new: Value | None


@dataclass(frozen=True, slots=True)
class Commit:
    """One transaction; revisions count from 1 without a gap."""

    revision: int
    at_ns: int
    author: str
    comment: str
    kind: Kind
    changes: tuple[KeyChange, ...]


NOTHING_STORED = Commit(0, 0, "", "", Kind.INITIAL, ())
"""The commit of revision 0."""


@dataclass(frozen=True, slots=True)
class TrialRecord:
    """A change on trial, as stored: `revision` stays only if confirmed before the deadline."""

    base_revision: int
    revision: int
    deadline_boot_ns: int
    boot_id: str
    author: str


@dataclass(frozen=True, slots=True)
class Trial:
    """A change on trial: unless confirmed, the state of `base_revision` comes back.

    `seconds_left` is 0 once the time is up, and after a reboot.
    """

    base_revision: int
    revision: int
    deadline_boot_ns: int
    author: str
    seconds_left: float


@dataclass(frozen=True, slots=True)
class Alarm:
    """Something an operator should look at; `path` is the file or key it is about."""

    kind: str
    message: str
    path: str


@dataclass(frozen=True, slots=True)
class State:
    """All that is in force at one revision. Never changed; `advance` makes the next one.

    `token` tells it from every other state, also from one of the same revision in a history that
    was lost to damage.
    """

    revision: int = 0
    entries: Mapping[KeyPath, Entry] = field(default_factory=lambda: MappingProxyType({}))
    trial: TrialRecord | None = None
    newest: Commit = NOTHING_STORED
    token: str = ""

    @property
    def values(self) -> dict[KeyPath, Value]:
        """The values alone, by path."""
        return {path: entry.value for path, entry in self.entries.items()}


@dataclass(frozen=True, slots=True)
class Clocks:
    """Where the store gets its times from; tests bring their own."""

    wall_ns: Callable[[], int] = time.time_ns
    boot_ns: Callable[[], int] = lambda: time.clock_gettime_ns(time.CLOCK_BOOTTIME)
    boot_id: Callable[[], str] = lambda: read_boot_id()


def read_boot_id(path: Path = _BOOT_ID) -> str:
    """Return what tells this boot of the machine from every other. Raises `Unavailable`."""
    try:
        return path.read_text().strip()
    except OSError as error:
        raise Unavailable(
            f"cannot read {path}: {error.strerror}", hint="is /proc mounted here?"
        ) from error


def advance(state: State, commit: Commit, trial: TrialRecord | None, token: str) -> State:
    """Return the state after `commit`, with `trial` running then."""
    entries = dict(state.entries)
    for change in commit.changes:
        if change.new is None:
            entries.pop(change.path, None)
        else:
            entries[change.path] = Entry(change.path, change.new, commit.revision, commit.at_ns)
    return State(commit.revision, MappingProxyType(entries), trial, commit, token)


def undone(values: Mapping[KeyPath, Value], commits: Iterable[Commit]) -> dict[KeyPath, Value]:
    """Return the values as they were before `commits`, which are given newest first."""
    before = dict(values)
    for commit in commits:
        for change in commit.changes:
            if change.old is None:
                before.pop(change.path, None)
            else:
                before[change.path] = change.old
    return before


def changes_between(
    old: Mapping[KeyPath, Value], new: Mapping[KeyPath, Value]
) -> tuple[KeyChange, ...]:
    """Return what turns `old` into `new`, by path; empty when they are the same."""
    # Of thousands of values most are the same objects: only the others are worth a look.
    others = {path for path in {*old, *new} if old.get(path) is not new.get(path)}
    return tuple(
        KeyChange(path, old.get(path), new.get(path))
        for path in sorted(others)
        if (path in old) != (path in new) or not same(old.get(path), new.get(path))
    )


def without_secrets(
    commit: Commit, mask: Callable[[KeyPath, Value | None], Value | None]
) -> Commit:
    """Return `commit` with every old and new value passed through `mask`."""
    masked = (KeyChange(c.path, mask(c.path, c.old), mask(c.path, c.new)) for c in commit.changes)
    return replace(commit, changes=tuple(masked))
