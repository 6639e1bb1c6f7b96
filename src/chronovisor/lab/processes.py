"""The processes of a lab as worlds: started, waited for, let go of, stopped."""

import asyncio
import contextlib
import hashlib
import os
import socket as sockets
import time
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

from chronovisor.errors import ChronovisorError, ToolFailed
from chronovisor.lab.programs import socket, world
from chronovisor.lab.record import LabDirectory
from chronovisor.lab.spec import LabSpec
from chronovisor.lab.tools import PATH
from chronovisor.lab.topology import Kind, Node
from chronovisor.worlds.state import State
from chronovisor.worlds.supervisor import Supervisor, instance_of

_START_S = 30.0
_POLL_S = 0.02
_CGROUP_S = 1.0
_LAST_LINES = 5


@contextlib.asynccontextmanager
async def adopted(directory: LabDirectory) -> AsyncIterator[Supervisor]:
    """Look after a lab's processes for a while; afterwards they run on by themselves."""
    async with Supervisor(directory.worlds, instance=_instance(directory)) as supervisor:
        await supervisor.adopt()
        yield supervisor


async def start(
    supervisor: Supervisor, directory: LabDirectory, spec: LabSpec, wanted: Sequence[Node]
) -> list[Node]:
    """See to it that these nodes run and answer; return those that had to be started.

    Raises `ToolFailed` with the last words of one that ends instead.
    """
    done = await asyncio.gather(*(_start(supervisor, directory, spec, node) for node in wanted))
    return [node for node, started in zip(wanted, done, strict=True) if started]


async def _start(
    supervisor: Supervisor, directory: LabDirectory, spec: LabSpec, node: Node
) -> bool:
    started = await _ensure(supervisor, directory, spec, node)
    try:
        await _answering(supervisor, directory, node)
    except ToolFailed:
        if started:
            raise
        # It was on its way out when we came.
        await supervisor.restart(node.name)
        await _answering(supervisor, directory, node)
        return True
    return started


async def _ensure(
    supervisor: Supervisor, directory: LabDirectory, spec: LabSpec, node: Node
) -> bool:
    before = await supervisor.ensure(world(spec, node, directory.node(node.name), PATH))
    if supervisor.get(node.name).state is State.RUNNING:
        return before in ("started", "replaced")
    await supervisor.restart(node.name)
    return True


async def _answering(supervisor: Supervisor, directory: LabDirectory, node: Node) -> None:
    deadline = time.monotonic() + _START_S
    while not _answers(directory.node(node.name), node.kind):
        now = supervisor.get(node.name)
        late = time.monotonic() > deadline
        if late or now.state is not State.RUNNING:
            what = f"did not answer within {_START_S:g} s" if late else now.reason
            raise ToolFailed(
                f"{node.name}: {what}", hint=_last_words(directory.node(node.name), now.last_lines)
            )
        await asyncio.sleep(_POLL_S)


def _answers(directory: Path, kind: Kind) -> bool:
    # A file alone says nothing: a process that was killed leaves its socket behind.
    host = kind is Kind.HOST
    path = socket(directory) if host else directory / "ptp4l"
    with sockets.socket(
        sockets.AF_UNIX, sockets.SOCK_STREAM if host else sockets.SOCK_DGRAM
    ) as probe:
        try:
            probe.connect(str(path))
        except OSError:
            return False
    return True


def _last_words(directory: Path, lines: Sequence[str]) -> str:
    log = directory / "visord.log"
    if not lines and log.exists():
        lines = log.read_text(errors="replace").splitlines()
    text = "\n        ".join(lines[-_LAST_LINES:])
    return f"its last lines:\n        {text}" if text else "it wrote nothing"


async def stop_all(directory: LabDirectory) -> None:
    """Stop every process that is recorded; what visord started runs on."""
    if not directory.worlds.is_dir():
        return
    try:
        async with adopted(directory) as supervisor:
            await supervisor.stop_all("lab down")
    except ChronovisorError:
        # A record that cannot be used hinders nobody: all that is left in the lab's network
        # namespaces is ended next, recorded or not.
        return


def _instance(directory: LabDirectory) -> str:
    """Return what names the cgroups of this lab and of no other."""
    digest = hashlib.sha256(str(directory.path.absolute()).encode()).hexdigest()[:12]
    return f"lab-{directory.name}-{digest}"


def remove_cgroups(directory: LabDirectory) -> None:
    """Remove the cgroups of the lab and of its hosts, as a killed visord leaves them.

    They are found by name, for nobody knows in which cgroup the lab was brought up. Those of a
    host are not always below the lab's: an OCI runtime makes some in every hierarchy.
    """
    hosts = directory.path.glob("*/run/worlds")
    ours = {_instance(directory), *map(instance_of, hosts)}
    lines = Path("/proc/self/mountinfo").read_text().splitlines()
    mounts = [line.split()[4] for line in lines if line.partition(" - ")[2].startswith("cgroup")]
    for mount in mounts:
        homes = [Path(path, name) for path, names, _ in os.walk(mount) for name in ours & {*names}]
        for home in homes:
            for path, _, _ in os.walk(home, topdown=False):
                _remove_directory(Path(path))
            _remove_directory(home.parent)


def _remove_directory(path: Path) -> None:
    deadline = time.monotonic() + _CGROUP_S
    while True:
        try:
            return path.rmdir()
        except OSError:  # another lab is in there, or the dead have not quite left it
            in_use = any(entry.is_dir() for entry in path.glob("*")) or _processes_in(path)
            if in_use or time.monotonic() > deadline:
                return None
        time.sleep(_POLL_S)


def _processes_in(cgroup: Path) -> bool:
    try:
        return bool((cgroup / "cgroup.procs").read_text())
    except OSError:
        return True
