"""What all tests of real worlds use: a supervisor in a directory of the test's own."""

import asyncio
import contextlib
import json
import os
import signal
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path

import pytest

from chronovisor.worlds import RestartPolicy, State, Supervisor, World
from chronovisor.worlds.launcher import PROCESS_FILE, start_ticks

DEADLINE_S = 30.0

QUICK = RestartPolicy(
    min_uptime_s=60, max_quick_failures=3, backoff_initial_s=0.01, backoff_max_s=0.02
)


@pytest.fixture
async def supervisor(tmp_path: Path) -> AsyncIterator[Supervisor]:
    async with Supervisor(tmp_path / "worlds") as supervisor:
        yield supervisor
        await supervisor.stop_all("end of the test")


WaitFor = Callable[[Supervisor, str, State], Awaitable[World]]


@pytest.fixture
def wait_for() -> WaitFor:
    return _wait_for


async def _wait_for(supervisor: Supervisor, name: str, state: State) -> World:
    """Return the world once it is in that state."""
    reached = asyncio.get_running_loop().create_future()

    def changed(world: World) -> None:
        if world.name == name and world.state is state and not reached.done():
            reached.set_result(world)

    unsubscribe = supervisor.subscribe(changed)
    try:
        changed(supervisor.get(name))
        world: World = await asyncio.wait_for(reached, DEADLINE_S)
        return world
    finally:
        unsubscribe()


Until = Callable[[Callable[[], bool]], Awaitable[None]]


@pytest.fixture
def until() -> Until:
    return _until


async def _until(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + DEADLINE_S
    while not holds():
        assert time.monotonic() < deadline, "did not happen in time"
        await asyncio.sleep(0.01)


@pytest.fixture
def quick() -> RestartPolicy:
    return QUICK


@pytest.fixture
def processes_with() -> Callable[[str], list[int]]:
    return _processes_with


def _processes_with(marker: str) -> list[int]:
    """Return the living processes that have `marker` in their argv."""
    found = []
    for name in filter(str.isdigit, os.listdir("/proc")):  # noqa: PTH208
        try:
            argv = Path("/proc", name, "cmdline").read_bytes()
        except (FileNotFoundError, ProcessLookupError):
            continue
        if marker.encode() in argv and int(name) != os.getpid():
            found.append(int(name))
    return sorted(found)


@pytest.fixture(autouse=True)
def nothing_left(tmp_path: Path) -> Iterator[None]:
    """End the worlds that a failed test left running, as a world is meant to run on."""
    yield
    for record in tmp_path.rglob(PROCESS_FILE):
        with contextlib.suppress(OSError, ValueError, KeyError):
            document = json.loads(record.read_text())
            if start_ticks(document["pid"]) == document["start_ticks"] and _is_leader(document):
                os.killpg(document["pid"], signal.SIGKILL)


def _is_leader(document: dict[str, int]) -> bool:
    return os.getsid(document["pid"]) == document["pid"]
