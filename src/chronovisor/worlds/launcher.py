"""Becomes a world: runs between visord and the world's program, in the world's own process.

visord runs this file by its path (`python -I -S launcher.py`), so it imports a few modules of the
standard library and nothing of the package: a start costs about 20 ms. It is given orders (JSON on
fd 0), reports failure as JSON on fd 3, which exec closes, and has the world's output as fd 1 and 2.

What must hold although visord may be killed at any instruction: never two processes of one world
and never one that nobody knows of. So the launcher, holding the world's lock,

1. goes on only if `wanted.json` still names its own launch: whoever decided otherwise since then
   wrote another one there, under the same lock;
2. goes on only if the process recorded in `process.json` is dead;
3. takes the lock that the world shares with others, if it has one (`take_lock`);
4. writes its own pid, start time and boot id to `process.json`, and only then becomes the program.

exec keeps pid and start time and releases the world's own lock, which is close-on-exec.
"""

from __future__ import annotations

import fcntl
import json
import os
import resource
import signal
import sys
import time

TYPE_CHECKING = False
if TYPE_CHECKING:  # importing `typing` would cost as much as all the rest
    from collections.abc import Callable
    from typing import Any

PROCESS_FILE = "process.json"
WANTED_FILE = "wanted.json"
LOCK_FILE = "lock"
REPORT_FD = 3
_DEAD_STATES = "ZX"  # proc_pid_stat(5): zombie, dead


class Refused(Exception):
    """The launch ends here.

    `kind` is `superseded`, `running`, `locked`, `record`, `setup`, `exec` or, where an OCI runtime
    failed, `runtime`.
    """

    def __init__(self, kind: str, message: str) -> None:
        super().__init__(message)
        self.kind = kind


def boot_id() -> str:
    """Return what tells this boot of the machine from every other."""
    with open("/proc/sys/kernel/random/boot_id") as file:  # noqa: PTH123  # pathlib costs 4 ms
        return file.read().strip()


def stat_fields(pid: int) -> list[str] | None:
    """Return /proc/PID/stat from field 3 (state) on, None if there is no such process.

    Field N of proc_pid_stat(5) is item N-3. The name before may hold blanks and parentheses.
    """
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:  # noqa: PTH123  # see `boot_id`
            return file.read().rpartition(b")")[2].decode("ascii").split()
    except (FileNotFoundError, ProcessLookupError):
        return None


def start_ticks(pid: int) -> int | None:
    """Return when the process started, in clock ticks since boot; None if it is dead."""
    fields = stat_fields(pid)
    if not fields or fields[0] in _DEAD_STATES:
        return None
    return int(fields[22 - 3])


def replace_file(path: str, document: dict[str, Any]) -> None:
    """Write a JSON document so that readers, also after a crash, see the old or the new one."""
    temporary = f"{path}.{os.getpid()}.tmp"
    fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    try:
        with os.fdopen(fd, "w") as file:
            json.dump(document, file)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)  # noqa: PTH105  # see `boot_id`
    except OSError:
        os.unlink(temporary)  # noqa: PTH108
        raise


def _read(path: str) -> dict[str, Any]:
    try:
        with open(path) as file:  # noqa: PTH123
            document = json.load(file)
    except (FileNotFoundError, ValueError):
        return {}
    return document if isinstance(document, dict) else {}


def check_still_wanted(directory: str, launch: str) -> None:
    """Raise `Refused` unless this launch may go on and no process of the world is alive."""
    if _read(f"{directory}/{WANTED_FILE}").get("launch") != launch:
        raise Refused("superseded", "something else was decided about this world meanwhile")
    running = _read(f"{directory}/{PROCESS_FILE}")
    if _is_alive(running):
        raise Refused("running", f"process {running['pid']} of this world is alive")


def _is_alive(recorded: dict[str, Any]) -> bool:
    if recorded.get("boot_id") != boot_id():
        return False
    ticks = start_ticks(int(recorded["pid"]))
    return ticks is not None and ticks == recorded["start_ticks"]


def identity(pid: int) -> dict[str, Any]:
    """Return what tells a process from all others, before and after it."""
    return {"pid": pid, "start_ticks": start_ticks(pid), "boot_id": boot_id()}


def take_lock(path: str, world: str) -> int:
    """Take the lock that one process at a time may have; return its descriptor.

    Two things hold it, and either is enough. The descriptor passes through exec, and flock(2) goes
    with the last copy of it, so neither visord's death nor ours gives the lock away. And the file
    names the process, for a program may close descriptors that it does not know: as long as that
    one lives nobody else goes on.
    """
    try:
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise Refused("record", f"cannot open lock {path}: {error.strerror}") from error
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        taken = True
    except BlockingIOError:
        taken = False
    holder = _read(path)
    if not taken or _is_alive(holder):
        who = f"world {holder.get('world')} (process {holder.get('pid')})"
        raise Refused("locked", f"lock {os.path.basename(path)} is held by {who}")  # noqa: PTH119
    claim_lock(fd, world, os.getpid())
    return fd


def claim_lock(fd: int, world: str, pid: int) -> None:
    """Name the holder in the lock's file, in place, for the lock is on the file itself."""
    data = json.dumps({"world": world, **identity(pid)}).encode()
    try:
        os.pwrite(fd, data, 0)
        os.ftruncate(fd, len(data))
    except OSError as error:
        raise Refused("record", f"cannot write a lock's file: {error.strerror}") from error


def _join_cgroups(orders: dict[str, Any], enforced: dict[str, dict[str, Any]]) -> list[str]:
    joined = []
    for group in orders["cgroups"]:
        try:
            with open(f"{group['path']}/cgroup.procs", "w") as file:  # noqa: PTH123
                file.write("0")
            joined.append(group["path"])
        except OSError as error:
            for limit in group["limits"]:
                enforced[limit] = {"by": None, "problem": f"{group['path']}: {error.strerror}"}
    return joined


def _set_limits(orders: dict[str, Any], enforced: dict[str, dict[str, Any]]) -> None:
    for item in orders["rlimits"]:
        try:
            resource.setrlimit(item["resource"], (item["value"], item["value"]))
        except (OSError, ValueError) as error:
            enforced[item["limit"]] = {"by": None, "problem": f"setrlimit: {error}"}
    priority = orders["fifo_priority"]
    if priority is not None:
        try:
            os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(priority))
        except OSError as error:
            problem = f"sched_setscheduler: {error.strerror}"
            enforced["fifo_priority"] = {"by": None, "problem": problem}


def record(directory: str, pid: int, orders: dict[str, Any], found: dict[str, Any]) -> None:
    """Write down which process this world's is from now on."""
    document = {
        **identity(pid),
        "launch": orders["launch"],
        "started_at_s": time.time(),
        "spec": orders["spec"],
        **found,
    }
    try:
        replace_file(f"{directory}/{PROCESS_FILE}", document)
    except OSError as error:
        raise Refused("record", f"cannot write {directory}/{PROCESS_FILE}: {error}") from error


def _enter_surroundings(orders: dict[str, Any]) -> None:
    user, directory = orders["user"], orders["working_directory"]
    if user is not None:
        try:
            os.setgroups(user["groups"])
            os.setresgid(user["gid"], user["gid"], user["gid"])
            os.setresuid(user["uid"], user["uid"], user["uid"])
        except OSError as error:
            text = f"cannot become user {user['name']}: {error.strerror}"
            raise Refused("setup", text) from error
    try:
        os.chdir(directory)
    except OSError as error:
        text = f"cannot enter working directory {directory}: {error.strerror}"
        raise Refused("setup", text) from error


def _become(orders: dict[str, Any]) -> None:
    os.umask(0o022)
    # Python ignores these for itself, and what is ignored stays so through exec (signal(7)).
    for number in (signal.SIGPIPE, signal.SIGXFSZ):
        signal.signal(number, signal.SIG_DFL)
    argv = orders["argv"]
    try:
        os.execvpe(argv[0], argv, orders["env"])
    except OSError as error:
        raise Refused("exec", f"cannot run {argv[0]}: {error.strerror}") from error


def lock_world(directory: str) -> None:
    """Take the world's own lock, until exec or our end."""
    lock = os.open(f"{directory}/{LOCK_FILE}", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    fcntl.flock(lock, fcntl.LOCK_EX)


def launch(directory: str, orders: dict[str, Any]) -> None:
    """Do all of the above; return never, raise `Refused` instead."""
    lock_world(directory)
    check_still_wanted(directory, orders["launch"])
    if orders["lock"] is not None:
        os.set_inheritable(take_lock(orders["lock"], orders["spec"]["name"]), True)
    enforced = orders["enforced"]
    joined = _join_cgroups(orders, enforced)
    _set_limits(orders, enforced)
    record(directory, os.getpid(), orders, {"cgroups": joined, "enforced": enforced})
    _enter_surroundings(orders)
    _become(orders)


def main(carry_out: Callable[[str, dict[str, Any]], None] = launch) -> None:
    """Read the orders and carry them out; exit status 125 after a report on `REPORT_FD`."""
    for name in os.listdir("/proc/self/fd"):  # noqa: PTH208
        if int(name) > 2:
            try:
                os.set_inheritable(int(name), False)
            except OSError:
                continue  # the descriptor of the listing itself
    try:
        with os.fdopen(0, closefd=False) as file:
            orders = json.load(file)
        # Only now: what must not reach the program is the orders, with their environment.
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        carry_out(sys.argv[1], orders)
    except Refused as refused:
        report = {"kind": refused.kind, "message": str(refused)}
    except (OSError, ValueError, KeyError, TypeError) as error:
        report = {"kind": "setup", "message": f"{type(error).__name__}: {error}"}
    else:
        os._exit(0)
    os.write(REPORT_FD, json.dumps(report).encode())
    os._exit(125)  # as env(1), timeout(1) and nohup(1) have it for "failed before the command"


if __name__ == "__main__":
    main()
