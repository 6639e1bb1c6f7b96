"""SIGKILL to visord at any moment: never two processes of a world, never an unknown one."""

import asyncio
import fcntl
import json
import os
import re
import sys
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path

from chronovisor.worlds import RestartPolicy, Supervisor, WorldSpec
from chronovisor.worlds.launcher import boot_id, start_ticks

Until = Callable[[Callable[[], bool]], Awaitable[None]]

DRIVER = Path(__file__).with_name("kill_driver.py")
ROUNDS = 150
SEED = 1


async def test_killed_over_and_over(tmp_path: Path) -> None:
    process = await asyncio.create_subprocess_exec(
        sys.executable, str(DRIVER), str(tmp_path), str(ROUNDS), str(SEED), stdout=-1
    )
    out, _ = await process.communicate()
    assert process.returncode == 0
    result = json.loads(out)
    assert not result["violations"], "\n".join(result["violations"])
    # The test tested something: supervisors came to their check, and found worlds to adopt.
    assert result["told"]["c"] > ROUNDS / 10
    assert result["told"]["A"] > ROUNDS / 20


async def run_launcher(directory: Path, launch: str) -> str:
    """Run a launcher by hand, as one that an earlier visord left behind; return its report."""
    orders = {
        "launch": launch,
        "lock": None,
        "argv": ["touch", str(directory / "ran")],
        "env": {"PATH": os.environ["PATH"]},
        "working_directory": "/",
        "user": None,
        "fifo_priority": None,
        "cgroups": [],
        "rlimits": [],
        "enforced": {},
        "spec": {},
    }
    launcher = Path(sys.modules["chronovisor.worlds.launcher"].__file__ or "")
    script = '"$@" 3>&1 >/dev/null'
    argv = ["/bin/sh", "-c", script, "sh", sys.executable, "-I", "-S", str(launcher)]
    process = await asyncio.create_subprocess_exec(*argv, str(directory), stdin=-1, stdout=-1)
    out, _ = await process.communicate(json.dumps(orders).encode())
    return out.decode()


def write(directory: Path, name: str, document: Mapping[str, object]) -> None:
    (directory / name).write_text(json.dumps(document))


async def test_a_late_launcher_of_an_earlier_visord_gives_up(tmp_path: Path) -> None:
    assert '"superseded"' in await run_launcher(tmp_path, "mine")
    write(tmp_path, "wanted.json", {"launch": "another"})
    assert '"superseded"' in await run_launcher(tmp_path, "mine")
    assert not (tmp_path / "ran").exists()
    write(tmp_path, "wanted.json", {"launch": "mine"})
    assert await run_launcher(tmp_path, "mine") == ""
    assert (tmp_path / "ran").exists()


async def test_a_launcher_decides_under_the_lock(tmp_path: Path, until: Until) -> None:
    write(tmp_path, "wanted.json", {"launch": "mine"})
    lock = os.open(tmp_path / "lock", os.O_RDWR | os.O_CREAT)
    fcntl.flock(lock, fcntl.LOCK_EX)
    launcher = asyncio.ensure_future(run_launcher(tmp_path, "mine"))
    waiting = re.compile(rf"-> FLOCK .*:{os.fstat(lock).st_ino} ")
    await until(lambda: waiting.search(Path("/proc/locks").read_text()) is not None)
    write(tmp_path, "wanted.json", {"launch": "another"})
    os.close(lock)
    assert '"superseded"' in await launcher


async def test_after_adoption_no_earlier_launch_can_go_on(tmp_path: Path) -> None:
    async with Supervisor(tmp_path) as supervisor:
        await supervisor.start(WorldSpec("w", ("true",), restart=RestartPolicy(mode="never")))
        await supervisor.stop("w", "asked")
    world = tmp_path / "w"
    write(world, "wanted.json", json.loads((world / "wanted.json").read_text()) | {"launch": "old"})
    async with Supervisor(tmp_path) as supervisor:
        await supervisor.adopt()
        assert '"superseded"' in await run_launcher(world, "old")


async def test_a_launcher_never_starts_beside_a_living_process(tmp_path: Path) -> None:
    write(tmp_path, "wanted.json", {"launch": "mine"})
    me = {"pid": os.getpid(), "start_ticks": start_ticks(os.getpid()), "boot_id": boot_id()}
    write(tmp_path, "process.json", me)
    assert '"running"' in await run_launcher(tmp_path, "mine")
    write(tmp_path, "process.json", me | {"boot_id": "another boot"})
    assert await run_launcher(tmp_path, "mine") == ""


async def test_a_launcher_that_cannot_record_itself_runs_nothing(tmp_path: Path) -> None:
    write(tmp_path, "wanted.json", {"launch": "mine"})
    (tmp_path / "process.json").mkdir()
    (tmp_path / "process.json" / "x").touch()
    report = await run_launcher(tmp_path, "mine")
    assert "process.json" in report
    assert not (tmp_path / "ran").exists()
