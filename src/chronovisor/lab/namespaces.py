"""Network namespaces of a lab: made, looked at and removed with ip(8) and /proc."""

import contextlib
import json
import os
import signal
import time
from collections.abc import Iterable, Sequence

from chronovisor.errors import ToolFailed
from chronovisor.lab import tools, topology
from chronovisor.lab.programs import NETNS_DIRECTORY
from chronovisor.lab.spec import LabSpec
from chronovisor.worlds.launcher import stat_fields

_TERM_S = 3.0
_KILL_S = 10.0
_POLL_S = 0.01


def of_lab(lab: str) -> list[str]:
    """Return the namespaces that carry a lab's name, also half-made ones."""
    with contextlib.suppress(FileNotFoundError):
        names = (path.name for path in NETNS_DIRECTORY.iterdir())
        return sorted(name for name in names if topology.belongs_to(lab, name))
    return []


def build(spec: LabSpec) -> None:
    """Make a lab's namespaces, the fabric and the cables; raise `ToolFailed`."""
    names = topology.namespaces(spec)
    tools.run(["ip", "-batch", "-"], "".join(f"netns add {name}\n" for name in names))
    fabric = topology.fabric(spec.name)
    _batch(fabric, topology.fabric_commands(spec))
    place = NETNS_DIRECTORY / fabric
    tools.run(["nsenter", f"--net={place}", "nft", "-f", "-"], topology.fabric_rules(spec))
    for node in topology.nodes(spec):
        _batch(node.namespace, topology.node_commands(node))


def _batch(name: str, lines: Iterable[str]) -> None:
    tools.run(["ip", "-n", name, "-batch", "-"], "\n".join(lines) + "\n")


def links(lab: str) -> dict[str, bool]:
    """Return the cables by the fabric's port, and whether they are plugged in."""
    fabric = topology.fabric(lab)
    try:
        ports = json.loads(tools.run(["ip", "-n", fabric, "-json", "link", "show"]))
    except ToolFailed:
        return {}  # the lab is half gone
    return {port["ifname"]: "UP" in port["flags"] for port in ports}


def set_link(lab: str, port: str, *, up: bool) -> None:
    """Plug a node's cable in or out, at the fabric's end."""
    fabric = topology.fabric(lab)
    tools.run(["ip", "-n", fabric, "link", "set", port, "up" if up else "down"])


def pids_in(names: Iterable[str]) -> list[int]:
    """Return the processes whose network namespace is one of these."""
    inodes = set()
    for name in names:
        with contextlib.suppress(FileNotFoundError):
            about = (NETNS_DIRECTORY / name).stat()
            inodes.add((about.st_dev, about.st_ino))
    found = []
    for entry in os.listdir("/proc"):  # noqa: PTH208  # ten times faster than Path.iterdir
        if entry.isdigit():
            with contextlib.suppress(OSError):  # ended meanwhile
                about = os.stat(f"/proc/{entry}/ns/net")  # noqa: PTH116
                if (about.st_dev, about.st_ino) in inodes:
                    found.append(int(entry))
    return found


def end_processes(names: Sequence[str]) -> int:
    """End every process in these namespaces; return how many there were.

    SIGTERM first, after 3 s SIGKILL. Raises `ToolFailed` if one does not even end then.
    """
    killed: set[int] = set()
    start = time.monotonic()
    while pids := [pid for pid in pids_in(names) if _lives(pid)]:
        age_s = time.monotonic() - start
        if age_s > _TERM_S + _KILL_S:
            raise ToolFailed(
                f"process {', '.join(map(str, pids))} does not end on SIGKILL",
                hint="it hangs in the kernel; see /proc/PID/stack and the kernel's messages",
            )
        for pid in pids:
            if age_s > _TERM_S or pid not in killed:
                _signal(pid, names, signal.SIGKILL if age_s > _TERM_S else signal.SIGTERM)
        killed.update(pids)
        time.sleep(_POLL_S)
    return len(killed)


def _lives(pid: int) -> bool:
    fields = stat_fields(pid)
    return fields is not None and fields[0] not in "ZX"


def _signal(pid: int, names: Sequence[str], number: int) -> None:
    try:
        pidfd = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    try:
        if pid in pids_in(names):  # after the pidfd was opened: so it means this very process
            signal.pidfd_send_signal(pidfd, number)
    except ProcessLookupError:
        return
    finally:
        os.close(pidfd)


def remove(names: Iterable[str]) -> None:
    """Remove namespaces; those that are gone already do not matter."""
    for name in names:
        try:
            tools.run(["ip", "netns", "delete", name])
        except ToolFailed:
            if (NETNS_DIRECTORY / name).exists():
                raise
