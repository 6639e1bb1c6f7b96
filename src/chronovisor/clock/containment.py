"""What the daemons' sandboxes need of this host: found, checked, made ready. May be run again."""

import os
import pwd
import shutil
from collections.abc import Iterable
from pathlib import Path

from chronovisor.clock import devices
from chronovisor.clock.plan import DAEMONS, Action, RestartDaemon, StopDaemon, Wanted
from chronovisor.clock.sandboxes import Host
from chronovisor.clock.settings import Containment, SystemTime
from chronovisor.errors import Problem, ToolFailed, Unavailable
from chronovisor.worlds import State, Supervisor, World, WorldSpec
from chronovisor.worlds.container.bundle import ROOT
from chronovisor.worlds.container.runtime import find

CHRONY_USERS = ("_chrony", "chrony")
"""Whom Debian and Fedora have chronyd run as."""


def check(settings: SystemTime) -> list[Problem]:
    """Return what keeps this host from making the containers that settings ask for."""
    if not settings.enabled or settings.sandbox is not Containment.CRX:
        return []
    try:
        find(None)
    except ToolFailed as error:
        text = f"the clock's daemons run in containers, and {error.message}; install one with "
        text += "`apt-get install runc`, or set sandbox to none to run them with all rights"
        return [Problem("sandbox", text, settings.sandbox.value, Containment.NONE.value)]
    return []


class Surroundings:
    """What this host is like, as far as sandboxes depend on it.

    A NIC that is unplugged keeps the number of its clock here: its going is no reason to restart
    a daemon, and none can be restarted without it.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._phcs: dict[str, int] = {}

    def host(self, settings: SystemTime) -> Host:
        """Return the facts for these settings."""
        names = [port.device for port in settings.ptp_config.active_ports()]
        for name in names:
            found = devices.device(name)
            if found is not None and found.phc_index is not None:
                self._phcs[name] = found.phc_index
            elif found is not None:
                self._phcs.pop(name, None)
        phcs = {name: self._phcs[name] for name in names if name in self._phcs}
        return Host(self._directory, phcs, _programs(), _chrony_user())


def astray(goal: Wanted, supervisor: Supervisor) -> dict[str, str]:
    """Return why daemons cannot go on without a restart, by name: their NIC is not where they are.

    One that was unplugged and came back is the host's, and has another clock than before.
    """
    worlds = {world.name: world for world in supervisor.worlds() if _runs(world)}
    lent = {
        nic.name: daemon.spec.name
        for daemon in goal.daemons
        if daemon.spec.sandbox and daemon.spec.sandbox.network and daemon.spec.name in worlds
        for nic in daemon.spec.sandbox.network.nics
        if worlds[daemon.spec.name].sandboxed
    }
    outside = sorted(lent.keys() & set(devices.names()))
    if not outside:
        return {}
    reason = f"{outside[0]} came back, and its container has not got it"
    hit = {lent[name] for name in outside} | ({"phc2sys"} & worlds.keys())
    return dict.fromkeys(sorted(hit), reason)


def possible_without_device(action: Action) -> Action:
    """Return what is done in an action's place while a device is gone.

    A container that has lost its NIC cannot be made anew. What is to restart must not go on as it
    was, for another is about to set the clock: it ends, and starts once the NIC is there.
    """
    if not isinstance(action, RestartDaemon):
        return action
    sandbox = action.spec.sandbox
    if sandbox is None or sandbox.network is None or not sandbox.network.nics:
        return action
    return StopDaemon(action.spec.name, f"its device is gone, and {action.reason}")


def _runs(world: World) -> bool:
    # The state is told a moment after the end, when NICs are back already
    return world.state is State.RUNNING and Path(f"/proc/{world.pid}").exists()


def _programs() -> dict[str, str]:
    """Return the path of every daemon's program that a container would not see by itself."""
    found = {name: path for name in DAEMONS if (path := shutil.which(name))}
    inside = tuple(f"{top}/" for top in ROOT)
    return {name: path for name, path in found.items() if not path.startswith(inside)}


def _chrony_user() -> str | None:
    known: Iterable[str] = (name for name in CHRONY_USERS if _exists(name))
    return next(iter(known), None)


def _exists(name: str) -> bool:
    try:
        pwd.getpwnam(name)
    except KeyError:
        return False
    return True


def make_ready(spec: WorldSpec) -> None:
    """Make the directories that a sandbox is given, for the user who writes there.

    Raises `Unavailable` where that cannot be done.
    """
    if spec.sandbox is None:
        return
    for text in (*spec.sandbox.writable, *(outside for outside, _ in spec.sandbox.mapped)):
        path = Path(text)
        try:
            path.mkdir(mode=0o750, parents=True, exist_ok=True)
            if spec.user is not None:
                account = pwd.getpwnam(spec.user)
                os.chown(path, account.pw_uid, account.pw_gid)
                for inner in path.iterdir():  # as another user left it, with the same daemon
                    os.chown(inner, account.pw_uid, account.pw_gid, follow_symlinks=False)
        except OSError as error:
            raise Unavailable(f"cannot make {path} ready: {error.strerror}") from error
