"""Which networking settings hold: the store's values, handed to the net plane as they change."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from chronovisor.config import Commit, ConfigStore, KeyChange, KeyPath
from chronovisor.errors import Problem
from chronovisor.net import intent as intents
from chronovisor.net.intent import Intent
from chronovisor.net.plane import NetPlane
from chronovisor.net.settings import METADATA, VM_NETWORKING, Metadata, VmNetworking

PREFIX = "host/net"


@dataclass(frozen=True, slots=True)
class NetChange:
    """What a commit did to this plane: values by key path as models, None for one that is gone.

    `settings` and `metadata` are None where it left them alone.
    """

    values: Mapping[str, object] = field(default_factory=dict)
    settings: VmNetworking | None = None
    metadata: Metadata | None = None

    @classmethod
    def of(cls, commit: Commit) -> "NetChange":
        """Read a commit; the slow part of following it, in whichever thread commits.

        Raises `ValidationError` for settings of an older release that cannot hold any more.
        """
        values: dict[str, Any] = {
            str(one.path): one.new for one in commit.changes if _is_ours(one.path)
        }
        settings = metadata = None
        if VM_NETWORKING in values:
            settings = VmNetworking.model_validate(values.pop(VM_NETWORKING) or {})
        if METADATA in values:
            metadata = Metadata.model_validate(values.pop(METADATA) or {})
        return cls(intents.read(values), settings, metadata)


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

    def committed(self, change: NetChange) -> None:
        """Hand over what a commit changed."""
        if change != NetChange():
            self._plane.change(change.values, change.settings, change.metadata)


class ClashGate:
    """Refuses values below `host/net` that clash with others; a gate of the Config Store.

    A port that breaks only with the change of another value is no reason to refuse that value:
    such a port is left out, and health says so. Not for two threads at once, which the store's
    lock sees to.
    """

    def __init__(self) -> None:
        self._values: dict[KeyPath, Any] = {}
        self._intent = Intent()

    def __call__(
        self, values: Mapping[KeyPath, Any], changes: Sequence[KeyChange]
    ) -> Iterator[tuple[KeyPath, Problem]]:
        """Yield what is wrong with changed values, given the values before."""
        asked = {str(one.path): one for one in changes if _is_ours(one.path)}
        if not asked:
            return
        self._catch_up({path: one for path, one in values.items() if _is_ours(path)})
        after = intents.changed(self._intent, {key: one.new for key, one in asked.items()})
        for key, change in asked.items():
            for problem in after.refused.get(key, ()):
                yield change.path, _within(key, problem)

    def _catch_up(self, values: dict[KeyPath, Any]) -> None:
        """Know the intent of these values; most are the same objects as at the last change."""
        before, self._values = self._values, values
        differing = {
            str(path): values.get(path)
            for path in before.keys() | values.keys()
            if before.get(path) is not values.get(path)
        }
        if differing:
            self._intent = intents.changed(self._intent, differing)


def _is_ours(path: KeyPath) -> bool:
    return (path.component, path.group) == ("host", "net")


def _within(key: str, problem: Problem) -> Problem:
    """Return a problem with its place inside the value, as other problems of it have it."""
    where = problem.where.removeprefix(key).lstrip(": .")
    return Problem(where, problem.message, problem.value, problem.valid)
