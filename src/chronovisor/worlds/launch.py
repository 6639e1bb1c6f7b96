"""Starts the launcher for a world and hears from it how that went."""

import asyncio
import contextlib
import json
import os
import pwd
import signal
import socket
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from chronovisor.errors import ToolFailed
from chronovisor.worlds import launcher
from chronovisor.worlds.limits import Arrangement
from chronovisor.worlds.process import Identity, Process
from chronovisor.worlds.records import enforcement_orders
from chronovisor.worlds.spec import WorldSpec

_PATIENCE_S = 20.0  # a start takes 0.03 s; a machine under memory pressure may take seconds
_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_CONTAINER_LAUNCHER = Path(__file__).parent / "container" / "launcher.py"
_STOPPED_SIGNALS = (signal.SIGKILL, signal.SIGSTOP)  # signal(7): cannot be set


@dataclass(frozen=True, slots=True)
class LaunchFailed:
    """Why no process runs the program; `kind` as in `launcher.Refused`, or `died`."""

    kind: Literal["superseded", "running", "locked", "record", "setup", "exec", "runtime", "died"]
    message: str


@dataclass(frozen=True, slots=True)
class Account:
    """A user of this machine, looked up."""

    name: str
    uid: int
    gid: int
    groups: tuple[int, ...]
    home: str

    @classmethod
    def of(cls, name: str) -> "Account":
        """Look a user up; raise `ToolFailed` if there is none."""
        try:
            entry = pwd.getpwnam(name)
        except KeyError:
            raise ToolFailed(
                f"there is no user {name!r} on this machine", hint=f"useradd --system {name}"
            ) from None
        groups = tuple(os.getgrouplist(name, entry.pw_gid))
        return cls(name, entry.pw_uid, entry.pw_gid, groups, entry.pw_dir)


def orders(
    spec: WorldSpec,
    launch: str,
    arrangement: Arrangement,
    account: Account | None,
    lock: Path | None,
) -> dict[str, object]:
    """Return what the launcher is told, as a JSON object; `lock` is the file of `spec.lock`."""
    env = {"PATH": _PATH, "LANG": "C.UTF-8"}
    if account is not None:
        env |= {"HOME": account.home, "USER": account.name, "LOGNAME": account.name}
    return {
        "launch": launch,
        "lock": None if lock is None else str(lock),
        "argv": spec.argv,
        "env": env | dict(spec.env),
        "working_directory": spec.working_directory or "/",
        "user": account and asdict(account),
        "fifo_priority": spec.limits.fifo_priority,
        "cgroups": [
            {"path": str(group.path), "limits": group.limits} for group in arrangement.groups
        ],
        "rlimits": [
            {"limit": limit, "resource": number, "value": value}
            for limit, number, value in arrangement.rlimits
        ],
        "enforced": enforcement_orders(arrangement.enforced),
        "spec": spec.to_json(),
    }


async def run_launcher(
    directory: Path, document: dict[str, object], output_fd: int
) -> tuple[Process, LaunchFailed | None]:
    """Run the launcher until it has become the program, or started it in a container, or not.

    Returns the process under watch, which may end at any time: the program's, or the launcher's if
    it failed. Raises `OSError` if no process could be made.
    """
    ours, theirs = socket.socketpair()
    try:
        with _in_memory(json.dumps(document).encode()) as orders_fd:
            script = _CONTAINER_LAUNCHER if "container" in document else launcher.__file__
            pid = _spawn(str(script), directory, orders_fd, output_fd, theirs.fileno())
        process = Process.child(pid)
    except BaseException:
        ours.close()
        raise
    finally:
        theirs.close()
    try:
        heard = await _hear(ours, process)
    except BaseException:  # given up meanwhile (cancelled): the launcher goes on, unwatched
        process.release()
        raise
    if "container" not in document or heard.failed:
        return process, heard.failed
    await process.wait(_PATIENCE_S)
    process.release()
    return heard.inside or process, None


@contextlib.contextmanager
def _in_memory(data: bytes) -> Iterator[int]:
    # Not a pipe: whole before the launcher exists, and whole whatever becomes of us then.
    fd = os.memfd_create("orders", os.MFD_CLOEXEC)
    try:
        while data:
            data = data[os.write(fd, data) :]
        os.lseek(fd, 0, os.SEEK_SET)
        yield fd
    finally:
        os.close(fd)


def _spawn(script: str, directory: Path, orders_fd: int, output_fd: int, report_fd: int) -> int:
    # posix_spawn, for it does not copy visord's page tables. A session of its own: the terminal's
    # signals pass it by, and all its descendants can be told from others.
    return os.posix_spawn(
        sys.executable,
        [sys.executable, "-I", "-S", "-B", script, str(directory)],
        {},
        file_actions=[
            (os.POSIX_SPAWN_DUP2, orders_fd, 0),
            (os.POSIX_SPAWN_DUP2, output_fd, 1),
            (os.POSIX_SPAWN_DUP2, output_fd, 2),
            (os.POSIX_SPAWN_DUP2, report_fd, launcher.REPORT_FD),
        ],
        setsid=True,
        setsigmask=[],
        setsigdef=[number for number in signal.valid_signals() if number not in _STOPPED_SIGNALS],
    )


@dataclass(slots=True)
class _Heard:
    """What a launcher reported: that it failed, or the container's init, and that it was let go."""

    failed: LaunchFailed | None = None
    inside: Process | None = None
    started: bool = False

    def take(self, report: dict[str, Any]) -> bool:
        """Note one report; return whether the launcher waits for us to have noted it."""
        kind = report.pop("kind")
        if kind == "created":
            # Before it can end: whoever finds it only afterwards does not learn how it ended.
            self.inside = Process.find(Identity(**report))
        elif kind == "started":
            self.started = True
        else:
            self.failed = LaunchFailed(kind, **report)
        return bool(kind == "created")

    def end(self) -> None:
        """Draw the conclusion: a container that was created and not started has failed."""
        if self.inside is not None and not self.started:
            self.failed = self.failed or LaunchFailed("died", "the launcher was ended")
            self.inside.release()


async def _hear(ours: socket.socket, process: Process) -> _Heard:
    """Return the launcher's reports; none once it has become the program (or died silently)."""
    heard = _Heard()
    ours.setblocking(False)
    reader, writer = await asyncio.open_connection(sock=ours)
    try:
        async with asyncio.timeout(_PATIENCE_S):
            async for line in reader:
                if heard.take(json.loads(line)):
                    writer.write(b"\n")
    except TimeoutError:
        process.send(signal.SIGKILL)
        message = f"the launcher (process {process.identity.pid}) took over {_PATIENCE_S:g} s"
        heard.failed = LaunchFailed("died", message)
    except BaseException:
        if heard.inside is not None:
            heard.inside.release()
        raise
    finally:
        writer.close()
    heard.end()
    return heard
