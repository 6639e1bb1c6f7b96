"""Does what the plan says. Everything may be done again at any time."""

import os
import signal
import stat
from pathlib import Path

from chronovisor.errors import Unavailable
from chronovisor.net.dhcp import release
from chronovisor.net.dhcp.place import DNSMASQ, Place
from chronovisor.net.dhcp.plan import (
    MarkReload,
    ReleaseLease,
    Reload,
    RemoveFile,
    RestartDaemon,
    StartDaemon,
    StopDaemon,
    WriteFile,
)
from chronovisor.worlds import State, Supervisor

_OTHERS = stat.S_IXOTH  # dnsmasq's user is of no group that a directory of ours has


FileAction = WriteFile | RemoveFile | MarkReload | ReleaseLease


def apply_file(action: FileAction, at: Place) -> None:
    """Do an action that needs no daemon, in any thread. Raises `Unavailable`."""
    match action:
        case WriteFile(path, text):
            _write(path, text, at)
        case RemoveFile(path):
            _remove(path)
        case MarkReload(path):
            _mark(path)
        case ReleaseLease(lease):
            release.send(lease)


async def apply(
    action: Reload | StartDaemon | RestartDaemon | StopDaemon, supervisor: Supervisor
) -> None:
    """Do an action with a daemon, after `make_directories`. Raises `Unavailable`, `ToolFailed`."""
    match action:
        case Reload(mark):
            reload(supervisor)
            _remove(mark)
        case StartDaemon(spec) | RestartDaemon(spec):
            await supervisor.ensure(spec)
        case StopDaemon(name, reason):
            await supervisor.stop(name, reason)


def make_directories(at: Place) -> None:
    """Make the directories that daemons watch. Raises `Unavailable`, also if dnsmasq cannot enter.

    It reads as a user of its own, and would serve nobody without a word.
    """
    try:
        for folder in (at.directory, *at.folders):
            folder.mkdir(mode=0o755, parents=True, exist_ok=True)
        shut = [one for one in (at.hosts, *at.hosts.parents) if not one.stat().st_mode & _OTHERS]
    except OSError as error:
        raise Unavailable(f"cannot make {error.filename}: {error.strerror}") from error
    if shut:
        raise Unavailable(f"dnsmasq's user may not enter {shut[-1]}", hint=f"chmod o+x {shut[-1]}")


def reload(supervisor: Supervisor) -> None:
    """Have dnsmasq read its files again; one that does not run reads them when it starts.

    Raises `Unavailable` while it cannot be told.
    """
    found = [one for one in supervisor.worlds() if one.name == DNSMASQ]
    if not found or found[0].state is not State.RUNNING or (pid := found[0].pid) is None:
        return
    try:
        handle = os.pidfd_open(pid)
        try:
            # The number may be another's by now; the handle stays what it is from here on.
            command = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")[:-1]
            if command != [os.fsencode(word) for word in found[0].argv]:
                raise Unavailable(f"process {pid} is not dnsmasq any more; it is told later")
            signal.pidfd_send_signal(handle, signal.SIGHUP)
        finally:
            os.close(handle)
    except (ProcessLookupError, FileNotFoundError):
        return  # it just ended, and reads its files when it is started again


def _write(path: Path, text: str, at: Place) -> None:
    """Write a file in one step; made beside the watched directory, where nobody reads it.

    Not synced: after a crash of the machine every file is compared and written anew.
    """
    temporary = at.directory / f".{path.parent.name}-{path.name}"
    try:
        with temporary.open("w", encoding="utf-8") as file:
            file.write(text)
            os.fchmod(file.fileno(), 0o644)  # whatever visord's umask is
        temporary.replace(path)
    except OSError as error:
        raise Unavailable(f"cannot write {path}: {error.strerror}") from error


def _remove(path: Path) -> None:
    try:
        path.unlink(missing_ok=True)
    except OSError as error:
        raise Unavailable(f"cannot remove {path}: {error.strerror}") from error


def _mark(path: Path) -> None:
    try:
        path.touch()
    except OSError as error:
        raise Unavailable(f"cannot write {path}: {error.strerror}") from error
