"""What the Config Store's tests share: a registry, clocks that stand still, both backends."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import pytest
from pydantic import BaseModel, ConfigDict, Field

from chronovisor.config import (
    Alarm,
    Backend,
    Clocks,
    Commit,
    ConfigStore,
    KeyPath,
    Registry,
    Secret,
    SqliteBackend,
    StaleRevision,
    State,
    TrialRecord,
)
from chronovisor.config.records import advance
from chronovisor.errors import Problem


class Peer(BaseModel):
    model_config = ConfigDict(extra="forbid")

    address: str
    password: Secret = ""


class Sample(BaseModel):
    model_config = ConfigDict(extra="forbid")

    rate: Annotated[int, Field(ge=0, le=10)] = 1
    label: str = ""
    token: Secret = ""
    peers: tuple[Peer, ...] = ()
    options: dict[str, bool | int | float | str] = {}


def odd_rate(sample: Sample) -> Sequence[Problem]:
    return [Problem("rate", "7 is unlucky", "7", "any other")] if sample.rate == 7 else []


@dataclass
class FakeClocks:
    wall_ns: int = 1_700_000_000_000_000_000
    boot_ns: int = 5_000_000_000
    boot_id: str = "first boot"

    def clocks(self) -> Clocks:
        return Clocks(lambda: self.wall_ns, lambda: self.boot_ns, lambda: self.boot_id)

    def pass_s(self, seconds: float) -> None:
        self.boot_ns += round(seconds * 1e9)


@dataclass
class MemoryBackend:
    """The contract without a disk; stores that share `log` see each other, as processes do."""

    log: list[tuple[State, Commit]] = field(default_factory=list)
    name: str = "memory"
    alarms: tuple[Alarm, ...] = ()

    def token(self) -> str:
        return str(len(self.log)) if self.log else ""

    def load(self) -> State:
        return self.log[-1][0] if self.log else State()

    def commit(self, commit: Commit, trial: TrialRecord | None, *, after: str) -> str:
        if after != self.token():
            raise StaleRevision("another was first")
        state = advance(self.load(), commit, trial, str(len(self.log) + 1))
        self.log.append((state, commit))
        return state.token

    def history(
        self, *, path: KeyPath | None = None, newer_than: int = 0, limit: int | None = None
    ) -> list[Commit]:
        found = [
            commit
            for _, commit in reversed(self.log)
            if commit.revision > newer_than
            and (path is None or any(c.path == path for c in commit.changes))
        ]
        return found[:limit]

    def snapshot(self) -> None:
        pass

    def close(self) -> None:
        pass


@pytest.fixture
def registry() -> Registry:
    registry = Registry()
    registry.register("host/test/sample", Sample, description="A sample", check=odd_rate)
    registry.register("host/test/many", Sample, instances=True, description="Many samples")
    return registry


@pytest.fixture
def fake() -> FakeClocks:
    return FakeClocks()


@pytest.fixture(params=["memory", "sqlite"])
def open_backend(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Callable[[], Backend]]:
    """Return what opens the same data again and again, like processes after one another."""
    log: list[tuple[State, Commit]] = []
    opened: list[SqliteBackend] = []

    def sqlite() -> Backend:
        opened.append(SqliteBackend(tmp_path / "config.db"))
        return opened[-1]

    yield sqlite if request.param == "sqlite" else lambda: MemoryBackend(log)
    for backend in opened:
        backend.close()


@pytest.fixture
def store(registry: Registry, fake: FakeClocks) -> ConfigStore:
    return ConfigStore(MemoryBackend(), registry, clocks=fake.clocks())
