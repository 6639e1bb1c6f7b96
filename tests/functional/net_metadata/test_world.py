"""The proxy as a world of visord: planned, applied, observed, adopted."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from chronovisor.errors import Unavailable
from chronovisor.net.metadata.directory import MetadataDirectory
from chronovisor.net.metadata.plan import NAME, Wanted, plan, state_of, wanted_of, world
from chronovisor.net.settings import Metadata
from chronovisor.worlds import Supervisor
from metadata_guests import intent, port


async def _until_it_tells(directory: MetadataDirectory) -> dict[str, object]:
    async with asyncio.timeout(20):
        while True:
            with contextlib.suppress(Unavailable):
                return await directory.status()
            await asyncio.sleep(0.02)


@pytest.fixture
async def leave_no_world(tmp_path: Path) -> AsyncIterator[None]:
    yield
    async with Supervisor(tmp_path / "worlds") as supervisor:
        await supervisor.adopt()
        await supervisor.stop_all("the test ends")


@pytest.mark.usefixtures("leave_no_world")
async def test_plan_is_done_once_and_survives_a_restart_of_visord(tmp_path: Path) -> None:
    # No device has these names, so nothing is bound where the test runs.
    directory = MetadataDirectory(tmp_path / "metadata", gid=None)
    state = state_of(intent(port(10, device="md-none-1")), Metadata())
    wanted = wanted_of(state, world(directory.path, uid=None))
    async with Supervisor(tmp_path / "worlds") as supervisor:
        for action in plan(wanted, directory.observe(supervisor.worlds())):
            await directory.apply(action, supervisor)
        assert plan(wanted, directory.observe(supervisor.worlds())) == []
        status = await _until_it_tells(directory)
        assert status["ports"] == {"vm10": {"device": "md-none-1", "here": False}}
    async with Supervisor(tmp_path / "worlds") as supervisor:
        await supervisor.adopt()
        assert plan(wanted, directory.observe(supervisor.worlds())) == []
        assert (await directory.status())["pid"] == status["pid"]
        for action in plan(Wanted(), directory.observe(supervisor.worlds())):
            await directory.apply(action, supervisor)
        assert plan(Wanted(), directory.observe(supervisor.worlds())) == []
        with pytest.raises(Unavailable, match="does not answer"):
            await directory.status()


def test_leftover_of_a_killed_write_is_no_hindrance(tmp_path: Path) -> None:
    directory = MetadataDirectory(tmp_path / "metadata", gid=None)
    directory.prepare()
    (directory.path / "ports" / ".vm10.json.new").write_text("{half")
    directory.write("ports/vm10.json", "{}")
    assert [path.name for path in (directory.path / "ports").iterdir()] == ["vm10.json"]
    directory.remove("ports/vm10.json")
    directory.remove("ports/vm10.json")


def test_directory_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    directory = MetadataDirectory(tmp_path / "file" / "metadata", gid=None)
    with pytest.raises(Unavailable, match="cannot make"):
        directory.prepare()
    with pytest.raises(Unavailable, match="cannot"):
        directory.write("ports/vm10.json", "{}")
    assert world(tmp_path).name == NAME
