"""The Config Store: every setting of the host, checked, in transactions, with its history.

>>> store = ConfigStore(SqliteBackend("/var/lib/chronovisor/config.db"), registry)
>>> store.commit([Change("host/system/system_time", {"enabled": False})], author="root")

Reads come from memory and follow the commits of other processes. All of it may be called from any
thread; a read never waits for a commit's disk write.
"""

import copy
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from typing import TypeVar

from chronovisor.config import trial as trials
from chronovisor.config.backend import Backend, StaleRevision
from chronovisor.config.fields import Difference, differences
from chronovisor.config.keys import KeyPath
from chronovisor.config.ledger import Ledger, Subscriber
from chronovisor.config.records import (
    Alarm,
    Change,
    Clocks,
    Commit,
    Entry,
    KeyChange,
    Kind,
    State,
    Trial,
    TrialRecord,
    Value,
    changes_between,
    without_secrets,
)
from chronovisor.config.registry import Registry
from chronovisor.config.secret import MASK
from chronovisor.config.staging import (
    Gate,
    judged,
    refuse_stale,
    refuse_together,
    staged,
    stale,
    told,
)
from chronovisor.errors import ChronovisorError, InvalidInput, Unavailable

_T = TypeVar("_T")
_Decision = Callable[[State], dict[KeyPath, Value]]


class ConfigStore:
    """Settings in force and their history, on a backend, judged by a registry.

    A `gate` judges what no single key shows, on every way in: `commit`, `rollback`, documents.
    Opening it ends a trial whose time is up or that a reboot interrupted. Raises `Unavailable`
    when the backend cannot be read.
    """

    def __init__(
        self,
        backend: Backend,
        registry: Registry,
        *,
        clocks: Clocks | None = None,
        gate: Gate | None = None,
    ) -> None:
        self._backend = backend
        self._registry = registry
        self._clocks = clocks or Clocks()
        self._gate = gate
        self._ledger = Ledger(backend, self._clocks)
        self._refused: tuple[str, tuple[Alarm, ...]] = ("", ())
        self._sound: dict[KeyPath, Entry] = {}
        with suppress(Unavailable):  # an alarm says so; the next commit or `expire` tries again
            self.expire()

    @property
    def revision(self) -> int:
        """The newest revision; 0 before the first commit."""
        return self._ledger.seen().revision

    def get(self, path: KeyPath | str) -> Entry | None:
        """Return what is stored for a key, secrets as they are; `None` when nothing is."""
        return copy.deepcopy(self._ledger.seen().entries.get(KeyPath.of(path)))

    def entries(self, prefix: str = "") -> tuple[Entry, ...]:
        """Return what is stored at and below `prefix` (`host/system`), by path."""
        below = f"{prefix.rstrip('/')}/"
        return tuple(
            copy.deepcopy(entry)
            for path, entry in sorted(self._ledger.seen().entries.items())
            if not prefix or f"{path}/".startswith(below)
        )

    def commit(
        self,
        changes: Iterable[Change],
        *,
        author: str,
        comment: str = "",
        expected_revision: int | None = None,
        try_s: float | None = None,
    ) -> Commit:
        """Make all of `changes` at once and durably, or none of them.

        With `try_s` the old values come back after that many seconds unless confirmed. Changing
        nothing is fine and returns the newest commit. A value may hold the mask where a secret
        is stored (see `secret`). Raises `InvalidInput` and `NotFound` for what cannot be set,
        with every problem of every change; `Conflict` when the store is not at
        `expected_revision` or a trial runs, `StaleKey` when a key is not at its own;
        `Unavailable` when it cannot be written.
        """
        wanted = tuple(changes)

        def decide(state: State) -> dict[KeyPath, Value]:
            refuse_stale(state.entries, wanted)
            return staged(self._registry, state.values, wanted)

        return self._commit(decide, Kind.SET, author, comment, expected_revision, try_s)

    def rollback(
        self,
        revision: int,
        *,
        author: str,
        comment: str = "",
        path: KeyPath | str | None = None,
        expected_revision: int | None = None,
        try_s: float | None = None,
    ) -> Commit:
        """Bring back all values of `revision`, or that of one key, as a new commit.

        They are judged by today's schema. Raises what `commit` raises, `NotFound` for a revision
        that does not exist.
        """
        only = None if path is None else KeyPath.of(path)

        def decide(state: State) -> dict[KeyPath, Value]:
            old = self._ledger.values_at(state, revision)
            if only:
                others = {p: v for p, v in state.values.items() if p != only}
                old = others | {p: v for p, v in old.items() if p == only}
            return judged(self._registry, state.values, old)

        what = comment or f"back to revision {revision}" + (f" of {only}" if only else "")
        return self._commit(decide, Kind.ROLLBACK, author, what, expected_revision, try_s)

    def import_document(
        self,
        text: str,
        *,
        author: str,
        expected_revision: int | None = None,
        replace: bool,
        try_s: float | None = None,
    ) -> Commit:
        """Commit a document of `export_document`; with `replace` keys it does not name go.

        Raises `InvalidInput` with every problem and its line, and what `commit` raises.
        """
        from chronovisor.config.document import staged_document  # a start without YAML is quicker

        def decide(state: State) -> dict[KeyPath, Value]:
            named = staged_document(self._registry, state.values, text)
            return named if replace else state.values | named

        comment = "replaced by a document" if replace else "from a document"
        return self._commit(decide, Kind.IMPORT, author, comment, expected_revision, try_s)

    def export_document(self, *, secrets: bool = False) -> str:
        """Return the whole store as one YAML document; secrets are masked unless asked for."""
        from chronovisor.config.document import document_text  # a start without YAML is quicker

        state = self._ledger.seen()
        values: dict[KeyPath, Value | None] = dict(state.values)
        if not secrets:
            values = {path: self._registry.mask(path, value) for path, value in values.items()}
        return document_text(values, state.revision)

    def history(
        self, path: KeyPath | str | None = None, limit: int | None = 100, *, secrets: bool = False
    ) -> tuple[Commit, ...]:
        """Return commits, newest first, of one key if asked; secrets are masked unless asked for.

        Raises `Unavailable` when the backend cannot be read.
        """
        found = self._backend.history(path=None if path is None else KeyPath.of(path), limit=limit)
        return tuple(found if secrets else map(self.masked, found))

    def masked(self, commit: Commit) -> Commit:
        """Return a commit with its secrets masked, fit to be shown."""
        return without_secrets(commit, self._registry.mask)

    def diff(self, a: int, b: int, *, secrets: bool = False) -> list[Difference]:
        """Return each field that differs between revisions `a` and `b`, by path and field.

        A secret that differs shows as mask to mask. Raises `NotFound`, `Unavailable`.
        """
        state = self._ledger.seen()
        old, new = (self._ledger.values_at(state, revision) for revision in (a, b))
        return [
            one if secrets else self._masked_difference(one, change)
            for change in changes_between(old, new)
            for one in differences(change.path, change.old, change.new)
        ]

    @property
    def trial(self) -> Trial | None:
        """The change on trial, until it is confirmed, abandoned or expired."""
        record = self._ledger.seen().trial
        return trials.seen(record, self._clocks) if record else None

    def confirm(self, *, author: str) -> Commit:
        """Keep the change on trial. Raises `NotFound` without one, `Conflict` when too late."""

        def keep(state: State) -> Commit:
            record = trials.required(state.trial)
            if trials.lapsed(record, self._clocks):
                self._end_trial(state, record, Kind.TRIAL_EXPIRED, record.author)
                raise trials.too_late(record)
            text = f"revision {record.revision} stays"
            return self._ledger.append((), Kind.TRIAL_CONFIRMED, author, text)

        return self._retried(keep)

    def abandon(self, *, author: str) -> Commit:
        """End the trial now and bring the old values back. Raises `NotFound` without one."""

        def end(state: State) -> Commit:
            return self._end_trial(
                state, trials.required(state.trial), Kind.TRIAL_ABANDONED, author
            )

        return self._retried(end)

    def expire(self, now_boot_ns: int | None = None) -> Commit | None:
        """Bring the old values back if a trial's time is up; `None` when there is nothing to do.

        `now_boot_ns` is the time by CLOCK_BOOTTIME. Raises `Unavailable` when it cannot be
        stored; to be called again then.
        """

        def end_overdue(state: State) -> Commit | None:
            record = state.trial
            if record is None or not trials.lapsed(record, self._clocks, now_boot_ns):
                return None
            return self._end_trial(state, record, Kind.TRIAL_EXPIRED, record.author)

        return self._retried(end_overdue)

    def subscribe(self, callback: Subscriber) -> Callable[[], None]:
        """Have `callback` called after each durable commit, in order; returns how to stop.

        Commits of other processes count, once a read or `refresh` has seen them. It is called in
        a thread that commits or reads, without the store's lock, with secrets as they are. What
        it raises is logged and goes no further: the commit stands.
        """
        return self._ledger.subscribe(callback)

    def refresh(self) -> None:
        """Take in the commits of other processes and tell subscribers; each read does it too."""
        self._ledger.seen()

    @property
    def alarms(self) -> tuple[Alarm, ...]:
        """What an operator should look at: files, an overdue trial, values refused by now."""
        state = self._ledger.seen()
        if self._refused[0] != state.token:
            self._refused = (state.token, tuple(self._refused_values(state)))
        record = state.trial
        late = record is not None and trials.lapsed(record, self._clocks)
        overdue = (trials.overdue(record),) if record and late else ()
        return (*self._backend.alarms, *overdue, *self._refused[1])

    def close(self) -> None:
        """Close the backend's files."""
        self._backend.close()

    def _commit(
        self,
        decide: _Decision,
        kind: Kind,
        author: str,
        comment: str,
        expected_revision: int | None,
        try_s: float | None,
    ) -> Commit:
        """Commit what `decide` makes of the newest state."""
        if problems := [*told(author, comment), *trials.refused_time(try_s)]:
            raise InvalidInput(str(problems[0]), problems)

        def write(state: State) -> Commit:
            if state.trial and trials.lapsed(state.trial, self._clocks):
                self._end_trial(state, state.trial, Kind.TRIAL_EXPIRED, state.trial.author)
                state = self._ledger.reload()
            if expected_revision is not None and expected_revision != state.revision:
                since = self._backend.history(newer_than=expected_revision)
                raise stale(state, expected_revision, since)
            trials.refuse_change(state.trial, self._clocks)
            before = state.values
            changes = changes_between(before, decide(state))
            if not changes:
                return copy.deepcopy(state.newest)
            if self._gate:
                alone = kind is Kind.SET and len(changes) == 1
                refuse_together(self._gate(before, changes), alone=alone)
            record = trials.started(state, try_s, author, self._clocks)
            return self._ledger.append(changes, kind, author, comment, record)

        return self._retried(write)

    def _retried(self, write: Callable[[State], _T]) -> _T:
        """Run `write` on the newest state, again whenever another process committed first."""
        with self._ledger.committing():
            while True:
                with suppress(StaleRevision):
                    return write(self._ledger.reload())

    def _end_trial(self, state: State, record: TrialRecord, kind: Kind, author: str) -> Commit:
        # Not judged by the schema: they were in force before, and something must be.
        old = self._ledger.values_at(state, record.base_revision)
        changes = changes_between(state.values, old)
        text = f"revision {record.revision} was not confirmed"
        return self._ledger.append(changes, kind, author, text)

    def _masked_difference(self, one: Difference, change: KeyChange) -> Difference:
        holds = (self._registry.is_secret(one.path, one.field, v) for v in (change.old, change.new))
        return one._replace(old=one.old and MASK, new=one.new and MASK) if any(holds) else one

    def _refused_values(self, state: State) -> Iterator[Alarm]:
        """Yield what is wrong; a value that only its model judges is judged once."""
        sound: dict[KeyPath, Entry] = {}
        for path, entry in state.entries.items():
            if self._sound.get(path) is entry:
                sound[path] = entry
                continue
            try:
                self._registry.validate(path, entry.value)
            except ChronovisorError as error:
                text = f"the stored value is not valid any more: {error.message}"
                yield Alarm("refused_value", text, str(path))
            else:
                if self._registry.spec(path).check is None:
                    sound[path] = entry
        self._sound = sound
