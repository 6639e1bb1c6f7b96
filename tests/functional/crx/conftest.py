"""What all tests of real containers use: a supervisor of the test's own, and a runtime that works.

A runtime that is not there or does not work on this machine (crun beside hybrid cgroups) is a skip
with what it said; runc must work, or the tests fail.
"""

import asyncio
import contextlib
import json
import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from chronovisor.worlds import RestartPolicy, Supervisor, WorldSpec
from chronovisor.worlds.launcher import PROCESS_FILE, start_ticks
from chronovisor.worlds.sandbox import Sandbox

_works: dict[str, str] = {}


def why_not(runtime: str) -> str:
    """Return why a runtime makes no containers here, empty if it does."""
    if runtime not in _works:
        _works[runtime] = asyncio.run(_try(runtime))
    return _works[runtime]


async def _try(runtime: str) -> str:
    if shutil.which(runtime, path="/usr/sbin:/usr/bin") is None:
        return f"{runtime} is not installed"
    directory = Path(tempfile.mkdtemp(prefix="cv-"))
    try:
        async with Supervisor(directory / "worlds") as supervisor:
            spec = WorldSpec("probe", ("sleep", "9"), sandbox=Sandbox(runtime=runtime))
            world = await supervisor.start(spec)
            await supervisor.stop_all("end")
        return "" if world.pid else world.reason
    finally:
        shutil.rmtree(directory)


@pytest.fixture(params=["runc", "crun"])
def runtime(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    if name == "crun" and (reason := why_not(name)):
        pytest.skip(f"crun does not work here: {reason}")
    return name


@pytest.fixture
async def supervisor(tmp_path: Path) -> AsyncIterator[Supervisor]:
    async with Supervisor(tmp_path / "worlds") as supervisor:
        yield supervisor
        await supervisor.stop_all("end of the test")


@pytest.fixture
def quick() -> RestartPolicy:
    return RestartPolicy(min_uptime_s=0, backoff_initial_s=0.01, backoff_max_s=0.02)


@pytest.fixture(autouse=True)
def nothing_left(tmp_path: Path) -> Iterator[None]:
    """End what a failed test left: containers are meant to run on."""
    yield
    for record in tmp_path.rglob(PROCESS_FILE):
        with contextlib.suppress(OSError, ValueError, KeyError):
            document = json.loads(record.read_text())
            if start_ticks(document["pid"]) == document["start_ticks"]:
                os.kill(document["pid"], signal.SIGKILL)
    for pin in tmp_path.rglob("netns"):
        subprocess.run(["umount", str(pin)], capture_output=True, check=False)
