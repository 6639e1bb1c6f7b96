"""Real containers: what is inside, what is refused, ended, killed, adopted, started again."""

import asyncio
import json
import os
import signal
import subprocess
from pathlib import Path

import pytest

from awaited_worlds import reaches, until
from chronovisor.errors import ToolFailed
from chronovisor.worlds import Limits, RestartPolicy, State, Supervisor, WorldSpec
from chronovisor.worlds.launcher import start_ticks
from chronovisor.worlds.sandbox import Sandbox

ONCE = RestartPolicy(mode="never")


def sh(script: str, sandbox: Sandbox, **more: object) -> WorldSpec:
    return WorldSpec("w", ("/bin/sh", "-c", script), sandbox=sandbox, **more)  # type: ignore[arg-type]


def said(*argv: str) -> str:
    return subprocess.check_output(argv, text=True)


def cmdline(pid: int | None) -> bytes:
    return Path(f"/proc/{pid}/cmdline").read_bytes()


def open_files(pid: int | None) -> list[str]:
    return [str(path.readlink()) for path in Path(f"/proc/{pid}/fd").iterdir()]


def create(runtime: str, tmp_path: Path) -> int:
    """Create world w's container behind the supervisor's back; return its init."""
    bundle, pid_file = tmp_path / "worlds" / "w" / "bundle", tmp_path / "pid"
    words = ["create", "--bundle", str(bundle), "--pid-file", str(pid_file), "w"]
    argv = [runtime, "--root", str(tmp_path / "crx"), *words]
    null = subprocess.DEVNULL
    subprocess.run(argv, check=True, stdin=null, stdout=null, stderr=null)
    return int(pid_file.read_text())


async def lines(supervisor: Supervisor, spec: WorldSpec) -> list[str]:
    """Return what a container that ends by itself prints."""
    await supervisor.start(spec)
    await until(lambda: supervisor.get(spec.name).state in (State.STOPPED, State.FAILED))
    return [line.text for line in supervisor.log_lines(spec.name, 200)]


async def test_the_record_names_the_program_itself(
    supervisor: Supervisor, runtime: str, tmp_path: Path
) -> None:
    spec = WorldSpec("w", ("sleep", "1000"), sandbox=Sandbox(runtime=runtime))
    world = await supervisor.start(spec)
    assert (world.state, world.adopted) == (State.RUNNING, False)
    assert cmdline(world.pid) == b"sleep\x001000\0"
    # Nothing of the runtime or of the launcher stays between.
    listing = said("ps", "-eo", "pid,args")
    assert [line for line in listing.splitlines() if str(tmp_path) in line] == []
    state = said(runtime, "--root", str(tmp_path / "crx"), "state", "w")
    assert json.loads(state)["pid"] == world.pid
    stopped = await supervisor.stop("w", "asked")
    assert (stopped.state, stopped.reason) == (State.STOPPED, "asked")
    assert list((tmp_path / "crx").iterdir()) == []


async def test_inside_there_is_only_what_was_given(
    supervisor: Supervisor, runtime: str, tmp_path: Path
) -> None:
    mine, shown, secret = (tmp_path / name for name in ("mine", "shown", "secret"))
    for path in (mine, shown, secret):
        path.mkdir()
        (path / "file").write_text(path.name)
    sandbox = Sandbox(runtime=runtime, writable=(str(mine),), read_only=(str(shown),))
    script = f"""
    ls -A / | tr '\\n' ' '; echo; ls -A /etc | tr '\\n' ' '; echo
    cat {shown}/file; echo; cat {secret}/file; cat /etc/shadow
    for path in / /usr /etc {shown} /sys; do touch $path/x; done
    touch {mine}/x && echo wrote
    grep -E 'CapEff|CapBnd|NoNewPrivs|Seccomp:' /proc/self/status | tr '\\t' ' '
    ls /dev | tr '\\n' ' '; echo
    unshare -U true; id -u
    ps -e -o pid= | head -1
    """
    found = "\n".join(await lines(supervisor, sh(script, sandbox, restart=ONCE)))
    assert (mine / "x").exists()
    assert "wrote" in found
    assert "\nshown\n" in found
    assert "\nsecret\n" not in found
    assert "'/etc/shadow': No such file" in found or "/etc/shadow: No such file" in found
    for place in ("/", "/usr/", "/etc/", f"{shown}/", "/sys/"):
        assert f"cannot touch '{place}x': " in found.replace("//x", "/x")
    assert "CapEff: 0000000000000000" in found
    assert "CapBnd: 0000000000000000" in found
    assert "NoNewPrivs: 1" in found
    assert "Seccomp: 2" in found
    assert "unshare failed: Operation not permitted" in found
    devices = "core fd full null ptmx pts random shm stderr stdin stdout tty urandom zero"
    assert {*devices.split()} >= {
        *next(line for line in found.splitlines() if "null" in line).split()
    }


async def test_devices_and_capabilities_are_those_given(
    supervisor: Supervisor, runtime: str
) -> None:
    script = """
    ls -l /dev/rtc0 /dev/hpet /dev/kmsg
    exec 3</dev/kmsg && echo opened
    grep CapEff /proc/self/status | tr '\\t' ' '
    """
    sandbox = Sandbox(runtime=runtime, devices=("/dev/kmsg",), capabilities=("CAP_SYSLOG",))
    found = "\n".join(await lines(supervisor, sh(script, sandbox, restart=ONCE)))
    assert "/dev/kmsg" in found
    assert "opened" in found
    assert "'/dev/rtc0': No such file" in found
    assert f"CapEff: {1 << 34:016x}" in found  # CAP_SYSLOG is 34


async def test_another_user_has_the_capabilities_too(supervisor: Supervisor, runtime: str) -> None:
    sandbox = Sandbox(runtime=runtime, capabilities=("CAP_NET_RAW",))
    script = "id -un; grep -E 'CapEff' /proc/self/status | tr '\\t' ' '; echo err >/dev/stderr"
    found = await lines(supervisor, sh(script, sandbox, user="nobody", restart=ONCE))
    assert found == ["nobody", f"CapEff: {1 << 13:016x}", "err"]


async def test_another_user_has_a_directory_for_files_at_each_start(
    supervisor: Supervisor, runtime: str
) -> None:
    script = "stat -c %a /tmp /dev/shm; touch /tmp/mine /dev/shm/mine && ls /tmp"
    spec = sh(script, Sandbox(runtime=runtime), user="nobody", restart=ONCE)
    said_each_time = ["1777", "1777", "mine"]
    for times in (1, 2):
        assert await lines(supervisor, spec) == said_each_time * times


async def test_how_it_ended_is_known(supervisor: Supervisor, runtime: str) -> None:
    await supervisor.start(sh("exit 7", Sandbox(runtime=runtime), restart=ONCE))
    world = await reaches(supervisor, "w", State.FAILED)
    assert world.reason.startswith("exited with status 7 after ")


async def test_limits_and_priority(supervisor: Supervisor, runtime: str) -> None:
    limits = Limits(memory_bytes=64 << 20, processes=20, open_files=77, fifo_priority=3)
    script = "ulimit -n; exec sleep 1000"
    world = await supervisor.start(sh(script, Sandbox(runtime=runtime), limits=limits))
    await until(lambda: "77" in supervisor.get("w").last_lines)
    problems = {one.limit: one.problem for one in world.enforced}
    assert sorted(problems) == ["fifo_priority", "memory_bytes", "open_files", "processes"]
    assert [text for text in problems.values() if text and "no cgroup controller" not in text] == []
    assert os.sched_getscheduler(world.pid or 0) == os.SCHED_FIFO
    assert os.sched_getparam(world.pid or 0).sched_priority == 3


async def test_out_of_memory_is_said(supervisor: Supervisor, runtime: str) -> None:
    limits = Limits(memory_bytes=20 << 20)
    script = "exec python3 -c 'b = bytearray(200 << 20); b[::4096] = b\"x\" * len(b[::4096])'"
    started = await supervisor.start(
        sh(script, Sandbox(runtime=runtime), limits=limits, restart=ONCE)
    )
    if started.enforced and not (started.enforced[0].by or "").startswith("cgroup"):
        pytest.skip("no memory cgroup here")
    world = await reaches(supervisor, "w", State.FAILED)
    assert "out of memory (limit 20 MiB)" in world.reason


async def test_stop_asks_first(supervisor: Supervisor, runtime: str) -> None:
    script = "trap 'echo got TERM; exit' TERM; echo ready; while :; do sleep 0.05; done"
    await supervisor.start(sh(script, Sandbox(runtime=runtime)))
    await until(lambda: "ready" in supervisor.get("w").last_lines)
    await supervisor.stop("w", "asked")
    assert supervisor.get("w").last_lines[-1] == "got TERM"


async def test_stop_of_what_handles_no_signal_does_not_wait(
    supervisor: Supervisor, runtime: str
) -> None:
    """The kernel keeps SIGTERM from an init that does not handle it."""
    spec = WorldSpec("w", ("sleep", "1000"), sandbox=Sandbox(runtime=runtime), stop_timeout_s=1000)
    await supervisor.start(spec)
    assert (await supervisor.stop("w", "asked")).state is State.STOPPED


async def test_init_killed_with_children_is_started_again(
    supervisor: Supervisor, runtime: str, quick: RestartPolicy
) -> None:
    script = "sleep 1000 & setsid sleep 1001 & echo ready; wait"
    first = await supervisor.start(sh(script, Sandbox(runtime=runtime), restart=quick))
    await until(lambda: "ready" in supervisor.get("w").last_lines)
    children = said("pgrep", "-P", str(first.pid)).split()
    assert len(children) == 2
    os.kill(first.pid or 0, signal.SIGKILL)
    await until(lambda: supervisor.get("w").pid not in (None, first.pid))
    world = supervisor.get("w")
    assert world.reason.startswith("killed by SIGKILL")
    assert [pid for pid in children if start_ticks(int(pid)) is not None] == []


async def test_adopted_and_neither_touched_nor_doubled(tmp_path: Path, runtime: str) -> None:
    spec = sh("echo one; exec sleep 1000", Sandbox(runtime=runtime), generation="1")
    async with Supervisor(tmp_path / "worlds") as supervisor:
        pid = (await supervisor.start(spec)).pid
    async with Supervisor(tmp_path / "worlds") as supervisor:
        adopted = await supervisor.adopt()
        assert [(world.name, world.pid, world.adopted) for world in adopted] == [("w", pid, True)]
        assert await supervisor.ensure(spec) == "unchanged"
        await supervisor.stop_all("end")
    assert start_ticks(pid or 0) is None


async def test_died_while_no_visord_looked(
    tmp_path: Path, runtime: str, quick: RestartPolicy
) -> None:
    spec = WorldSpec("w", ("sleep", "1000"), sandbox=Sandbox(runtime=runtime), restart=quick)
    async with Supervisor(tmp_path / "worlds") as supervisor:
        pid = (await supervisor.start(spec)).pid or 0
    os.kill(pid, signal.SIGKILL)
    await until(lambda: start_ticks(pid) is None)
    assert (tmp_path / "crx" / "w").exists()
    async with Supervisor(tmp_path / "worlds") as supervisor:
        await supervisor.adopt()
        world = await reaches(supervisor, "w", State.RUNNING)
        assert world.pid != pid
        await supervisor.stop_all("end")
    assert list((tmp_path / "crx").iterdir()) == []


async def test_a_stale_container_of_that_name_is_no_obstacle(
    supervisor: Supervisor, runtime: str, tmp_path: Path
) -> None:
    """One that was created and never recorded, as a launcher killed in between leaves it."""
    spec = WorldSpec("w", ("sleep", "1000"), sandbox=Sandbox(runtime=runtime))
    await supervisor.start(spec)
    await supervisor.stop("w", "asked")
    stale = create(runtime, tmp_path)
    assert start_ticks(stale) is not None
    world = await supervisor.start(spec)
    assert world.state is State.RUNNING
    assert start_ticks(stale) is None


async def test_created_recorded_and_never_started_is_no_running_world(
    tmp_path: Path, runtime: str
) -> None:
    """What a launcher leaves that is killed between its record and the start."""
    spec = WorldSpec("w", ("sleep", "1000"), sandbox=Sandbox(runtime=runtime))
    async with Supervisor(tmp_path / "worlds") as supervisor:
        await supervisor.start(spec)
        await supervisor.stop("w", "asked")
    directory = tmp_path / "worlds" / "w"
    inert = create(runtime, tmp_path)
    record = json.loads((directory / "process.json").read_text())
    record |= {"pid": inert, "start_ticks": start_ticks(inert), "launch": "cut-off"}
    (directory / "process.json").write_text(json.dumps(record))
    wanted = json.loads((directory / "wanted.json").read_text())
    wanted |= {"launch": "cut-off", "state": "starting", "asked_to_run": True}
    (directory / "wanted.json").write_text(json.dumps(wanted))
    async with Supervisor(tmp_path / "worlds") as supervisor:
        await supervisor.adopt()
        world = supervisor.get("w")
        assert (world.state, world.adopted) == (State.RUNNING, False)
        assert world.reason == "the start was cut off"
        assert world.pid != inert
        assert start_ticks(inert) is None
        await supervisor.stop_all("end")


async def test_a_lock_is_held_by_the_init(
    supervisor: Supervisor, runtime: str, tmp_path: Path
) -> None:
    inside = WorldSpec("a", ("sleep", "9999"), sandbox=Sandbox(runtime=runtime), lock="clock")
    bare = WorldSpec("b", ("sleep", "9999"), lock="clock")
    first = await supervisor.start(inside)
    assert first.state is State.RUNNING
    second = await supervisor.start(bare)
    assert second.reason == f"waits: lock clock is held by world a (process {first.pid})"
    links = open_files(first.pid)
    assert str(tmp_path / "locks" / "clock") in links
    os.kill(first.pid or 0, signal.SIGKILL)
    second = await reaches(supervisor, "b", State.RUNNING)
    assert (await supervisor.restart("a")).state is State.STARTING
    await supervisor.stop("b", "asked")
    await reaches(supervisor, "a", State.RUNNING)


@pytest.mark.parametrize(
    ("sandbox", "argv", "words"),
    [
        (Sandbox(runtime="nosuch"), ("true",), ["OCI runtime nosuch is not there"]),
        (Sandbox(runtime="/bin/false"), ("true",), ["/bin/false is no OCI runtime"]),
        (Sandbox(runtime="runc"), ("nonesuch",), ["runc create of container w failed", "nonesuch"]),
        (
            Sandbox(runtime="runc", writable=("/nonexistent",), devices=("/dev/ptp99",)),
            ("true",),
            ["/nonexistent, /dev/ptp99 (a device node)"],
        ),
    ],
)
async def test_what_cannot_be_made_says_why(
    supervisor: Supervisor, sandbox: Sandbox, argv: tuple[str, ...], words: list[str]
) -> None:
    world = await supervisor.start(WorldSpec("w", argv, sandbox=sandbox))
    assert (world.state, world.pid) == (State.BACKOFF, None)
    for word in words:
        assert word in world.reason


async def test_what_runs_is_not_ended_for_what_cannot(supervisor: Supervisor) -> None:
    running = WorldSpec("w", ("sleep", "1000"), sandbox=Sandbox(), generation="1")
    pid = (await supervisor.start(running)).pid
    without = WorldSpec("w", ("sleep", "1000"), sandbox=Sandbox(runtime="nosuch"), generation="2")
    with pytest.raises(ToolFailed, match="OCI runtime nosuch is not there") as caught:
        await supervisor.ensure(without)
    assert "apt-get install runc" in (caught.value.hint or "")
    world = supervisor.get("w")
    assert (world.state, world.pid, world.generation) == (State.RUNNING, pid, "1")


FAILING = """#!/bin/sh
case "$*" in
  --version) echo runc version {version}; exit 0 ;;
  *"{phase}"*) echo '{{"level":"error","msg":"it broke"}}' >"$4"; exit 1 ;;
esac
exec runc "$@"
"""


@pytest.mark.parametrize("phase", ["create", "start"])
async def test_a_runtime_that_fails_says_where(
    supervisor: Supervisor, tmp_path: Path, phase: str
) -> None:
    program = tmp_path / "runc-like"
    program.write_text(FAILING.format(version="1.1.5", phase=f" {phase} "))
    program.chmod(0o755)
    spec = WorldSpec("w", ("sleep", "1000"), sandbox=Sandbox(runtime=str(program)))
    world = await supervisor.start(spec)
    assert world.state is State.BACKOFF
    assert world.reason.startswith(f"runc {phase} of container w failed: it broke")
    assert list((tmp_path / "crx").iterdir()) == []


async def test_a_runtime_that_is_too_old(supervisor: Supervisor, tmp_path: Path) -> None:
    program = tmp_path / "old"
    program.write_text(FAILING.format(version="0.1.1", phase="x"))
    program.chmod(0o755)
    world = await supervisor.start(WorldSpec("w", ("true",), sandbox=Sandbox(runtime=str(program))))
    assert f"OCI runtime {program} is 0.1.1, too old" in world.reason


async def test_all_at_once(supervisor: Supervisor) -> None:
    specs = [WorldSpec(f"w{n}", ("sleep", "1000"), sandbox=Sandbox()) for n in range(4)]
    worlds = await asyncio.gather(*(supervisor.start(spec) for spec in specs))
    assert {world.state for world in worlds} == {State.RUNNING}
