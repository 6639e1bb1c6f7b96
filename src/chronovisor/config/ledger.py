"""The state in force, kept in step with a backend, and those who want to hear of changes."""

import copy
import logging
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace

from chronovisor.config.backend import Backend
from chronovisor.config.keys import KeyPath
from chronovisor.config.records import (
    Clocks,
    Commit,
    KeyChange,
    Kind,
    State,
    TrialRecord,
    Value,
    advance,
    changes_between,
    undone,
)
from chronovisor.errors import NotFound, Unavailable

_log = logging.getLogger(__name__)

Subscriber = Callable[[Commit], None]


class Ledger:
    """One process's view of a backend: states in memory, commits in order to subscribers."""

    def __init__(self, backend: Backend, clocks: Clocks) -> None:
        self._backend = backend
        self._clocks = clocks
        self._lock = threading.RLock()
        self._undelivered: deque[Commit] = deque()
        self._delivering = threading.Lock()
        self._subscribers: list[Subscriber] = []
        self._state = backend.load()

    def seen(self) -> State:
        """Return the newest state; the last one known while the backend cannot be read."""
        # When the lock is taken a commit is under way: it is not true yet, and not waited for.
        if self._lock.acquire(blocking=False):
            try:
                with suppress(Unavailable):
                    self.reload()
            finally:
                self._lock.release()
            self._deliver()
        return self._state

    @contextmanager
    def committing(self) -> Iterator[None]:
        """Hold the lock while deciding and appending; subscribers hear of it afterwards."""
        try:
            with self._lock:
                yield
        finally:
            self._deliver()

    def reload(self) -> State:
        """Take in what other processes committed. The lock is held. Raises `Unavailable`."""
        old = self._state
        if self._backend.token() != old.token:
            new = self._backend.load()
            since = self._backend.history(newer_than=old.revision)
            foreign = [commit for commit in since[::-1] if commit.revision <= new.revision]
            if not foreign or any(commit.kind is Kind.RECOVERY for commit in foreign):
                # History itself has changed: what differs now cannot be read from it.
                changes = changes_between(old.values, new.values)
                foreign = [replace(new.newest, changes=changes)]
            self._state = new
            self._undelivered.extend(foreign)
        return self._state

    def append(
        self,
        changes: Sequence[KeyChange],
        kind: Kind,
        author: str,
        comment: str,
        trial: TrialRecord | None = None,
    ) -> Commit:
        """Commit `changes` to the state last reloaded. The lock is held.

        Raises `StaleRevision` and `Unavailable`; nothing has changed then, here or there.
        """
        state, now_ns = self._state, self._clocks.wall_ns()
        commit = Commit(state.revision + 1, now_ns, author, comment, kind, tuple(changes))
        token = self._backend.commit(commit, trial, after=state.token)
        # Others get `commit` and may change the values in it; the state keeps its own.
        self._state = advance(state, copy.deepcopy(commit), trial, token)
        self._undelivered.append(commit)
        self._backend.snapshot()
        return commit

    def values_at(self, state: State, revision: int) -> dict[KeyPath, Value]:
        """Return what was in force at `revision`, which `state` is at or after."""
        if not 0 <= revision <= state.revision:
            raise NotFound(
                f"there is no revision {revision}", hint=f"the newest is {state.revision}"
            )
        later = self._backend.history(newer_than=revision)
        return undone(state.values, (c for c in later if c.revision <= state.revision))

    def subscribe(self, callback: Subscriber) -> Callable[[], None]:
        """Have `callback` called for each commit from now on; returns how to stop it."""
        self._subscribers.append(callback)

        def unsubscribe() -> None:
            with suppress(ValueError):
                self._subscribers.remove(callback)

        return unsubscribe

    def _deliver(self) -> None:
        """Tell subscribers what they do not know yet, one commit after the other.

        Whoever finds another thread (or a subscriber further down this stack) at it leaves its
        own commits to that one, so that order holds.
        """
        while self._undelivered and self._delivering.acquire(blocking=False):
            try:
                while self._undelivered:
                    commit = self._undelivered.popleft()
                    for callback in tuple(self._subscribers):
                        self._call(callback, commit)
            finally:
                self._delivering.release()

    def _call(self, callback: Subscriber, commit: Commit) -> None:
        try:
            callback(copy.deepcopy(commit))
        except Exception:  # noqa: BLE001 - the commit stands, and others want to hear of it
            _log.exception("a subscriber failed on revision %d", commit.revision)
