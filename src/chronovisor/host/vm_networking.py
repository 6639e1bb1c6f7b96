"""Which networking settings hold: the store's values, handed to the net plane as they change."""

from typing import Any

from chronovisor.config import Commit, ConfigStore, KeyPath
from chronovisor.errors import InvalidInput, Problem
from chronovisor.net import intent as intents
from chronovisor.net.plane import NetPlane
from chronovisor.net.settings import METADATA, VM_NETWORKING, Metadata, VmNetworking

PREFIX = "host/net"


class VmNetworkingSource:
    """Hands the store's values below `host/net` to the plane; belongs to the event loop."""

    def __init__(self, store: ConfigStore, plane: NetPlane) -> None:
        self._store = store
        self._plane = plane

    def apply(self) -> None:
        """Hand over everything that is stored. Raises `InvalidInput` where it cannot hold."""
        values = {str(entry.path): entry.value for entry in self._store.entries(PREFIX)}
        settings = VmNetworking.model_validate(values.pop(VM_NETWORKING, {}))
        metadata = Metadata.model_validate(values.pop(METADATA, {}))
        self._plane.want(values, settings, metadata)

    def committed(self, commit: Commit) -> None:
        """Hand over what a commit changed."""
        changed = {
            str(change.path): change.new
            for change in commit.changes
            if str(change.path).startswith(f"{PREFIX}/")
        }
        if changed.keys() & {VM_NETWORKING, METADATA}:
            self.apply()
        elif changed:
            self._plane.change(changed)

    def refuse_clash(self, path: KeyPath, value: Any) -> None:
        """Raise `InvalidInput` for a value that clashes with the others that are stored.

        A port that breaks only with the change of another value is no reason to refuse that value:
        such a port is left out, and health says so.
        """
        key = str(path)
        if value is None or key in (VM_NETWORKING, METADATA):
            return
        after = intents.changed(self._plane.intent, {key: value})
        problems = [_within(key, problem) for problem in after.refused.get(key, ())]
        if problems:
            raise InvalidInput(str(problems[0]), problems)


def _within(key: str, problem: Problem) -> Problem:
    """Return a problem with its place inside the value, as other problems of it have it."""
    where = problem.where.removeprefix(key).lstrip(": .")
    return Problem(where, problem.message, problem.value, problem.valid)
