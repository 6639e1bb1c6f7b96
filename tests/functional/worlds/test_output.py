"""What worlds write: whole, in order, bounded, and never at the world's expense."""

import os
import resource
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path

import pytest

from chronovisor.errors import NotFound, Unavailable
from chronovisor.worlds import LogLimits, RestartPolicy, State, Supervisor, World, WorldSpec

WaitFor = Callable[[Supervisor, str, State], Awaitable[World]]
Until = Callable[[Callable[[], bool]], Awaitable[None]]
ONCE = RestartPolicy(mode="never")


def sh(script: str, **more: object) -> WorldSpec:
    return WorldSpec("w", ("/bin/sh", "-c", script), restart=ONCE, **more)  # type: ignore[arg-type]


async def test_every_line_in_order_with_the_time(tmp_path: Path, wait_for: WaitFor) -> None:
    times = iter(range(10**18, 2 * 10**18, 10**9))
    async with Supervisor(tmp_path, now_ns=lambda: next(times)) as supervisor:
        await supervisor.start(sh("seq 1 2000; seq 2001 4000 >&2; printf 'no end'"))
        world = await wait_for(supervisor, "w", State.STOPPED)
        lines = supervisor.log_lines("w", 10_000)
        assert [line.text for line in lines] == [*map(str, range(1, 4001)), "no end"]
        stamps = [line.at_ns for line in lines]
        assert stamps == sorted(stamps)
        assert stamps[0] >= 10**18
        assert world.last_lines == tuple(line.text for line in lines[-20:])
        assert [line.text for line in supervisor.log_lines("w", 2)] == ["4000", "no end"]
        with pytest.raises(NotFound):
            supervisor.log_lines("v", 1)


async def test_rotation_bounds_the_log(supervisor: Supervisor, wait_for: WaitFor) -> None:
    await supervisor.start(sh("seq 1 20000", log=LogLimits(max_bytes=8192, files=3)))
    await wait_for(supervisor, "w", State.STOPPED)
    texts = [int(line.text) for line in supervisor.log_lines("w", 100_000)]
    assert texts == [*range(20_001 - len(texts), 20_001)]
    assert 400 < len(texts) < 800


def sizes(directory: Path) -> list[int]:
    return sorted(path.stat().st_size for path in directory.glob("log*"))


FLOOD = """
import os, sys
line = b"flood " * 20 + b"\\n"
refused = 0
for _ in range(int(sys.argv[1])):
    try:
        os.write(1, line)
    except BlockingIOError:
        refused += 1
open(sys.argv[2], "w").write(str(refused))
os.execvp("sleep", ["sleep", "1000"])
"""


async def test_a_flood_neither_blocks_the_world_nor_fills_visord(
    supervisor: Supervisor, tmp_path: Path, until: Until
) -> None:
    done = tmp_path / "done"
    argv = (sys.executable, "-c", FLOOD, "400000", str(done))  # 48 MB
    log = LogLimits(max_bytes=65536, files=2)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with supervisor_watch(supervisor, WorldSpec("w", argv, log=log)) as start:
        await start()
        await until(lambda: done.exists() and done.read_text() != "")
        lines = supervisor.log_lines("w", 100_000)
    assert int(done.read_text()) > 0  # it was refused, and went on
    assert any("lines get lost" in line.text for line in lines) or len(lines) > 100
    assert sum(sizes(tmp_path / "worlds" / "w")) <= 2 * 65536
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    assert grown < 32 * 1024  # KiB; the watcher below is never read
    assert supervisor.get("w").state is State.RUNNING


class supervisor_watch:  # noqa: N801  # reads as a context manager
    """Watch a world's log without ever reading, from before its first line."""

    def __init__(self, supervisor: Supervisor, spec: WorldSpec) -> None:
        self.supervisor, self.spec = supervisor, spec

    async def start(self) -> None:
        await self.supervisor.start(self.spec)
        self.watch = self.supervisor.watch_log(self.spec.name)

    def __enter__(self) -> Callable[[], Awaitable[None]]:
        return self.start

    def __exit__(self, *_: object) -> None:
        self.watch.close()


async def test_watchers_get_lines_as_they_come(supervisor: Supervisor) -> None:
    await supervisor.start(sh("n=0; while :; do n=$((n+1)); echo $n; sleep 0.01; done"))
    with supervisor.watch_log("w") as watch:
        first = int((await anext(watch)).text)
        for n in range(first + 1, first + 20):
            assert int((await anext(watch)).text) == n
        await supervisor.remove("w")
        rest = [int(line.text) async for line in watch]  # ends with the world
        assert rest == [*range(first + 20, first + 20 + len(rest))]


async def test_writes_while_no_visord_runs(tmp_path: Path, until: Until) -> None:
    go = tmp_path / "go"
    script = (
        f"echo before; while [ ! -e {go} ]; do sleep 0.01; done; seq 1 50000; echo done; "
        f"touch {go}.done; exec sleep 1000"
    )
    async with Supervisor(tmp_path / "worlds") as supervisor:
        await supervisor.start(sh(script, log=LogLimits(max_bytes=4 << 20)))
        await until(lambda: supervisor.get("w").last_lines == ("before",))
    go.touch()
    await until(lambda: go.with_suffix(".done").exists())
    async with Supervisor(tmp_path / "worlds") as supervisor:
        await supervisor.adopt()
        await until(lambda: "done" in supervisor.get("w").last_lines)
        texts = [line.text for line in supervisor.log_lines("w", 100_000)]
        assert texts == ["before", *map(str, range(1, 50_001)), "done"]
        await supervisor.stop_all("end")


async def test_a_full_pipe_never_blocks_a_world_without_visord(
    tmp_path: Path, until: Until
) -> None:
    done = tmp_path / "done"
    argv = (sys.executable, "-c", "import sys; sys.stdin.read();" + FLOOD, "20000", str(done))
    async with Supervisor(tmp_path / "worlds") as supervisor:
        await supervisor.start(WorldSpec("w", argv))
        supervisor._worlds["w"].output.close()  # as if nobody read
        await until(lambda: done.exists() and done.read_text() != "")
        assert int(done.read_text()) > 0
        await supervisor.stop_all("end")


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """Return a mounted file system of 256 KiB."""
    path = tmp_path / "small"
    path.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=256k", "small", str(path)], check=True)
    yield path
    subprocess.run(["umount", "--lazy", str(path)], check=True)


@pytest.fixture
async def cramped(small_disk: Path) -> AsyncIterator[Supervisor]:
    async with Supervisor(small_disk / "worlds") as supervisor:
        yield supervisor


def fill(disk: Path) -> Path:
    path = disk / "filler"
    with path.open("wb", buffering=0) as file:
        try:
            while True:
                file.write(b"x" * 4096)
        except OSError:
            return path


async def test_a_full_disk_leaves_worlds_running(
    cramped: Supervisor, small_disk: Path, until: Until
) -> None:
    script = "n=0; while :; do n=$((n+1)); echo $n; sleep 0.01; done"
    running = await cramped.start(sh(script))
    filler = fill(small_disk)
    await until(lambda: cramped.get("w").log_problem is not None)
    assert "No space left" in (cramped.get("w").log_problem or "")
    with pytest.raises(Unavailable, match="No space left"):
        await cramped.start(WorldSpec("v", ("sleep", "1000")))
    assert cramped.get("w").pid == running.pid
    os.kill(running.pid or 0, 9)
    await until(lambda: cramped.get("w").state is State.FAILED)
    assert cramped.get("w").reason.startswith("killed by SIGKILL")
    assert cramped.get("w").total_failures == 1
    filler.unlink()
    assert (await cramped.restart("w")).state is State.RUNNING
    await until(lambda: cramped.get("w").log_problem is None)
    await cramped.stop_all("end")
