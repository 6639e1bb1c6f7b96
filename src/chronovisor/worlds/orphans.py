"""Children of processes that have ended: taken in, so that it is known how containers end.

A runtime ends once it has created a container, whose init is an orphan from then on. It goes to the
nearest process above that asks for orphans (prctl(2), PR_SET_CHILD_SUBREAPER), else to process 1.
That would take the exit status at once, and before 6.15 the kernel tells nobody but the parent.

Who asks gets all orphans, also those that nobody knows; they stay zombies until their status is
taken.
"""

import asyncio
import contextlib
import ctypes
import os
from pathlib import Path

from chronovisor.worlds.launcher import stat_fields

_PR_SET_CHILD_SUBREAPER = 36  # linux/prctl.h

LOOK_S = 5.0
"""How often zombies are looked for. Who waits for a child takes its status far sooner, so one that
is there at two looks is nobody's."""

Zombies = frozenset[tuple[int, int]]
"""Processes by pid and start time (clock ticks since the boot)."""


def take_in() -> None:
    """Ask for the orphans below this process."""
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


async def bury_for_ever() -> None:
    """Take the exit status of orphans that nobody watches, until cancelled."""
    seen: Zombies = frozenset()
    while True:
        await asyncio.sleep(LOOK_S)
        seen = bury(seen)


def bury(seen: Zombies) -> Zombies:
    """Take the exit status of the zombies that were `seen` at the last look; return the others."""
    now = _zombies()
    for pid, _ in now & seen:
        with contextlib.suppress(ChildProcessError):  # somebody waited for it after all
            os.waitpid(pid, os.WNOHANG)
    return now - seen


def _zombies() -> Zombies:
    found = set()
    for children in Path("/proc/self/task").glob("*/children"):
        with contextlib.suppress(OSError):  # the thread has ended, or the kernel has no such file
            for pid in map(int, children.read_text().split()):
                fields = stat_fields(pid)
                if fields and fields[0] == "Z":
                    found.add((pid, int(fields[22 - 3])))
    return frozenset(found)
