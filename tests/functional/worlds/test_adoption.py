"""What the next visord makes of the worlds of one that was killed."""

import asyncio
import fcntl
import json
import os
import signal
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from chronovisor.worlds import RestartPolicy, State, Supervisor, World, WorldSpec
from chronovisor.worlds.launcher import LOCK_FILE, PROCESS_FILE, WANTED_FILE, start_ticks

WaitFor = Callable[[Supervisor, str, State], Awaitable[World]]
Until = Callable[[Callable[[], bool]], Awaitable[None]]

VISORD = """
import asyncio, json, sys
from pathlib import Path
from chronovisor.worlds import Supervisor, WorldSpec

async def main():
    async with Supervisor(Path(sys.argv[1])) as supervisor:
        await supervisor.adopt()
        for text in sys.argv[2:]:
            await supervisor.ensure(WorldSpec.from_json(json.loads(text)))
        print(json.dumps({world.name: world.pid for world in supervisor.worlds()}), flush=True)
        await asyncio.Event().wait()

asyncio.run(main())
"""


@asynccontextmanager
async def visord(
    directory: Path, *specs: WorldSpec
) -> AsyncIterator[tuple[asyncio.subprocess.Process, dict[str, int]]]:
    """Run a supervisor in a process of its own; give the pids of its worlds."""
    arguments = [str(directory), *(json.dumps(spec.to_json()) for spec in specs)]
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", VISORD, *arguments, stdout=asyncio.subprocess.PIPE
    )
    assert process.stdout
    try:
        yield process, json.loads(await process.stdout.readline())
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


async def test_a_killed_visord_leaves_its_worlds_and_the_next_adopts_them(tmp_path: Path) -> None:
    one = WorldSpec("one", ("sleep", "1000"), generation="1")
    two = WorldSpec("two", ("sleep", "1000"), generation="1")
    async with visord(tmp_path, one, two) as (_, pids):
        pass
    async with Supervisor(tmp_path) as supervisor:
        adopted = await supervisor.adopt()
        assert {world.name: world.pid for world in adopted} == pids
        assert all(world.adopted and world.state is State.RUNNING for world in adopted)
        assert await supervisor.ensure(one) == "unchanged"
        assert await supervisor.ensure(WorldSpec("two", ("cat",), generation="2")) == "replaced"
        assert supervisor.get("one").pid == pids["one"]
        assert supervisor.get("one").uptime_s is not None
        assert supervisor.get("two").pid != pids["two"]
        assert not supervisor.get("two").adopted
        await supervisor.stop_all("end")
    assert start_ticks(pids["one"]) is start_ticks(pids["two"]) is None


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_signals_for_visord_alone_leave_worlds_running(
    tmp_path: Path, number: signal.Signals
) -> None:
    async with visord(tmp_path, WorldSpec("w", ("sleep", "1000"))) as (process, pids):
        process.send_signal(number)
        await process.wait()
    async with Supervisor(tmp_path) as supervisor:
        assert [world.pid for world in await supervisor.adopt()] == [pids["w"]]
        await supervisor.stop_all("end")


async def test_the_end_of_an_adopted_world_is_seen_with_its_status(
    tmp_path: Path, wait_for: WaitFor, until: Until
) -> None:
    ready = tmp_path / "ready"
    script = f"trap 'exit 7' USR1; touch {ready}; while :; do sleep 0.01; done"
    policy = RestartPolicy(mode="never")
    async with visord(tmp_path, WorldSpec("w", ("sh", "-c", script), restart=policy)) as (_, pids):
        pass
    async with Supervisor(tmp_path) as supervisor:
        await supervisor.adopt()
        await until(ready.exists)
        os.kill(pids["w"], signal.SIGUSR1)
        world = await wait_for(supervisor, "w", State.FAILED)
        assert world.reason.startswith("exited with status 7 after ")


async def test_an_adopted_world_that_is_killed_is_started_again(
    tmp_path: Path, until: Until
) -> None:
    policy = RestartPolicy(backoff_initial_s=0.01)
    async with visord(tmp_path, WorldSpec("w", ("sleep", "1000"), restart=policy)) as (_, pids):
        pass
    async with Supervisor(tmp_path) as supervisor:
        await supervisor.adopt()
        os.kill(pids["w"], signal.SIGKILL)
        await until(lambda: supervisor.get("w").pid not in (None, pids["w"]))
        world = supervisor.get("w")
        assert world.reason.startswith("killed by SIGKILL after ")
        assert (world.adopted, world.restarts, world.quick_failures) == (False, 1, 1)
        await supervisor.stop_all("end")


async def test_died_while_nobody_watched(tmp_path: Path, wait_for: WaitFor, until: Until) -> None:
    policy = RestartPolicy(backoff_initial_s=0.01)
    spec = WorldSpec("w", ("sh", "-c", "sleep 1000 & sleep 2000"), restart=policy)
    async with visord(tmp_path, spec) as (_, pids):
        pass
    before = session(pids["w"])
    os.kill(pids["w"], signal.SIGKILL)
    await until(lambda: start_ticks(pids["w"]) is None)
    async with Supervisor(tmp_path) as supervisor:
        assert await supervisor.adopt() == []
        assert supervisor.get("w").reason.startswith("ended unwatched, at most ")
        world = await wait_for(supervisor, "w", State.RUNNING)
        assert (world.total_failures, world.adopted) == (1, False)
        assert not set(before) & set(session(pids["w"]))  # its children are gone too
        await supervisor.stop_all("end")


def session(leader: int) -> list[int]:
    found = []
    for pid in map(int, filter(str.isdigit, os.listdir("/proc"))):  # noqa: PTH208
        try:
            if os.getsid(pid) == leader and start_ticks(pid) is not None:
                found.append(pid)
        except ProcessLookupError:
            continue
    return found


def change(directory: Path, name: str, **changes: object) -> None:
    path = directory / "w" / name
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


@pytest.mark.parametrize("field", ["start_ticks", "boot_id"])
async def test_a_stranger_with_the_recorded_pid_is_left_alone(tmp_path: Path, field: str) -> None:
    stranger = await asyncio.create_subprocess_exec("sleep", "1000", start_new_session=True)
    try:
        async with visord(tmp_path, WorldSpec("w", ("sleep", "1000"))) as (_, pids):
            os.kill(pids["w"], signal.SIGKILL)
        ticks = start_ticks(stranger.pid)
        assert ticks
        changes: dict[str, object] = {"pid": stranger.pid, "start_ticks": ticks}
        changes |= {"start_ticks": ticks - 1} if field == "start_ticks" else {"boot_id": "other"}
        change(tmp_path, PROCESS_FILE, **changes)
        async with Supervisor(tmp_path) as supervisor:
            assert await supervisor.adopt() == []
            await supervisor.restart("w")
            assert supervisor.get("w").pid != stranger.pid
            await supervisor.stop_all("end")
        assert start_ticks(stranger.pid) == ticks
    finally:
        stranger.kill()
        await stranger.wait()


async def test_after_a_boot_nothing_starts_unasked(tmp_path: Path) -> None:
    spec = WorldSpec("w", ("sleep", "1000"), generation="1")
    async with visord(tmp_path, spec) as (_, pids):
        os.kill(pids["w"], signal.SIGKILL)
    change(tmp_path, PROCESS_FILE, boot_id="the last")
    change(tmp_path, WANTED_FILE, boot_id="the last", state="starting")
    async with Supervisor(tmp_path) as supervisor:
        await supervisor.adopt()
        world = supervisor.get("w")
        assert (world.state, world.reason) == (State.STOPPED, "the machine was started anew")
        assert await supervisor.ensure(spec) == "started"
        await supervisor.stop_all("end")


async def test_a_stop_that_was_cut_off_is_finished(tmp_path: Path) -> None:
    async with visord(tmp_path, WorldSpec("w", ("sleep", "1000"))) as (_, pids):
        pass
    change(tmp_path, WANTED_FILE, asked_to_run=False, state="stopped", reason="asked")
    async with Supervisor(tmp_path) as supervisor:
        assert await supervisor.adopt() == []
        world = supervisor.get("w")
        assert (world.state, world.reason) == (State.STOPPED, "asked")
    assert start_ticks(pids["w"]) is None


async def test_a_start_that_was_cut_off_is_no_failure(tmp_path: Path) -> None:
    async with visord(tmp_path, WorldSpec("w", ("sleep", "1000"))) as (_, pids):
        os.kill(pids["w"], signal.SIGKILL)
    change(tmp_path, WANTED_FILE, launch="never came to it", state="starting")
    async with Supervisor(tmp_path) as supervisor:
        await supervisor.adopt()
        world = supervisor.get("w")
        assert (world.state, world.reason) == (State.RUNNING, "the start was cut off")
        await supervisor.stop_all("end")


@pytest.mark.parametrize("damage", ["", "{", '{"spec": 3}', "[]"])
async def test_a_damaged_decision_loses_no_process(tmp_path: Path, damage: str) -> None:
    async with visord(tmp_path, WorldSpec("w", ("sleep", "1000"), generation="1")) as (_, pids):
        pass
    (tmp_path / "w" / WANTED_FILE).write_text(damage)
    async with Supervisor(tmp_path) as supervisor:
        (world,) = await supervisor.adopt()
        assert (world.pid, world.generation) == (pids["w"], "1")
        await supervisor.stop_all("end")
    (tmp_path / "w" / WANTED_FILE).write_text(damage)
    (tmp_path / "w" / PROCESS_FILE).write_text(damage)
    async with Supervisor(tmp_path) as supervisor:
        await supervisor.adopt()
        assert supervisor.worlds() == []
        assert await supervisor.ensure(WorldSpec("w", ("sleep", "1"))) == "started"
        await supervisor.stop_all("end")


async def test_given_up_and_waiting_stay_so(tmp_path: Path, wait_for: WaitFor) -> None:
    policy = RestartPolicy(max_quick_failures=1)
    spec = WorldSpec("w", ("false",), restart=policy, generation="1")
    waiting = WorldSpec("x", ("false",), restart=RestartPolicy(backoff_initial_s=30))
    async with Supervisor(tmp_path) as supervisor:
        await supervisor.ensure(spec)
        await supervisor.ensure(waiting)
        failed = await wait_for(supervisor, "w", State.FAILED)
        await wait_for(supervisor, "x", State.BACKOFF)
    async with Supervisor(tmp_path) as supervisor:
        await supervisor.adopt()
        world, other = supervisor.get("w"), supervisor.get("x")
        assert (world.state, world.reason) == (State.FAILED, failed.reason)
        assert world.last_lines == failed.last_lines
        assert (other.state, other.quick_failures) == (State.BACKOFF, 1)
        assert other.next_attempt_s is not None
        assert 0 < other.next_attempt_s <= 30
        assert await supervisor.ensure(spec) == "unchanged"
        await supervisor.stop_all("end")


async def test_a_wait_that_is_over_is_not_begun_again(tmp_path: Path, wait_for: WaitFor) -> None:
    policy = RestartPolicy(backoff_initial_s=30)
    async with Supervisor(tmp_path) as supervisor:
        await supervisor.start(WorldSpec("w", ("nonesuch",), restart=policy))
    spec = WorldSpec("w", ("sleep", "1000"))
    change(tmp_path, WANTED_FILE, not_before_s=0, spec=spec.to_json())
    async with Supervisor(tmp_path) as supervisor:
        await supervisor.adopt()
        world = await wait_for(supervisor, "w", State.RUNNING)
        assert (world.total_failures, world.restarts) == (1, 1)
        await supervisor.stop_all("end")


async def test_a_launcher_that_hangs_puts_its_world_off_and_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, wait_for: WaitFor
) -> None:
    monkeypatch.setattr("chronovisor.worlds.records._LOCK_WAIT_S", 0.05)
    specs = [WorldSpec(name, ("sleep", "1000")) for name in ("v", "w")]
    async with visord(tmp_path, *specs) as (_, pids):
        os.kill(pids["w"], signal.SIGKILL)
    policy = RestartPolicy(backoff_max_s=0.01, backoff_initial_s=0.01)
    change(tmp_path, WANTED_FILE, spec=WorldSpec("w", ("sleep", "1"), restart=policy).to_json())
    lock = os.open(tmp_path / "w" / LOCK_FILE, os.O_RDWR)
    fcntl.flock(lock, fcntl.LOCK_EX)
    async with Supervisor(tmp_path) as supervisor:
        assert [world.name for world in await supervisor.adopt()] == ["v"]
        assert supervisor.get("w").reason.startswith("a launcher in ")
        os.close(lock)
        await wait_for(supervisor, "w", State.RUNNING)
        await supervisor.stop_all("end")


async def test_a_world_asked_for_before_adoption_is_adopted(tmp_path: Path) -> None:
    spec = WorldSpec("w", ("sleep", "1000"), generation="1")
    async with visord(tmp_path, spec) as (_, pids):
        pass
    async with Supervisor(tmp_path) as supervisor:
        assert await supervisor.ensure(spec) == "unchanged"
        assert supervisor.get("w").pid == pids["w"]
        await supervisor.stop_all("end")


async def test_a_removal_that_was_cut_off_is_finished(tmp_path: Path) -> None:
    (tmp_path / ".removed-w-1").mkdir()
    (tmp_path / ".removed-w-1" / "log").touch()
    async with Supervisor(tmp_path) as supervisor:
        await supervisor.adopt()
        assert supervisor.worlds() == []
    assert not (tmp_path / ".removed-w-1").exists()
