"""Limits that the kernel really enforces, seen from the limited process."""

import os
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from chronovisor.worlds import Limits, RestartPolicy, State, Supervisor, World, WorldSpec
from chronovisor.worlds.cgroups import Cgroups, hierarchies, mounted

WaitFor = Callable[[Supervisor, str, State], Awaitable[World]]
ONCE = RestartPolicy(mode="never")


def has(controller: str) -> bool:
    return Cgroups.of_this_process("probe").version(controller) is not None


needs = {
    name: pytest.mark.skipif(not has(name), reason=f"no cgroup controller {name} here")
    for name in ("memory", "cpu", "pids")
}
HOG = "held = []\nwhile True: held.append(bytearray(b'x') * (1 << 20))"


def python(script: str, limits: Limits) -> WorldSpec:
    return WorldSpec("w", (sys.executable, "-I", "-c", script), limits=limits, restart=ONCE)


def by(world: World) -> dict[str, str | None]:
    return {how.limit: how.by for how in world.enforced}


@needs["memory"]
async def test_memory(supervisor: Supervisor, wait_for: WaitFor) -> None:
    world = await supervisor.start(python(HOG, Limits(memory_bytes=48 << 20)))
    assert "cgroup" in (by(world)["memory_bytes"] or "")
    world = await wait_for(supervisor, "w", State.FAILED)
    assert world.reason.startswith("killed by SIGKILL after ")
    assert "out of memory (limit 48 MiB)" in world.reason


async def test_memory_without_cgroups(tmp_path: Path, wait_for: WaitFor) -> None:
    async with Supervisor(tmp_path, cgroups=Cgroups("none", [])) as supervisor:
        world = await supervisor.start(python(HOG, Limits(memory_bytes=256 << 20)))
        (how,) = world.enforced
        assert how.by == "RLIMIT_AS (address space of each process)"
        assert how.problem == "no cgroup controller 'memory' here"
        world = await wait_for(supervisor, "w", State.FAILED)
        assert world.last_lines[-1] == "MemoryError"


FORKS = """
import os, time
n = 0
try:
    while n < 50:
        if os.fork() == 0:
            time.sleep(1000)
        n += 1
except BlockingIOError:
    print("forks", n, flush=True)
"""


@needs["pids"]
async def test_processes(supervisor: Supervisor, wait_for: WaitFor) -> None:
    await supervisor.start(python(FORKS, Limits(processes=5)))
    world = await wait_for(supervisor, "w", State.STOPPED)
    assert world.last_lines == ("forks 4",)


async def test_processes_without_cgroups(tmp_path: Path) -> None:
    async with Supervisor(tmp_path, cgroups=Cgroups("none", [])) as supervisor:
        spec = WorldSpec("w", ("sleep", "1000"), limits=Limits(processes=5))
        (how,) = (await supervisor.start(spec)).enforced
        assert how.by is None
        assert "does not bind root" in (how.problem or "")
        await supervisor.stop_all("end")


@needs["cpu"]
async def test_cpu(supervisor: Supervisor) -> None:
    spec = WorldSpec("w", ("sleep", "1000"), limits=Limits(cpu_percent=25))
    world = await supervisor.start(spec)
    assert "cpu" in (by(world)["cpu_percent"] or "")
    assert quota(world.pid or 0) == (25_000, 100_000)


def quota(pid: int) -> tuple[int, int]:
    mounts, groups = (Path(f"/proc/{pid}/{name}").read_text() for name in ("mountinfo", "cgroup"))
    for hierarchy in hierarchies(mounted(mounts, groups)):
        if (hierarchy.own / "cpu.max").exists():
            first, second = (hierarchy.own / "cpu.max").read_text().split()
            return int(first), int(second)
        if (hierarchy.own / "cpu.cfs_quota_us").exists():
            files = ("cpu.cfs_quota_us", "cpu.cfs_period_us")
            first, second = ((hierarchy.own / name).read_text() for name in files)
            return int(first), int(second)
    raise AssertionError("no quota")


async def test_fifo_priority(supervisor: Supervisor) -> None:
    limits = Limits(fifo_priority=7, cpu_percent=50)
    world = await supervisor.start(WorldSpec("w", ("sleep", "1000"), limits=limits))
    assert world.pid
    assert os.sched_getscheduler(world.pid) == os.SCHED_FIFO
    assert os.sched_getparam(world.pid).sched_priority == 7
    assert by(world)["fifo_priority"] == "SCHED_FIFO"
    (cpu,) = (how for how in world.enforced if how.limit == "cpu_percent")
    assert cpu.by is None
    assert "SCHED_FIFO is outside the quota" in (cpu.problem or "")


async def test_open_files(supervisor: Supervisor, wait_for: WaitFor) -> None:
    spec = WorldSpec("w", ("sh", "-c", "ulimit -n"), limits=Limits(open_files=77), restart=ONCE)
    await supervisor.start(spec)
    assert (await wait_for(supervisor, "w", State.STOPPED)).last_lines == ("77",)


async def test_a_refused_limit_is_named_and_the_world_runs(tmp_path: Path) -> None:
    async with Supervisor(tmp_path) as supervisor:
        limits = Limits(open_files=1 << 30)  # above /proc/sys/fs/nr_open
        world = await supervisor.start(WorldSpec("w", ("sleep", "1000"), limits=limits))
        (how,) = world.enforced
        assert world.state is State.RUNNING
        assert how.by is None
        assert how.problem
        assert how.problem.startswith("setrlimit: ")
        await supervisor.stop_all("end")


async def test_cgroups_are_gone_afterwards(tmp_path: Path) -> None:
    instance = f"test-{os.getpid()}-{tmp_path.name}"
    limits = Limits(memory_bytes=64 << 20, processes=10, cpu_percent=50)
    async with Supervisor(tmp_path, instance=instance) as supervisor:
        await supervisor.start(WorldSpec("w", ("sleep", "1000"), limits=limits))
        assert cgroups_of(instance) or not any(map(has, needs))
        await supervisor.stop_all("end")
    assert cgroups_of(instance) == []


def cgroups_of(instance: str) -> list[Path]:
    # Unlike Path.rglob it does not mind what other tests remove meanwhile
    return [Path(top) for top, _, _ in os.walk("/sys/fs/cgroup") if top.endswith(f"/{instance}")]
