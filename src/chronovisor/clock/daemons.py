"""Applies what the plan says about daemons: files and worlds. May be run at any time again."""

import os
from collections.abc import Iterable
from pathlib import Path

from chronovisor.clock.chrony import daemon as chronyd
from chronovisor.clock.containment import make_ready
from chronovisor.clock.plan import (
    HandOverRate,
    HoldDaemon,
    ReloadDaemon,
    RestartDaemon,
    ReviveDaemon,
    StartDaemon,
    StopDaemon,
    WriteFile,
)
from chronovisor.errors import Unavailable
from chronovisor.worlds import State, Supervisor

_DELETED = " (deleted)"


async def apply(
    action: (
        StartDaemon
        | RestartDaemon
        | ReviveDaemon
        | ReloadDaemon
        | StopDaemon
        | HoldDaemon
        | WriteFile
        | HandOverRate
    ),
    supervisor: Supervisor,
) -> None:
    """Do one action. Raises `Unavailable` or `ToolFailed` where it cannot be done."""
    match action:
        case WriteFile(path, text):
            write(path, text)
        case HandOverRate(path, text):
            if path.parent.is_dir():  # its user's own, and made by the daemon at its first start
                chronyd.forget_measurements(path.parent)
                write(path, text)
        case StartDaemon(spec) | RestartDaemon(spec):
            make_ready(spec)
            await supervisor.ensure(spec)
        case ReloadDaemon(name):
            supervisor.hang_up(name)
        case ReviveDaemon(name):
            await supervisor.restart(name)
        case StopDaemon(name, reason) | HoldDaemon(name, reason):
            await supervisor.stop(name, reason)


def write(path: Path, text: str) -> None:
    """Replace a file in one step: a reader, or a crash, meets the old or the new one whole."""
    temporary = path.with_name(f".{path.name}.new")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with temporary.open("w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError as error:
        raise Unavailable(f"cannot write {path}: {error.strerror}") from error


def running(supervisor: Supervisor, names: Iterable[str]) -> dict[str, str]:
    """Return the generation of each daemon that runs or is being tried.

    A visord that died between deciding on a restart and ending the old process leaves a process of
    one generation that would be started again with another. That is neither of the two.
    """
    return {
        world.name: _generation(world.generation, world.wanted_generation)
        for world in supervisor.worlds()
        if world.name in names and world.state is not State.STOPPED
    }


def _generation(running: str | None, wanted: str) -> str:
    return wanted if running in (None, wanted) else f"{running}, then {wanted}"


def stuck(supervisor: Supervisor, names: Iterable[str]) -> dict[str, str]:
    """Return why daemons cannot go on without a restart, by name.

    A NIC that was unplugged and came back has another clock, and a daemon that had opened the one
    before cannot be left to find that out in time. Its open files tell (/proc/PID/fd, proc(5)).
    """
    found = {}
    for world in supervisor.worlds():
        if world.name in names and world.state is State.RUNNING and world.pid is not None:
            gone = removed_clock(Path(f"/proc/{world.pid}/fd"))
            if gone:
                found[world.name] = f"{gone}, which it sets, was unplugged"
    return found


def removed_clock(open_files: Path) -> str | None:
    """Return the PTP hardware clock among open files whose device is gone, None without one."""
    try:
        links = [str(entry.readlink()) for entry in open_files.iterdir()]
    except OSError:  # it has just ended, or closed a file
        return None
    gone = (link for link in links if link.startswith("/dev/ptp") and link.endswith(_DELETED))
    return next((link.removesuffix(_DELETED) for link in gone), None)


def files(paths: Iterable[Path]) -> dict[Path, str]:
    """Return what the configuration files hold; one that cannot be read is left out."""
    found = {}
    for path in paths:
        try:
            found[path] = path.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError):
            continue  # it is written anew
    return found
