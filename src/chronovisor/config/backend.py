"""What the store asks of the thing that keeps its data. One contract test holds for all of them."""

from typing import Protocol

from chronovisor.config.keys import KeyPath
from chronovisor.config.records import Alarm, Commit, State, TrialRecord
from chronovisor.errors import Conflict


class StaleRevision(Conflict):
    """Another writer committed first; load the state and decide again."""


class Backend(Protocol):
    """Durable state with compare-and-set. Methods may be called from any thread.

    Every method raises `Unavailable` when the data cannot be reached now.
    """

    @property
    def name(self) -> str:
        """What an operator knows it by: a file, a cluster address."""

    def token(self) -> str:
        """Return, cheaply, what differs whenever `load` would return another state."""

    def load(self) -> State:
        """Return everything in force, from one revision."""

    def commit(self, commit: Commit, trial: TrialRecord | None, *, after: str) -> str:
        """Store `commit`, its changes and `trial` (`None`: none runs) at once and durably.

        `after` is the token of the state that `commit` was decided on; returns the new one.
        Raises `StaleRevision`, and stores nothing, when that state is no longer the newest;
        `Unavailable` when it could not be stored, in which case nothing of it is.
        """

    def history(
        self, *, path: KeyPath | None = None, newer_than: int = 0, limit: int | None = None
    ) -> list[Commit]:
        """Return commits, newest first; with `path` those that changed it."""

    def snapshot(self) -> None:
        """Keep a copy of the newest state elsewhere. Never raises; failing becomes an alarm."""

    @property
    def alarms(self) -> tuple[Alarm, ...]:
        """What an operator should know about the data's keeping."""

    def close(self) -> None:
        """Let go of files and connections. Closing twice is fine."""
