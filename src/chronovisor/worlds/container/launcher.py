"""Starts a container: `worlds/launcher.py` for worlds with a sandbox, run in the same way.

The world's process is the container's init, and what must hold is the same: never two, never one
that nobody knows of, whoever is killed when. So, holding the world's lock,

1. as `launcher.launch` does, go on only if still wanted and the recorded process is dead;
2. remove whatever container of this world is left: one that was created and never recorded waits
   inertly for a start that nobody will give;
3. take the lock shared with other worlds; the runtime hands its descriptor to the init;
4. have the runtime create the container. Its init exists now, and waits (in the runtime's own code)
   before the program. The runtime ends, and dies with us if we are killed;
5. give the init its priority, make it the shared lock's holder, write it to `process.json`;
6. tell visord, and wait until that has it under watch (or is dead);
7. have the runtime start it: only now the program runs.

Killed before 7, what is left is an inert init, recorded or not, that the next visord or the next
launch removes.
"""

from __future__ import annotations

import json
import os
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

if TYPE_CHECKING or __name__ != "__main__":
    from chronovisor.worlds import launcher
else:  # by its path: the package's imports would cost ten times as much as all the rest
    from importlib.machinery import SourceFileLoader
    from types import ModuleType

    _beside = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))  # noqa: PTH100, PTH120
    launcher = ModuleType("launcher")
    SourceFileLoader("launcher", f"{_beside}/launcher.py").exec_module(launcher)

LOG = "runtime.log"
BUNDLE = "bundle"
PRESERVED_FD = 3  # the first after stdio, as --preserve-fds counts


def _run(container: dict[str, Any], words: list[str], lock_fd: int | None = None) -> None:
    """Run the runtime and wait for it; raise `Refused` with the phase if it fails."""
    command = [container["runtime"], "--root", container["root"], "--log", container["log"]]
    # Whoever kills us kills it, too: nothing goes on that no record will name.
    argv = ["setpriv", "--pdeathsig", "KILL", *command, "--log-format", "json", *words]
    actions = [] if lock_fd is None else [(os.POSIX_SPAWN_DUP2, lock_fd, PRESERVED_FD)]
    try:
        pid = os.posix_spawnp(argv[0], argv, container["env"], file_actions=actions)
    except OSError as error:
        raise launcher.Refused("setup", f"cannot run setpriv: {error.strerror}") from error
    _, status = os.waitpid(pid, 0)
    if status != 0:
        code = os.waitstatus_to_exitcode(status)
        how = f"status {code}" if code >= 0 else f"signal {-code}"
        raise launcher.Refused("runtime", f"{words[0]}: {how}")


def _remove_stale(container: dict[str, Any]) -> None:
    if os.path.lexists(f"{container['root']}/{container['id']}"):
        _run(container, ["delete", "--force", container["id"]])


def _write_config(container: dict[str, Any]) -> None:
    root = f"{container['bundle']}/root"
    os.makedirs(f"{root}/tmp", mode=0o755, exist_ok=True)  # noqa: PTH103
    os.chmod(f"{root}/tmp", 0o1777)  # noqa: PTH101 - runc gives a tmpfs the mode of what it covers
    launcher.replace_file(f"{container['bundle']}/config.json", container["config"])


def _create(container: dict[str, Any], lock_fd: int | None) -> int:
    pid_file = f"{container['bundle']}/pid"
    words = ["create", "--bundle", container["bundle"], "--pid-file", pid_file]
    if lock_fd is not None:
        words += ["--preserve-fds", "1"]
    _run(container, [*words, container["id"]], lock_fd)
    with open(pid_file) as file:  # noqa: PTH123
        pid = int(file.read())
    if pid <= 1 or launcher.start_ticks(pid) is None:
        raise launcher.Refused("runtime", f"create: its process {pid} is not there")
    return pid


def _prioritize(pid: int, orders: dict[str, Any]) -> None:
    priority, home = orders["fifo_priority"], orders["container"]["real_time_home"]
    if priority is None:
        return
    try:
        if home:
            with open(f"{home}/cgroup.procs", "w") as file:  # noqa: PTH123
                file.write(str(pid))
        for thread in os.listdir(f"/proc/{pid}/task"):  # noqa: PTH208  # whichever will exec
            os.sched_setscheduler(int(thread), os.SCHED_FIFO, os.sched_param(priority))
    except OSError as error:
        problem = f"sched_setscheduler: {error.strerror}"
        orders["enforced"]["fifo_priority"] = {"by": None, "problem": problem}


def _joined(pid: int, orders: dict[str, Any]) -> list[str]:
    """Return the world's cgroups, and note limits whose cgroup the runtime passed by."""
    joined = []
    for group in orders["cgroups"]:
        try:
            with open(f"{group['path']}/cgroup.procs") as file:  # noqa: PTH123
                member = str(pid) in file.read().split()
        except OSError:
            member = False
        if member:
            joined.append(group["path"])
            continue
        for limit in group["limits"]:
            problem = f"{group['path']}: the runtime put the container elsewhere"
            orders["enforced"][limit] = {"by": None, "problem": problem}
    return joined


def _tell(what: str, pid: int) -> None:
    document = {"kind": what, **launcher.identity(pid)}
    os.write(launcher.REPORT_FD, json.dumps(document).encode() + b"\n")


def launch(directory: str, orders: dict[str, Any]) -> None:
    """Do all of the above; raise `Refused` where it cannot be done."""
    container = orders["container"]
    launcher.lock_world(directory)
    launcher.check_still_wanted(directory, orders["launch"])
    _remove_stale(container)
    name, lock_fd = orders["spec"]["name"], None
    if orders["lock"] is not None:
        lock_fd = launcher.take_lock(orders["lock"], name)
    try:
        _write_config(container)
        pid = _create(container, lock_fd)
        _prioritize(pid, orders)
        if lock_fd is not None:
            launcher.claim_lock(lock_fd, name, pid)
        found = {"cgroups": _joined(pid, orders), "enforced": orders["enforced"]}
        launcher.record(directory, pid, orders, found)
        _tell("created", pid)
        os.read(launcher.REPORT_FD, 1)
        _run(container, ["start", container["id"]])
    except (launcher.Refused, OSError):
        _remove_stale(container)
        raise
    _tell("started", pid)


if __name__ == "__main__":
    launcher.main(launch)
    sys.exit(0)
