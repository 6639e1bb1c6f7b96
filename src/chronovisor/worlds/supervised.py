"""One world under supervision: the state machine between decisions, processes and timers.

Whatever changes a world holds `_turn`, one at a time. A process that ends and a backoff that is
over start a task which takes its turn and first looks whether it still matters.
"""

import asyncio
import contextlib
import signal
import time
from collections.abc import Callable, Coroutine
from dataclasses import replace
from pathlib import Path
from typing import Literal

from chronovisor.errors import ChronovisorError, Conflict, ToolFailed, Unavailable
from chronovisor.worlds import policy
from chronovisor.worlds.cgroups import Cgroups, oom_kills
from chronovisor.worlds.container.report import ContainerReport
from chronovisor.worlds.launcher import boot_id
from chronovisor.worlds.locks import Locks
from chronovisor.worlds.output import LogFile, Output
from chronovisor.worlds.policy import Failures
from chronovisor.worlds.process import Process
from chronovisor.worlds.records import Started, Wanted, WorldDirectory, new_launch
from chronovisor.worlds.runner import Runner
from chronovisor.worlds.spec import WorldSpec
from chronovisor.worlds.state import State, World

Ensured = Literal["started", "replaced", "updated", "unchanged"]
_AFTER_KILL_S = 10.0
_LOCK_LOOK_S = 2.0  # a lock's file names its holder, but not the child that may still have it


class Supervised:
    """A world, what is wanted of it and the process that runs it, if any.

    `spawn` runs a coroutine in the background, `changed` is told of every change of state.
    """

    def __init__(
        self,
        directory: WorldDirectory,
        wanted: Wanted,
        cgroups: Cgroups,
        locks: Locks,
        containers: Path,
        *,
        now_ns: Callable[[], int],
        spawn: Callable[[Coroutine[None, None, None]], None],
        changed: Callable[[World], None],
    ) -> None:
        self._directory = directory
        self._wanted = wanted
        self._locks = locks
        self._spawn = spawn
        self._changed = changed
        self.output = Output(directory.output, LogFile(directory.log, wanted.spec.log), now_ns)
        self._runner = Runner(directory, cgroups, self.output, locks, containers)
        self._state = wanted.state
        self._reason = wanted.reason
        self._process: Process | None = None
        self._started: Started | None = None
        self._adopted = False
        self._timer: asyncio.TimerHandle | None = None
        self._waits_for_lock = False
        self._forget_holder: Callable[[], None] | None = None
        self._turn = asyncio.Lock()

    # What others may ask

    def snapshot(self) -> World:
        """Return the world as it is now."""
        wanted, running = self._wanted, self._process is not None
        started = self._started if running else None
        wait_s = wanted.not_before_s - _since_boot_s()
        return World(
            name=wanted.spec.name,
            state=self._state,
            reason=self._reason,
            argv=(started or wanted).spec.argv,
            wanted_generation=wanted.spec.generation,
            generation=started.spec.generation if started else None,
            pid=started.identity.pid if started else None,
            started_at_s=started.started_at_s if started else None,
            uptime_s=started.identity.age_s() if started else None,
            adopted=self._adopted and running,
            restarts=wanted.restarts,
            quick_failures=wanted.failures.quick,
            total_failures=wanted.failures.total,
            next_attempt_s=max(wait_s, 0.0) if self._state is State.BACKOFF else None,
            last_lines=self.output.last_lines(),
            enforced=started.enforced if started else (),
            log_problem=self.output.log_problem,
            sandboxed=(started or wanted).spec.sandbox is not None,
            lock=wanted.spec.lock,
        )

    def container(self) -> ContainerReport | None:
        """Return how its container is, None if it has none; raise `ToolFailed`."""
        running = self._started if self._process is not None else None
        sandbox = (running or self._wanted).spec.sandbox
        return None if sandbox is None else self._runner.report(self.snapshot(), sandbox)

    async def adopt(self) -> None:
        """Take over what an earlier visord left; see the list in `Supervisor.adopt`."""
        async with self._turn:
            self.output.try_open()
            self._directory.clean()
            try:
                async with self._directory.locked():
                    process, started, ran = self._settle()
            except Unavailable as error:
                process, started, ran = self._runner.find_process()
                if process is None or started is None:
                    return await self._put_off(error)
            if process is not None and started is not None:
                return await self._take_over(process, started)
            self._reason += await self._clear_left(started)
            return await self._go_on(started if ran else None)

    async def start(self, spec: WorldSpec) -> None:
        """Start it; raise `Conflict` if it runs already."""
        async with self._turn:
            if self._process is not None:
                raise Conflict(
                    f"world {spec.name} runs already as process {self._process.identity.pid}",
                    hint="ensure or restart it instead",
                )
            await self._launch(spec, Failures(), "start asked for")

    async def ensure(self, spec: WorldSpec) -> Ensured:
        """See to it that this generation runs or is being tried; return what was done."""
        async with self._turn:
            old = self._wanted.spec
            if self._process is not None and self._started is not None:
                if self._started.spec.generation == spec.generation:
                    return await self._update(spec)
                await self._launch(spec, Failures(), f"generation {spec.generation} asked for")
                return "replaced"
            tried = self._wanted.asked_to_run and self._wanted.boot_id == boot_id()
            if tried and old.generation == spec.generation:
                return await self._update(spec)
            await self._launch(spec, Failures(), f"generation {spec.generation} asked for")
            return "started"

    async def restart(self) -> None:
        """Stop what runs and start what is wanted, with a clean sheet."""
        async with self._turn:
            await self._launch(self._wanted.spec, Failures(), "restart asked for")

    async def stop(self, reason: str) -> None:
        """End it and leave it so until it is started; raise `ToolFailed` if it does not end."""
        async with self._turn:
            await self._stop(reason)

    def hang_up(self) -> None:
        """Send SIGHUP to the program, if it runs."""
        if self._process is not None and self.snapshot().state is State.RUNNING:
            self._process.send(signal.SIGHUP)

    def detach(self) -> None:
        """Let go of it: it goes on without us."""
        self._cancel_timer()
        if self._process is not None:
            self._process.release()
        self.output.close()

    # How it is done; all of it under `_turn`

    async def _stop(self, reason: str) -> None:
        self._cancel_timer()
        self._waits_for_lock = False
        async with self._directory.locked():
            self._write(launch=new_launch(), state=State.STOPPED, reason=reason, asked_to_run=False)
        left = await self._end_process() if self._process else await self._clear_left(None)
        self._show(State.STOPPED, reason + left)

    async def _update(self, spec: WorldSpec) -> Ensured:
        if spec == self._wanted.spec:
            return "unchanged"
        async with self._directory.locked():
            self._write(spec=spec)
        self.output.limit_log(spec.log)
        return "updated"

    async def _launch(self, spec: WorldSpec, failures: Failures, reason: str) -> None:
        """Start a process for `spec` in the place of whatever runs now."""
        if self._process is not None:
            await self._runner.check(spec)  # what runs is not ended for what cannot
        self._cancel_timer()
        launch = new_launch()
        ran_before = not self._waits_for_lock and self._directory.read_started() is not None
        self._waits_for_lock = False
        restarts = self._wanted.restarts + ran_before
        async with self._directory.locked():
            self._write(
                spec=spec,
                state=State.STARTING,
                launch=launch,
                boot_id=boot_id(),
                reason=reason,
                failures=failures,
                restarts=restarts,
                asked_to_run=True,
            )
        self.output.limit_log(spec.log)
        self._show(State.STARTING, reason + await self._end_process())
        try:
            await self._run(spec, launch)
        except Conflict as error:
            self._wait_for_lock(spec.lock or "", error)
        except ToolFailed as error:
            await self._after_end(error.message, uptime_s=0.0, clean=False)
        except (Unavailable, OSError) as error:  # not the world's fault, so not held against it
            await self._put_off(error)

    async def _run(self, spec: WorldSpec, launch: str) -> None:
        running = await self._runner.run(spec, launch)
        if running.found:
            return await self._take_over(running.process, running.started)
        self._watch(running.process, running.started, adopted=False)
        return self._show(State.RUNNING, self._wanted.reason)

    def _wait_for_lock(self, name: str, why: Conflict) -> None:
        """Try again when the lock's holder has ended; that is nobody's failure and takes time."""
        self._waits_for_lock = True
        if (identity := self._locks.holder(name)) is not None:
            again = lambda: self._spawn(self._try_again())  # noqa: E731
            self._forget_holder = Process.tell_end(identity, again)
        self._schedule(_LOCK_LOOK_S)
        self._show(State.STARTING, f"waits: {why.message}")

    async def _take_over(self, process: Process, started: Started) -> None:
        self._watch(process, started, adopted=True)
        if not self._wanted.asked_to_run:
            return await self._stop(self._wanted.reason)
        self._runner.limit_again(started)
        return self._show(State.RUNNING, f"adopted process {started.identity.pid}")

    async def _go_on(self, started: Started | None) -> None:
        """Decide about a world without a process, whose last one, if it ran at all, is given."""
        wanted = self._wanted
        if wanted.boot_id != boot_id():
            if wanted.state is not State.STOPPED:
                self._show(State.STOPPED, "the machine was started anew")
        elif wanted.state is State.BACKOFF:
            self._schedule(wanted.not_before_s - _since_boot_s())
        elif wanted.state is State.STARTING and started is None:
            await self._launch(wanted.spec, wanted.failures, "the start was cut off")
        elif wanted.state is State.STARTING and started is not None:
            uptime_s = started.identity.age_s()
            text = f"ended unwatched, at most {_duration(uptime_s)} after its start"
            await self._after_end(text, uptime_s=uptime_s, clean=False)

    def _watch(self, process: Process, started: Started, *, adopted: bool) -> None:
        self._process, self._started, self._adopted = process, started, adopted
        process.ended.add_done_callback(lambda _: self._spawn(self._on_end(process)))

    async def _on_end(self, process: Process) -> None:
        """Deal with a process that ended by itself."""
        async with self._turn:
            started = self._started
            if self._process is not process or started is None:
                return  # it was ended on purpose
            status, uptime_s = process.ended.result(), started.identity.age_s()
            text = f"{status} after {_duration(uptime_s)}"
            if status.signal_number == signal.SIGKILL and oom_kills(started.cgroups):
                limit = started.spec.limits.memory_bytes or 0
                text += f": out of memory (limit {limit / (1 << 20):g} MiB)"
            self._process = None
            text += await self._runner.clear_away(started)
            await self._after_end(text, uptime_s=uptime_s, clean=status.clean)

    async def _after_end(self, text: str, *, uptime_s: float, clean: bool) -> None:
        spec, failures = self._wanted.spec, self._wanted.failures
        decision = policy.after_end(spec.restart, failures, uptime_s=uptime_s, clean=clean)
        state, wait_s = State.BACKOFF, 0.0
        if isinstance(decision, policy.Restart):
            wait_s = decision.after_s
        elif isinstance(decision, policy.GiveUp):
            state, text = State.FAILED, f"{text}; gave up: {decision.why}"
        else:
            state = State.STOPPED
        await self._decide(state, text, decision.failures, wait_s)

    async def _decide(self, state: State, text: str, failures: Failures, wait_s: float) -> None:
        not_before_s = _since_boot_s() + wait_s
        changes = {
            "state": state, "reason": text, "failures": failures, "not_before_s": not_before_s
        }  # fmt: skip
        try:
            async with self._directory.locked():
                self._write(**changes)
        except ChronovisorError as error:
            # A full disk is no reason to forget what happened, or to leave a world dead.
            self._wanted = replace(self._wanted, **changes)  # type: ignore[arg-type]
            text += f" ({error.message})"
        self._show(state, text)
        if state is State.BACKOFF:
            self._schedule(wait_s)

    async def _put_off(self, error: ChronovisorError | OSError) -> None:
        """Try again later, for a reason that has nothing to do with the world itself."""
        if not self._wanted.asked_to_run:
            return
        text = error.message if isinstance(error, ChronovisorError) else str(error)
        wait_s = self._wanted.spec.restart.backoff_max_s
        await self._decide(State.BACKOFF, text, self._wanted.failures, wait_s)

    async def _end_process(self) -> str:
        """End what runs, with all its descendants; return as `clear_away` does."""
        process, started = self._process, self._started
        if process is None or started is None:
            return ""
        spec = started.spec
        deadline = time.monotonic() + spec.stop_timeout_s
        process.send(self._runner.stop_signal(started))
        if not await process.wait(spec.stop_timeout_s):
            process.send(signal.SIGKILL)
            if not await process.wait(_AFTER_KILL_S):
                raise ToolFailed(
                    f"world {spec.name}: process {process.identity.pid} does not end on SIGKILL",
                    hint="it hangs in the kernel; see its /proc/PID/stack",
                )
        self._process = None
        return await self._runner.clear_away(started, max(deadline - time.monotonic(), 0.0))

    async def _clear_left(self, started: Started | None) -> str:
        """Do as `clear_away`, also where no process was recorded."""
        if started is not None:
            return await self._runner.clear_away(started)
        try:
            await self._runner.tidy()
        except ToolFailed as error:
            return f"; {error.message}"
        return ""

    def _settle(self) -> tuple[Process | None, Started | None, bool]:
        """Make it certain what runs, under the lock.

        Returns the process if it lives, its record, and whether that is of the launch wanted last
        (if not, that launch was cut off, and from here on its launcher cannot go on).
        """
        process, started, ran = self._runner.find_process()
        ran = ran and started is not None and started.launch == self._wanted.launch
        if process is None and not ran:
            self._write(launch=new_launch())
        elif started is not None and not ran:
            with contextlib.suppress(Unavailable):  # the process matters more than its label
                self._write(launch=started.launch)
        return process, started, ran

    def _schedule(self, wait_s: float) -> None:
        loop = asyncio.get_running_loop()
        self._timer = loop.call_later(max(wait_s, 0.0), lambda: self._spawn(self._try_again()))

    async def _try_again(self) -> None:
        async with self._turn:
            waits = self._state is State.BACKOFF or self._waits_for_lock
            if not waits or self._process is not None:
                return
            reason = "its lock came free" if self._waits_for_lock else self._reason
            try:
                await self._launch(self._wanted.spec, self._wanted.failures, reason)
            except ChronovisorError as error:
                await self._put_off(error)

    def _cancel_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._forget_holder is not None:
            self._forget_holder()
            self._forget_holder = None

    def _write(self, **changes: object) -> None:
        wanted = replace(self._wanted, **changes)  # type: ignore[arg-type]  # mypy: no kwargs
        self._directory.write_wanted(wanted)
        self._wanted = wanted

    def _show(self, state: State, reason: str) -> None:
        self._state, self._reason = state, reason
        self._changed(self.snapshot())


def _since_boot_s() -> float:
    return time.clock_gettime(time.CLOCK_BOOTTIME)


def _duration(seconds: float) -> str:
    return f"{seconds:.1f} s" if seconds < 60 else f"{seconds:.0f} s"
