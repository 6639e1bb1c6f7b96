"""Gives a world its process, and takes away what a dead one left."""

import os
from dataclasses import dataclass

from chronovisor.errors import ChronovisorError, Conflict, ToolFailed, Unavailable
from chronovisor.worlds.cgroups import Cgroups
from chronovisor.worlds.kin import end_kin
from chronovisor.worlds.launch import Account, LaunchFailed, orders, run_launcher
from chronovisor.worlds.limits import arrange
from chronovisor.worlds.locks import Locks
from chronovisor.worlds.output import Output
from chronovisor.worlds.process import Process
from chronovisor.worlds.records import Started, WorldDirectory
from chronovisor.worlds.spec import WorldSpec

_AFTER_REPORT_S = 10.0


@dataclass(frozen=True, slots=True)
class Running:
    """A process that runs a world's program; `found` one that ran already."""

    process: Process
    started: Started
    found: bool = False


class Runner:
    """Starts processes of one world, one at a time, and clears away after each."""

    def __init__(
        self, directory: WorldDirectory, cgroups: Cgroups, output: Output, locks: Locks
    ) -> None:
        self._directory = directory
        self._cgroups = cgroups
        self._output = output
        self._locks = locks

    async def run(self, spec: WorldSpec, launch: str) -> Running:
        """Start the program.

        Raises `Conflict` while another world has its lock, `ToolFailed` where it cannot be run,
        `Unavailable` or `OSError` where that is not the world's fault.
        """
        account = None if spec.user is None else Account.of(spec.user)
        lock = None if spec.lock is None else self._locks.path(spec.lock)
        arrangement = arrange(spec, self._cgroups)
        document = orders(spec, launch, arrangement, account, lock)
        output_fd = self._output.open_for_world(account.uid if account else None)
        try:
            process, failed = await run_launcher(self._directory.path, document, output_fd)
        finally:
            os.close(output_fd)
        started = self._directory.read_started()
        if failed is None and started and started.launch == launch:
            return Running(process, started)
        await process.wait(_AFTER_REPORT_S)
        process.release()
        self._cgroups.remove([str(group.path) for group in arrangement.groups])
        if failed and failed.kind == "running":
            other, started = self._directory.find_process()
            if other and started:
                return Running(other, started, found=True)
        raise _launch_problem(process, failed)

    def limit_again(self, started: Started) -> None:
        """Write an adopted world's limits anew: the unit takes them off when visord stops."""
        if self._cgroups.has(started.spec.name, started.cgroups):
            arrange(started.spec, self._cgroups)

    async def clear_away(self, started: Started, patience_s: float = 0.0) -> str:
        """Remove what a dead world left: descendants, unread output, cgroups.

        Returns text to add to the reason: empty, or which descendant does not end.
        """
        try:
            await end_kin(started.identity, started.cgroups, patience_s=patience_s)
            left = ""
        except ToolFailed as error:
            left = f"; {error.message}"
        self._output.finish()
        self._cgroups.remove(started.cgroups)
        return left


def _launch_problem(process: Process, failed: LaunchFailed | None) -> ChronovisorError:
    if failed is None:
        how = process.ended.result() if process.ended.done() else "did not end"
        return ToolFailed(f"the launcher {how} before it could run the program")
    if failed.kind == "locked":
        return Conflict(failed.message)
    if failed.kind == "record":
        return Unavailable(failed.message)
    return ToolFailed(failed.message)
