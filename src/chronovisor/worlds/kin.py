"""All processes of a world: its session, and whoever sits in its cgroups.

A world's first process leads a session of its own, so its pid is the session's id for as long as
any of its descendants is in it, and the kernel gives that number to nobody else meanwhile.
"""

import asyncio
import contextlib
import os
import signal
import time
from collections.abc import Sequence
from pathlib import Path

from chronovisor.errors import ToolFailed
from chronovisor.worlds.launcher import boot_id, stat_fields
from chronovisor.worlds.process import Identity, Process

_AFTER_KILL_S = 10.0  # a process in uninterruptible sleep (NFS, broken disk) may outlive SIGKILL


def living_kin(leader: Identity, cgroups: Sequence[str]) -> list[Identity]:
    """Return the living processes that descend from `leader`, itself included."""
    if leader.boot_id != boot_id():
        return []
    pids = set(_in_cgroups(cgroups)) | set(_in_session(leader))
    found = []
    for pid in sorted(pids):
        fields = stat_fields(pid)
        if fields and fields[0] not in "ZX":
            found.append(Identity(pid, int(fields[22 - 3]), leader.boot_id))
    return found


def _in_cgroups(cgroups: Sequence[str]) -> list[int]:
    pids: list[int] = []
    for directory in cgroups:
        with contextlib.suppress(OSError):
            pids += map(int, Path(directory, "cgroup.procs").read_text().split())
    return pids


def _in_session(leader: Identity) -> list[int]:
    fields = stat_fields(leader.pid)
    if fields and int(fields[22 - 3]) != leader.start_ticks:
        return []  # the number was given away, so nobody of the old session is left
    pids = []
    for name in os.listdir("/proc"):  # noqa: PTH208  # ten times faster than Path.iterdir
        if name.isdigit():
            fields = stat_fields(int(name))
            # Field 6 is the session. Older than its leader is nobody's child.
            if fields and int(fields[3]) == leader.pid and int(fields[19]) >= leader.start_ticks:
                pids.append(int(name))
    return pids


async def end_kin(leader: Identity, cgroups: Sequence[str], *, patience_s: float) -> None:
    """End all that descends from `leader`: SIGTERM, after `patience_s` SIGKILL, wait for all.

    `patience_s` 0 kills at once. Raises `ToolFailed` if a process does not even end then.
    """
    if patience_s > 0:
        await _signal_and_wait(living_kin(leader, cgroups), signal.SIGTERM, patience_s)
    deadline = time.monotonic() + _AFTER_KILL_S
    # Again and again, for one may have forked while its sister was being killed.
    while kin := living_kin(leader, cgroups):
        left = await _signal_and_wait(kin, signal.SIGKILL, deadline - time.monotonic())
        if left or time.monotonic() > deadline:
            pids = ", ".join(str(one.pid) for one in left or kin)
            raise ToolFailed(
                f"process {pids} does not end on SIGKILL",
                hint="it hangs in the kernel; see /proc/PID/stack and the kernel's messages",
            )


async def _signal_and_wait(
    kin: Sequence[Identity], number: int, timeout_s: float
) -> list[Identity]:
    """Signal each, wait for all; return who is still alive."""
    processes = [process for one in kin if (process := Process.find(one))]
    try:
        for process in processes:
            process.send(number)
        if processes:
            await asyncio.wait([process.ended for process in processes], timeout=timeout_s)
        return [process.identity for process in processes if not process.ended.done()]
    finally:
        for process in processes:
            process.release()
