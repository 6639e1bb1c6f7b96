"""The worlds of one visord: what the host and the planes talk to."""

import asyncio
import hashlib
import os
import time
from collections.abc import Callable, Coroutine
from pathlib import Path
from types import TracebackType

from chronovisor.errors import NotFound, Unavailable
from chronovisor.worlds import orphans
from chronovisor.worlds.cgroups import Cgroups
from chronovisor.worlds.container.container import PIN
from chronovisor.worlds.container.report import ContainerReport
from chronovisor.worlds.lines import LogLine, LogWatch
from chronovisor.worlds.locks import Locks
from chronovisor.worlds.records import (
    Wanted,
    WorldDirectory,
    first_wanted,
    found_in,
    take_lock,
)
from chronovisor.worlds.spec import WorldSpec
from chronovisor.worlds.state import World
from chronovisor.worlds.supervised import Ensured, Supervised

_TAKEOVER_S = 5.0


def instance_of(directory: Path) -> str:
    """Return what names the cgroups of the supervisor that has this directory."""
    return hashlib.sha256(str(directory.absolute()).encode()).hexdigest()[:12]


class Supervisor:
    """Runs worlds, whose records, output and logs are in `directory`.

    ::

        async with Supervisor(Path("/run/chronovisor/worlds")) as supervisor:
            await supervisor.adopt()
            await supervisor.ensure(WorldSpec("ptp4l", ("ptp4l", "-f", "…"), generation="7f3a"))

    Beside `directory` are `locks`, which worlds share (`WorldSpec.lock`), and `crx`, in which the
    runtime keeps containers (`WorldSpec.sandbox`).
    Leaving the `async with` leaves every world running, see `detach`; `stop_all` ends them.
    `instance` names this supervisor's cgroups (the default comes from `directory`), `now_ns` is
    the clock that stamps lines. One supervisor at a time has a directory.
    """

    def __init__(
        self,
        directory: Path,
        *,
        instance: str | None = None,
        cgroups: Cgroups | None = None,
        now_ns: Callable[[], int] = time.time_ns,
    ) -> None:
        self._directory = directory.absolute()
        self._instance = instance or instance_of(directory)
        self._cgroups = cgroups
        self._locks = Locks(self._directory.with_name("locks"))
        self._containers = self._directory.with_name("crx")
        self._now_ns = now_ns
        self._worlds: dict[str, Supervised] = {}
        self._subscribers: list[Callable[[World], None]] = []
        self._tasks: set[asyncio.Task[None]] = set()
        self._lock_fd = -1

    async def __aenter__(self) -> "Supervisor":
        """Take the directory; raise `Unavailable` if that cannot be or another has it."""
        try:
            self._directory.mkdir(mode=0o755, parents=True, exist_ok=True)
            flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC
            self._lock_fd = os.open(self._directory / ".lock", flags, 0o600)
        except OSError as error:
            raise Unavailable(f"cannot use {self._directory}: {error.strerror}") from error
        try:
            await take_lock(self._lock_fd, f"another visord with {self._directory}", _TAKEOVER_S)
        except BaseException:
            os.close(self._lock_fd)
            raise
        if self._cgroups is None:
            self._cgroups = Cgroups.of_this_process(self._instance)
        orphans.take_in()
        self._spawn(orphans.bury_for_ever())
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Let go of everything, see `detach`."""
        await self.detach()

    async def adopt(self) -> list[World]:
        """Take over the worlds recorded in the directory; return those that run.

        A process counts as recorded only with its pid, start time and boot. For each world:

        - it runs: it is watched from now on, and neither touched nor doubled;
        - it runs and was being stopped: that is finished;
        - it died meanwhile: the restart policy decides, as if one had seen it;
        - its start was cut off: it is started;
        - it waited, had failed or was stopped: so it stays, with the rest of its wait;
        - the machine was started anew: it is stopped, until somebody asks for it.
        """
        for directory in found_in(self._directory):
            if directory.path.name not in self._worlds and (wanted := directory.read_last()):
                await self._add(directory, wanted).adopt()
        return [world for world in self.worlds() if world.adopted]

    async def start(self, spec: WorldSpec) -> World:
        """Start a world; return it, also when the program cannot be run (see its reason).

        Raises `Conflict` if it runs already, `Unavailable` if its record cannot be written.
        """
        world = await self._for(spec)
        await world.start(spec)
        return world.snapshot()

    async def ensure(self, spec: WorldSpec) -> Ensured:
        """See to it that the world runs with this generation; may be called at any time.

        `unchanged`: it does, or the policy is trying, or the policy gave up on this very
        generation (`restart` begins again). `updated`: so it is, and what differs beside the
        generation holds from the next start on. `started`, `replaced` (stopped and started): done
        now. Raises `ToolFailed` if the old process does not end.
        """
        world = await self._for(spec)
        return await world.ensure(spec)

    async def stop(self, name: str, reason: str) -> World:
        """Stop a world with all its processes; return it stopped."""
        world = self._get(name)
        await world.stop(reason)
        return world.snapshot()

    async def restart(self, name: str) -> World:
        """Stop and start a world, forgiving its failures; return it."""
        world = self._get(name)
        await world.restart()
        return world.snapshot()

    def hang_up(self, name: str) -> None:
        """Send SIGHUP to the program of a world, if it runs: daemons then read their files."""
        self._get(name).hang_up()

    async def remove(self, name: str) -> None:
        """Stop a world and forget it with its log."""
        world = self._get(name)
        await world.stop("removed")
        world.detach()
        world.output.end_watches()
        del self._worlds[name]
        WorldDirectory(self._directory / name).remove()

    async def stop_all(self, reason: str) -> None:
        """Stop every world, all at once; raise the first problem after trying all."""
        results = await asyncio.gather(
            *(world.stop(reason) for world in self._worlds.values()), return_exceptions=True
        )
        for result in results:
            if isinstance(result, BaseException):
                raise result

    async def detach(self) -> None:
        """Let go of every world: all run on, and the next supervisor adopts them."""
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for world in self._worlds.values():
            world.detach()
            world.output.end_watches()
        self._worlds.clear()
        if self._lock_fd >= 0:
            os.close(self._lock_fd)
            self._lock_fd = -1

    def worlds(self) -> list[World]:
        """Return every world as it is now, by name."""
        return [self._worlds[name].snapshot() for name in sorted(self._worlds)]

    def get(self, name: str) -> World:
        """Return one world as it is now; raise `NotFound`."""
        return self._get(name).snapshot()

    def containers(self) -> list[ContainerReport]:
        """Return the container of every world that has one; raise `ToolFailed`, no runtime."""
        reports = (self._worlds[name].container() for name in sorted(self._worlds))
        return [report for report in reports if report is not None]

    def container(self, name: str) -> ContainerReport:
        """Return one world's container; raise `NotFound` if it is none, `ToolFailed`."""
        report = self._get(name).container()
        if report is None:
            raise NotFound(f"world {name!r} is not a container", hint=f"visorctl world show {name}")
        return report

    def networks(self) -> dict[str, Path]:
        """Return the pinned network namespace of every container with one, by world.

        May be called in any thread.
        """
        return {pin.parent.name: pin for pin in sorted(self._directory.glob(f"*/{PIN}"))}

    def subscribe(self, callback: Callable[[World], None]) -> Callable[[], None]:
        """Have `callback` called at every change of a world's state; return what ends that."""
        self._subscribers.append(callback)
        return lambda: self._subscribers.remove(callback)

    def watch_log(self, name: str) -> LogWatch:
        """Return the world's lines from now on; raise `NotFound`. Close it after use."""
        return self._get(name).output.watch()

    def log_lines(self, name: str, count: int) -> list[LogLine]:
        """Return the last `count` lines of the world's log; raise `NotFound`, `Unavailable`."""
        try:
            return self._get(name).output.tail(count)
        except OSError as error:
            raise Unavailable(f"cannot read the log of {name}: {error.strerror}") from error

    def _get(self, name: str) -> Supervised:
        try:
            return self._worlds[name]
        except KeyError:
            known = ", ".join(sorted(self._worlds)) or "none"
            raise NotFound(f"there is no world {name!r}", hint=f"worlds: {known}") from None

    async def _for(self, spec: WorldSpec) -> Supervised:
        if spec.name in self._worlds:
            return self._worlds[spec.name]
        directory = WorldDirectory(self._directory / spec.name)
        directory.create()
        wanted = directory.read_last()
        world = self._add(directory, wanted or first_wanted(spec, "never started"))
        if wanted is not None:
            await world.adopt()
        return world

    def _add(self, directory: WorldDirectory, wanted: Wanted) -> Supervised:
        assert self._cgroups is not None, "used outside of its `async with`"
        world = Supervised(
            directory,
            wanted,
            self._cgroups,
            self._locks,
            self._containers,
            now_ns=self._now_ns,
            spawn=self._spawn,
            changed=self._tell,
        )
        self._worlds[directory.path.name] = world
        return world

    def _spawn(self, work: Coroutine[None, None, None]) -> None:
        if self._lock_fd < 0:  # detached: whatever happens is for the next supervisor to see
            return work.close()
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        return task.add_done_callback(self._done)

    def _done(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()):
            self._report(error, "supervision of a world failed")

    def _tell(self, world: World) -> None:
        for callback in list(self._subscribers):
            try:
                callback(world)
            except Exception as error:  # noqa: BLE001  # a subscriber must not stop supervision
                self._report(error, f"a subscriber failed at the change of world {world.name}")

    def _report(self, error: BaseException, message: str) -> None:
        context = {"message": message, "exception": error}
        asyncio.get_running_loop().call_exception_handler(context)
