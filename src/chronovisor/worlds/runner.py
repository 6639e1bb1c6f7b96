"""Gives a world its process, and takes away what a dead one left."""

import contextlib
import os
import signal
from dataclasses import dataclass
from pathlib import Path

from chronovisor.errors import ChronovisorError, Conflict, ToolFailed, Unavailable
from chronovisor.worlds.cgroups import Cgroups
from chronovisor.worlds.container.container import Container
from chronovisor.worlds.container.report import ContainerReport
from chronovisor.worlds.kin import end_kin
from chronovisor.worlds.launch import Account, LaunchFailed, orders, run_launcher
from chronovisor.worlds.limits import Arrangement, arrange
from chronovisor.worlds.locks import Locks
from chronovisor.worlds.output import Output
from chronovisor.worlds.process import Process
from chronovisor.worlds.records import Started, WorldDirectory
from chronovisor.worlds.sandbox import Sandbox
from chronovisor.worlds.spec import WorldSpec
from chronovisor.worlds.state import World

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
        self,
        directory: WorldDirectory,
        cgroups: Cgroups,
        output: Output,
        locks: Locks,
        containers: Path,
    ) -> None:
        self._directory = directory
        self._cgroups = cgroups
        self._output = output
        self._locks = locks
        self._container = Container(directory.path, containers, cgroups)

    async def check(self, spec: WorldSpec) -> None:
        """Raise `ToolFailed` if it is plain already that it could not run in its container."""
        if spec.sandbox is not None:
            await self._container.check(spec.sandbox)

    def report(self, world: World, sandbox: Sandbox) -> ContainerReport:
        """Return how the world's container is; raise `ToolFailed` if its runtime is gone."""
        return self._container.report(world, sandbox)

    def find_process(self) -> tuple[Process | None, Started | None, bool]:
        """Return `WorldDirectory.find_process`, and whether its program ever came to run."""
        process, started = self._directory.find_process()
        ran = started is not None
        if started and started.spec.sandbox and not self._container.was_started():
            ran = False
            if process is not None:
                process.release()
                process = None
        return process, started, ran

    async def run(self, spec: WorldSpec, launch: str) -> Running:
        """Start the program.

        Raises `Conflict` while another world has its lock, `ToolFailed` where it cannot be run,
        `Unavailable` or `OSError` where that is not the world's fault.
        """
        account = None if spec.user is None else Account.of(spec.user)
        lock = None if spec.lock is None else self._locks.path(spec.lock)
        arrangement = arrange(spec, self._cgroups)
        document = orders(spec, launch, arrangement, account, lock)
        if spec.sandbox is not None:
            try:
                document["container"] = await self._container.orders(spec, document, arrangement)
            except ChronovisorError:
                await self._abandon(arrangement)
                raise
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
        if failed and failed.kind == "running":
            other, started = self._directory.find_process()
            if other and started:
                return Running(other, started, found=True)
        problem = _launch_problem(process, failed)
        if failed and failed.kind == "runtime" and spec.sandbox:
            problem = self._container.problem(spec.sandbox, failed.message)
        await self._abandon(arrangement)
        raise problem

    async def _abandon(self, arrangement: Arrangement) -> None:
        """Take back what was made ready for a process that did not come to be."""
        self._cgroups.remove([str(group.path) for group in arrangement.groups])
        with contextlib.suppress(ToolFailed):  # tried again at the next start, end and stop
            await self.tidy()

    async def tidy(self) -> None:
        """Remove what is left of a container while no process runs; raise `ToolFailed`."""
        if self._container.remains:
            await self._container.clear_away()

    def stop_signal(self, started: Started) -> int:
        """Return the signal that ends it.

        The kernel keeps from the init of a pid namespace every signal that it does not handle
        (pid_namespaces(7)); where the default is to end, SIGKILL does what was meant.
        """
        number = signal.Signals[started.spec.stop_signal]
        if started.spec.sandbox and not _catches(started.identity.pid, number):
            return signal.SIGKILL
        return number

    def limit_again(self, started: Started) -> None:
        """Write an adopted world's limits anew: the unit takes them off when visord stops."""
        if self._cgroups.has(started.spec.name, started.cgroups):
            arrange(started.spec, self._cgroups)

    async def clear_away(self, started: Started, patience_s: float = 0.0) -> str:
        """Remove what a dead world left: descendants, container, unread output, cgroups.

        Returns text to add to the reason: empty, or what does not go.
        """
        try:
            await end_kin(started.identity, started.cgroups, patience_s=patience_s)
            left = ""
        except ToolFailed as error:
            left = f"; {error.message}"
        try:
            await self.tidy()
        except ToolFailed as error:
            left += f"; {error.message}"
        self._output.finish()
        self._cgroups.remove(started.cgroups)
        return left


def _catches(pid: int, number: int) -> bool:
    """Return whether a process handles a signal itself (proc_pid_status(5), SigCgt)."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return True
    masks = [line.split()[1] for line in lines if line.startswith("SigCgt:")]
    return not masks or bool(int(masks[0], 16) >> (number - 1) & 1)


def _launch_problem(process: Process, failed: LaunchFailed | None) -> ChronovisorError:
    if failed is None:
        how = process.ended.result() if process.ended.done() else "did not end"
        return ToolFailed(f"the launcher {how} before it could run the program")
    if failed.kind == "locked":
        return Conflict(failed.message)
    if failed.kind == "record":
        return Unavailable(failed.message)
    return ToolFailed(failed.message)
