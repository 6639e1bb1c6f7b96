"""Real processes: started, ended by themselves or by us, started again, given up."""

import asyncio
import os
import signal
import uuid
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from chronovisor.errors import Conflict, NotFound, Unavailable
from chronovisor.worlds import RestartPolicy, State, Supervisor, World, WorldSpec

WaitFor = Callable[[Supervisor, str, State], Awaitable[World]]
Until = Callable[[Callable[[], bool]], Awaitable[None]]
Processes = Callable[[str], list[int]]


def sh(name: str, script: str, **more: object) -> WorldSpec:
    return WorldSpec(name, ("/bin/sh", "-c", script), **more)  # type: ignore[arg-type]


def proc(pid: int | None, name: str) -> str:
    return Path(f"/proc/{pid}/{name}").read_text()


async def test_runs_and_stops(supervisor: Supervisor) -> None:
    world = await supervisor.start(WorldSpec("w", ("sleep", "1000")))
    assert (world.state, world.adopted, world.restarts) == (State.RUNNING, False, 0)
    assert world.pid is not None
    assert proc(world.pid, "cmdline") == "sleep\x001000\x00"
    assert os.getsid(world.pid) == world.pid
    with pytest.raises(Conflict):
        await supervisor.start(WorldSpec("w", ("sleep", "1000")))
    stopped = await supervisor.stop("w", "no longer needed")
    assert (stopped.state, stopped.reason) == (State.STOPPED, "no longer needed")
    assert stopped.pid is None
    assert not _is_running(world.pid)


async def test_surroundings_are_its_own(supervisor: Supervisor, wait_for: WaitFor) -> None:
    os.environ["VISORD_SECRET"] = "x"
    try:
        script = "env | sort; pwd; umask; ls /proc/self/fd | tr '\\n' ' '; echo; cat"
        spec = sh(
            "w",
            script,
            env={"WANTED": "yes"},
            working_directory="/usr",
            restart=RestartPolicy(mode="never"),
        )
        await supervisor.start(spec)
    finally:
        del os.environ["VISORD_SECRET"]
    world = await wait_for(supervisor, "w", State.STOPPED)
    path = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
    wanted = ["LANG=C.UTF-8", path, "PWD=/usr", "WANTED=yes", "/usr", "0022", "0 1 2 3 "]
    assert [line for line in world.last_lines if not line.startswith("OLDPWD")] == wanted
    assert world.reason.startswith("exited with status 0 after ")


async def test_signals_have_their_default_actions(supervisor: Supervisor) -> None:
    old = signal.signal(signal.SIGHUP, signal.SIG_IGN)  # as under nohup
    try:
        world = await supervisor.start(WorldSpec("w", ("sleep", "1000")))
    finally:
        signal.signal(signal.SIGHUP, old)
    status = proc(world.pid, "status")
    masks = dict(line.split(":\t") for line in status.splitlines() if line.startswith("Sig"))
    of_the_c_library = 1 << 31 | 1 << 32  # 32 and 33, which it lets nobody set
    assert int(masks["SigIgn"], 16) & ~of_the_c_library == 0
    assert int(masks["SigBlk"], 16) == 0


async def test_ends_at_once_until_given_up(
    supervisor: Supervisor, wait_for: WaitFor, quick: RestartPolicy
) -> None:
    seen: list[tuple[State, int]] = []
    supervisor.subscribe(lambda world: seen.append((world.state, world.quick_failures)))
    await supervisor.start(sh("w", "echo starting; echo no config >&2; exit 3", restart=quick))
    world = await wait_for(supervisor, "w", State.FAILED)
    assert world.reason.startswith("exited with status 3 after ")
    assert "gave up: 3 quick failures in a row" in world.reason
    assert world.last_lines[-2:] == ("starting", "no config")
    assert (world.restarts, world.quick_failures, world.total_failures) == (2, 3, 3)
    assert [state for state, _ in seen] == [
        *[State.STARTING, State.RUNNING, State.BACKOFF] * 2,
        *[State.STARTING, State.RUNNING, State.FAILED],
    ]
    assert await supervisor.ensure(sh("w", "exec sleep 1000", restart=quick)) == "updated"
    assert supervisor.get("w").state is State.FAILED
    assert (await supervisor.restart("w")).state is State.RUNNING
    assert supervisor.get("w").quick_failures == 0


async def test_killed_is_started_again_and_counted(
    supervisor: Supervisor, wait_for: WaitFor, until: Until
) -> None:
    policy = RestartPolicy(min_uptime_s=0, max_total_failures=2, backoff_initial_s=0)
    first = await supervisor.start(WorldSpec("w", ("sleep", "1000"), restart=policy))
    assert first.pid
    os.kill(first.pid, signal.SIGKILL)
    await until(lambda: supervisor.get("w").pid not in (None, first.pid))
    second = supervisor.get("w")
    assert second.pid
    assert (second.state, second.restarts, second.total_failures) == (State.RUNNING, 1, 1)
    assert second.reason.startswith("killed by SIGKILL after ")
    os.kill(second.pid, signal.SIGSEGV)
    world = await wait_for(supervisor, "w", State.FAILED)
    assert world.reason.startswith("killed by SIGSEGV")
    assert "gave up: 2 failures in total" in world.reason


@pytest.mark.parametrize(
    ("mode", "script", "state"),
    [
        ("on_failure", "exit 0", State.STOPPED),
        ("never", "exit 0", State.STOPPED),
        ("never", "exit 1", State.FAILED),
    ],
)
async def test_what_has_done_its_work_rests(
    supervisor: Supervisor, wait_for: WaitFor, mode: str, script: str, state: State
) -> None:
    spec = sh("w", script, restart=RestartPolicy(mode=mode), generation="1")  # type: ignore[arg-type]
    await supervisor.start(spec)
    await wait_for(supervisor, "w", state)
    assert await supervisor.ensure(spec) == "unchanged"
    assert supervisor.get("w").restarts == 0


@pytest.mark.parametrize(
    ("spec", "reason"),
    [
        (WorldSpec("w", ("ptp5l",)), "cannot run ptp5l: No such file or directory"),
        (WorldSpec("w", ("/etc",)), "cannot run /etc: Permission denied"),
        (
            WorldSpec("w", ("true",), working_directory="/nonexistent"),
            "cannot enter working directory /nonexistent: No such file or directory",
        ),
        (WorldSpec("w", ("true",), user="nosuch"), "there is no user 'nosuch' on this machine"),
    ],
)
async def test_cannot_run(supervisor: Supervisor, spec: WorldSpec, reason: str) -> None:
    world = await supervisor.start(spec)
    assert (world.state, world.reason, world.pid) == (State.BACKOFF, reason, None)
    assert world.quick_failures == 1
    assert world.next_attempt_s is not None
    assert 0 <= world.next_attempt_s <= spec.restart.backoff_initial_s


async def test_another_user(supervisor: Supervisor, wait_for: WaitFor) -> None:
    script = "id -un; id -Gn; echo $HOME $USER; echo again >/dev/stderr; echo x >$OUTPUT || true"
    record = "/proc/self/cwd/should-not"
    spec = sh(
        "w", script, user="nobody", env={"OUTPUT": record}, restart=RestartPolicy(mode="never")
    )
    await supervisor.start(spec)
    world = await wait_for(supervisor, "w", State.STOPPED)
    assert world.last_lines[:4] == ("nobody", "nogroup", "/nonexistent nobody", "again")
    assert "Permission denied" in world.last_lines[4]


async def test_ensure_is_level_triggered(supervisor: Supervisor) -> None:
    one = WorldSpec("w", ("sleep", "1000"), generation="1")
    assert await supervisor.ensure(one) == "started"
    pid = supervisor.get("w").pid
    assert await supervisor.ensure(one) == "unchanged"
    gentle = WorldSpec("w", ("sleep", "1000"), generation="1", stop_timeout_s=1)
    assert await supervisor.ensure(gentle) == "updated"
    assert supervisor.get("w").pid == pid
    two = WorldSpec("w", ("sleep", "2000"), generation="2")
    assert await supervisor.ensure(two) == "replaced"
    world = supervisor.get("w")
    assert (world.generation, world.argv) == ("2", ("sleep", "2000"))
    assert pid
    assert not _is_running(pid)
    await supervisor.stop("w", "asked")
    assert await supervisor.ensure(two) == "started"


async def test_a_new_generation_forgives_failures(
    supervisor: Supervisor, wait_for: WaitFor, quick: RestartPolicy
) -> None:
    await supervisor.ensure(sh("w", "exit 1", restart=quick, generation="bad"))
    await wait_for(supervisor, "w", State.FAILED)
    assert await supervisor.ensure(sh("w", "exec sleep 9999", generation="good")) == "started"
    world = supervisor.get("w")
    assert (world.state, world.quick_failures) == (State.RUNNING, 0)


async def test_stopping_what_ignores_sigterm_and_has_children(
    supervisor: Supervisor, until: Until, processes_with: Processes
) -> None:
    marker = uuid.uuid4().hex
    script = (
        f"trap '' TERM; (trap '' TERM; while :; do sleep 1000; done) {marker} & "
        "setsid sleep 2000 & echo ready; while :; do sleep 3000; done"
    ).replace(f"done) {marker}", "done)")
    spec = WorldSpec("w", ("/bin/sh", "-c", script, marker), stop_timeout_s=0.2)
    world = await supervisor.start(spec)
    await until(lambda: "ready" in supervisor.get("w").last_lines)
    await until(lambda: len(processes_with(marker)) == 2)
    children = [int(pid) for pid in _descendants(world.pid or 0)]
    assert len(children) >= 4
    await supervisor.stop("w", "asked")
    assert processes_with(marker) == []
    assert not [pid for pid in children if _is_running(pid)]


def _descendants(pid: int) -> list[int]:
    found = []
    for child in map(int, Path(f"/proc/{pid}/task/{pid}/children").read_text().split()):
        found += [child, *_descendants(child)]
    return found


def _is_running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except (FileNotFoundError, ProcessLookupError):
        return False


async def test_children_of_a_dead_world_do_not_outlive_it(
    supervisor: Supervisor, wait_for: WaitFor, until: Until
) -> None:
    policy = RestartPolicy(mode="never")
    world = await supervisor.start(
        sh("w", "sleep 1000 & sleep 1001 & echo $!; wait", restart=policy)
    )
    await until(lambda: bool(supervisor.get("w").last_lines))
    child = int(supervisor.get("w").last_lines[0])
    assert world.pid
    os.kill(world.pid, signal.SIGKILL)
    await wait_for(supervisor, "w", State.FAILED)
    assert not _is_running(child)


async def test_stop_signal(supervisor: Supervisor, until: Until) -> None:
    script = "trap 'echo got INT; exit' INT; echo ready; while :; do sleep 0.05; done"
    await supervisor.start(sh("w", script, stop_signal="SIGINT"))
    await until(lambda: "ready" in supervisor.get("w").last_lines)
    await supervisor.stop("w", "asked")
    assert supervisor.get("w").last_lines[-1] == "got INT"


async def test_hanging_up_tells_the_program_alone(supervisor: Supervisor, until: Until) -> None:
    script = "trap 'echo got HUP' HUP; echo ready; while :; do sleep 0.05; done"
    before = await supervisor.start(sh("w", script))
    await until(lambda: "ready" in supervisor.get("w").last_lines)
    supervisor.hang_up("w")
    await until(lambda: "got HUP" in supervisor.get("w").last_lines)
    assert supervisor.get("w").pid == before.pid
    await supervisor.stop("w", "asked")
    supervisor.hang_up("w")  # nothing runs, nothing happens
    with pytest.raises(NotFound):
        supervisor.hang_up("nobody")


async def test_stop_in_backoff_and_removal(supervisor: Supervisor, tmp_path: Path) -> None:
    await supervisor.start(WorldSpec("w", ("nonesuch",)))
    assert (await supervisor.stop("w", "asked")).state is State.STOPPED
    await supervisor.remove("w")
    with pytest.raises(NotFound):
        supervisor.get("w")
    assert [path.name for path in (tmp_path / "worlds").iterdir()] == [".lock"]


async def test_a_broken_subscriber_stops_nothing(supervisor: Supervisor, wait_for: WaitFor) -> None:
    problems: list[str] = []
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(lambda _, context: problems.append(context["message"]))

    def broken(_: World) -> None:
        raise ValueError("broken")

    supervisor.subscribe(broken)
    await supervisor.start(sh("w", "exit 0", restart=RestartPolicy(mode="never")))
    await wait_for(supervisor, "w", State.STOPPED)
    loop.set_exception_handler(None)
    assert problems
    assert all("subscriber" in text for text in problems)


async def test_one_supervisor_at_a_time(
    supervisor: Supervisor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("chronovisor.worlds.supervisor._TAKEOVER_S", 0.05)
    with pytest.raises(Unavailable, match="another visord"):
        async with Supervisor(tmp_path / "worlds"):
            pass
    assert supervisor.worlds() == []
