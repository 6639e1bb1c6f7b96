"""Worlds that share a lock: one process at a time, whatever visord thinks and whoever is killed."""

import asyncio
import json
import os
import signal
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from chronovisor.worlds import RestartPolicy, State, Supervisor, World, WorldSpec
from chronovisor.worlds.locks import Locks

WaitFor = Callable[[Supervisor, str, State], Awaitable[World]]
Until = Callable[[Callable[[], bool]], Awaitable[None]]

DRIVER = Path(__file__).with_name("lock_driver.py")
ROUNDS = 80
SEED = 2


def sleeper(name: str, **more: object) -> WorldSpec:
    return WorldSpec(name, ("sleep", "1000"), lock="clock", **more)  # type: ignore[arg-type]


async def test_the_second_waits_for_the_end_of_the_first(
    supervisor: Supervisor, wait_for: WaitFor
) -> None:
    first = await supervisor.start(sleeper("a"))
    second = await supervisor.start(sleeper("b"))
    assert (second.state, second.pid, second.quick_failures) == (State.STARTING, None, 0)
    assert second.reason == f"waits: lock clock is held by world a (process {first.pid})"
    assert await supervisor.ensure(sleeper("b")) == "unchanged"
    await supervisor.stop("a", "asked")
    second = await wait_for(supervisor, "b", State.RUNNING)
    assert (second.reason, second.restarts) == ("its lock came free", 0)
    assert (await supervisor.start(sleeper("a"))).state is State.STARTING


async def test_without_the_lock_or_with_another_nobody_waits(supervisor: Supervisor) -> None:
    await supervisor.start(sleeper("a"))
    for other in (WorldSpec("b", ("sleep", "9")), WorldSpec("c", ("sleep", "9"), lock="other")):
        assert (await supervisor.start(other)).state is State.RUNNING


async def test_who_was_killed_comes_after_who_waits(
    supervisor: Supervisor, wait_for: WaitFor
) -> None:
    policy = RestartPolicy(backoff_initial_s=60, backoff_max_s=60)
    first = await supervisor.start(sleeper("a", restart=policy))
    await supervisor.start(sleeper("b"))
    os.kill(first.pid or 0, signal.SIGKILL)
    assert (await wait_for(supervisor, "b", State.RUNNING)).adopted is False
    # Whoever waits for a process must not take its exit status from its own supervision.
    assert (await wait_for(supervisor, "a", State.BACKOFF)).reason.startswith("killed by SIGKILL")


async def test_restarted_it_takes_its_own_lock_again(supervisor: Supervisor) -> None:
    first = await supervisor.start(sleeper("a"))
    again = await supervisor.restart("a")
    assert (again.state, again.restarts) == (State.RUNNING, 1)
    assert again.pid != first.pid


async def test_who_waits_can_be_stopped(supervisor: Supervisor, wait_for: WaitFor) -> None:
    await supervisor.start(sleeper("a"))
    await supervisor.start(sleeper("b"))
    assert (await supervisor.stop("b", "asked")).state is State.STOPPED
    await supervisor.start(sleeper("c"))
    await supervisor.stop("a", "asked")
    await wait_for(supervisor, "c", State.RUNNING)
    assert supervisor.get("b").state is State.STOPPED


@pytest.mark.parametrize("closing", ["", "exec 3>&- 4>&- 5>&- 6>&- 7>&- 8>&- 9>&-; "])
async def test_held_by_whoever_lives_though_no_visord_does(
    tmp_path: Path, until: Until, wait_for: WaitFor, closing: str
) -> None:
    script = f"{closing}echo ready; exec sleep 1000"
    holder = WorldSpec("a", ("/bin/sh", "-c", script), lock="clock")
    async with Supervisor(tmp_path / "worlds") as first:
        pid = (await first.start(holder)).pid
        await until(lambda: "ready" in first.get("a").last_lines)
    # Another supervisor does not even know of that world: the lock does.
    (tmp_path / "others").mkdir()
    (tmp_path / "others" / "locks").symlink_to(tmp_path / "locks")
    async with Supervisor(tmp_path / "others" / "worlds") as other:
        second = await other.start(sleeper("b"))
        assert second.state is State.STARTING
        assert f"held by world a (process {pid})" in second.reason
        os.kill(pid or 0, signal.SIGKILL)
        await wait_for(other, "b", State.RUNNING)
        await other.stop_all("end of the test")


async def test_a_child_that_outlives_the_holder_still_holds(
    tmp_path: Path, supervisor: Supervisor, until: Until, wait_for: WaitFor
) -> None:
    async with Supervisor(tmp_path / "first" / "worlds") as first:
        script = "setsid sleep 1000 & echo $!; exec sleep 1001"
        spec = WorldSpec("a", ("/bin/sh", "-c", script), lock="clock")
        pid = (await first.start(spec)).pid
        await until(lambda: bool(first.get("a").last_lines))
        child = int(first.get("a").last_lines[0])
    (tmp_path / "locks").symlink_to(tmp_path / "first" / "locks")
    os.kill(pid or 0, signal.SIGKILL)
    second = await supervisor.start(sleeper("b"))
    assert second.state is State.STARTING
    os.kill(child, signal.SIGKILL)
    await wait_for(supervisor, "b", State.RUNNING)


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"pid": "x"}', '{"pid": 1}', "null", "\0"])
async def test_a_damaged_file_is_a_free_lock(
    supervisor: Supervisor, tmp_path: Path, text: str
) -> None:
    (tmp_path / "locks").mkdir()
    (tmp_path / "locks" / "clock").write_text(text)
    assert Locks(tmp_path / "locks").holder("clock") is None
    assert (await supervisor.start(sleeper("a"))).state is State.RUNNING


async def test_killed_over_and_over(tmp_path: Path) -> None:
    """Three worlds with one lock, their supervisors killed: never two, never none for ever."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, str(DRIVER), str(tmp_path), str(ROUNDS), str(SEED), stdout=-1
    )
    out, _ = await process.communicate()
    assert process.returncode == 0
    result = json.loads(out)
    assert result["violations"] == []
    assert result["held"] >= 10, "the storm hardly ever let a world start"
    assert len(result["holders"]) > 1, "one world alone ever held the lock"
