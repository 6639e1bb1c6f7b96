"""One visord: the store, the worlds and the planes joined, each broken part kept from the others.

visord holds nothing that matters: settings are in the store, processes are worlds, state is read
from what runs. It may be killed at any moment and started again.
"""

import asyncio
import contextlib
import os
import time
from collections.abc import Awaitable, Callable, Set
from typing import Any

import structlog
from pydantic import ValidationError

from chronovisor import __version__
from chronovisor.clock import devices
from chronovisor.clock.engine import Engine
from chronovisor.clock.plane import ClockPlane, obstacles
from chronovisor.clock.settings import PATH as SYSTEM_TIME
from chronovisor.clock.settings import SystemTime
from chronovisor.config import (
    Commit,
    ConfigStore,
    KeyPath,
    Origin,
    SqliteBackend,
    effective,
)
from chronovisor.errors import ChronovisorError, InvalidInput, Problem
from chronovisor.host import metrics, notify
from chronovisor.host.device_list import DeviceListSource
from chronovisor.host.directories import Directories
from chronovisor.host.events import EventBus
from chronovisor.host.health import Condition, Health, Part, worst
from chronovisor.host.preflights import Preflights
from chronovisor.host.schema import registry
from chronovisor.host.system_time import SystemTimeSource
from chronovisor.host.vm_networking import ClashGate, NetChange, VmNetworkingSource
from chronovisor.net.plane import NetPlane
from chronovisor.worlds import State, Supervisor, World

log = structlog.get_logger()

FIRST_RETRY_S, LONGEST_RETRY_S = 0.5, 30.0
"""Waits between attempts to bring a broken part back; doubled each time."""

RECOVERED_S = 10.0
"""How long a part that broke must run before health calls it well again."""

MOST_REASONS = 5
"""Reasons of one part that health names; a thousand ports may have one each."""

FILES_S = 1.0
"""How often /etc/chronovisor is looked at for a changed trx.conf: one stat(2)."""


class Visord:
    """A host: what it is told (store), what runs (supervisor), and its planes."""

    def __init__(self, directories: Directories, engine: Engine) -> None:
        """Open the store. Raises `Unavailable` and `InvalidInput` where it cannot be used."""
        self.events = EventBus()
        self.engine = engine
        self.registry = registry(engine)
        self.store = ConfigStore(SqliteBackend(directories.store), self.registry, gate=ClashGate())
        self.system_time = SystemTimeSource(
            self.store, self.registry, directories.trx_conf, directories.var, engine
        )
        self.device_list = DeviceListSource(directories.devices)
        self.supervisor = Supervisor(directories.run / "worlds")
        self.clock = ClockPlane(
            self.supervisor, engine, directories.run / "clock", self.events.publish
        )
        self.preflights = Preflights(
            directories.devices, directories.run / "clock" / "preflight", self.events.publish
        )
        self.net = NetPlane(self.supervisor, directories.run, directories.var, self.events.publish)
        self.vm_networking = VmNetworkingSource(self.store, self.net)
        self._started_s = time.monotonic()
        self._broken: dict[str, str] = {}
        self._trial_changed = asyncio.Event()

    async def run(self, serve: Callable[[], Awaitable[None]], *, stop_worlds: bool) -> None:
        """Do everything until `serve` returns; worlds run on unless they are to be stopped."""
        from chronovisor.host.api.shapes import commit_shape

        loop = asyncio.get_running_loop()

        def hand_over(commit: Commit) -> None:
            # Called in whichever thread commits: what is slow with thousands of keys is done here.
            shown = commit_shape(self.store.masked(commit)).model_dump()
            paths = frozenset(str(change.path) for change in commit.changes)
            loop.call_soon_threadsafe(self._committed, paths, shown, _net_change(commit))

        self.store.subscribe(hand_over)
        self.supervisor.subscribe(self._world_changed)
        async with self.supervisor:
            adopted = await self.supervisor.adopt()
            log.info("adopted worlds", worlds=[world.name for world in adopted])
            await asyncio.to_thread(self._reload_devices)
            await asyncio.to_thread(self.system_time.reload)
            await asyncio.to_thread(self.preflights.put_back, self.ptp_devices())
            self._apply_time_settings()
            self._apply_net_settings()
            async with asyncio.TaskGroup() as tasks:
                parts = [
                    tasks.create_task(self._keep("clock", self.clock.run)),
                    tasks.create_task(self._keep("net", self.net.run)),
                    tasks.create_task(self._keep("trials", self._expire_trials)),
                    tasks.create_task(self._keep("files", self._watch_files)),
                    tasks.create_task(self._keep("watchdog", notify.feed_watchdog)),
                ]
                try:
                    await serve()
                finally:
                    await self.preflights.stop()
                    for part in parts:
                        part.cancel()
            if stop_worlds:
                await self.supervisor.stop_all("visord stops, and was told to end its worlds")

    async def _keep(self, name: str, run: Callable[[], Awaitable[None]]) -> None:
        """Run a part for ever; when it breaks, say so and try again, later each time."""
        wait_s = FIRST_RETRY_S
        loop = asyncio.get_running_loop()
        while True:
            started_s = time.monotonic()
            recovered = loop.call_later(RECOVERED_S, self._broken.pop, name, None)
            try:
                await run()
            except Exception as error:  # whatever breaks one part must not stop the others
                recovered.cancel()
                self._broken[name] = f"{name} broke: {_words(error)}; tried again in {wait_s:g} s"
                log.error("a part broke", part=name, exc_info=error)
                self.events.publish("host.broken", {"part": name, "reason": self._broken[name]})
            if time.monotonic() - started_s > LONGEST_RETRY_S:
                wait_s = FIRST_RETRY_S
            await asyncio.sleep(wait_s)
            wait_s = min(2 * wait_s, LONGEST_RETRY_S)

    def _committed(self, paths: Set[str], shown: dict[str, Any], change: NetChange) -> None:
        self.events.publish("config.commit", shown)  # whoever may read may listen: it is masked
        self._trial_changed.set()
        if SYSTEM_TIME in paths:
            self._apply_time_settings()
        self.vm_networking.committed(change)

    def _world_changed(self, world: World) -> None:
        log.info("world", name=world.name, state=world.state.value, reason=world.reason)
        self.events.publish(
            "world.state",
            {"name": world.name, "state": world.state, "reason": world.reason, "pid": world.pid},
        )

    def _apply_net_settings(self) -> None:
        try:
            self.vm_networking.apply()
        except (InvalidInput, ValidationError) as error:  # of an older release
            _log_unfit(error)

    def _apply_time_settings(self) -> None:
        if self._store_lost_everything() and not self.system_time.stored():
            return  # defaults would stop what runs; the alarm says what happened
        try:
            self.clock.want(self.system_time.effective())
        except InvalidInput as error:  # of an older release; what runs goes on, an alarm says so
            log.error("stored settings are not applied", reason=error.message)

    def _store_lost_everything(self) -> bool:
        return any(alarm.kind == "emptied" for alarm in self.store.alarms)

    async def _expire_trials(self) -> None:
        """Put the old values back when a trial's time is up, also one begun before we started."""
        while True:
            self._trial_changed.clear()
            await asyncio.to_thread(self.store.expire)
            trial = self.store.trial
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(trial.seconds_left if trial else None):
                    await self._trial_changed.wait()

    def _reload_devices(self) -> bool:
        changed = self.device_list.reload()
        self.clock.listed = self.device_list.listed
        return changed

    async def _watch_files(self) -> None:
        while True:
            if await asyncio.to_thread(self._reload_devices):
                self.events.publish("clock.device_list", {"problem": self.device_list.problem})
            if await asyncio.to_thread(self.system_time.reload):
                self.events.publish("clock.trx_conf", {"problem": self.system_time.problem})
                self._apply_time_settings()
            await asyncio.sleep(FILES_S)

    def refuse_impossible(self, path: KeyPath, value: object) -> None:
        """Raise `InvalidInput` for settings that this machine, as it is now, cannot follow.

        Asked before a change only: a device that goes away later makes no stored setting wrong.
        """
        if str(path) == SYSTEM_TIME and value is not None:
            self.feasible(value)

    def feasible(self, value: object) -> SystemTime:
        """Return the time settings that a stored value would make hold on this machine.

        Raises `InvalidInput` with every problem that is not there already: a device that is gone
        must not keep the operator from changing anything else.
        """
        settings = self.system_time.proposed(value)
        known = self._known_obstacles()
        problems = [problem for problem in self._obstacles(settings) if problem not in known]
        if problems:
            raise InvalidInput(problems[0].message, problems)
        return settings

    def _obstacles(self, settings: SystemTime) -> list[Problem]:
        listed = self.device_list.listed
        return [*obstacles(settings, listed), *devices.unfit(settings, listed)]

    def ptp_devices(self) -> set[str]:
        """Return the devices that the clock uses by the settings that hold."""
        try:
            settings = self.system_time.effective()
        except InvalidInput:  # nothing can be told; a NIC in use shows by its own configuration
            return set()
        ports = settings.ptp_config.active_ports() if settings.enabled else ()
        return {port.device for port in ports}

    def _known_obstacles(self) -> list[Problem]:
        try:
            return self._obstacles(self.system_time.effective())
        except InvalidInput:  # what is stored cannot hold at all any more
            return []

    def origins(self, path: KeyPath, *, secrets: bool) -> list[Origin]:
        """Return every field of a key that holds now, with its origin."""
        entry = self.store.get(path)
        stored = entry.value if entry else None
        if not secrets:
            stored = self.registry.mask(path, stored)
        if str(path) != SYSTEM_TIME:
            return effective(self.registry, path, stored)
        time = self.system_time
        return effective(self.registry, path, stored, time.overlays(), time.presets())

    def health(self) -> Health:
        """Return how every part is."""
        parts = (
            self._store_part(),
            self._clock_part(),
            self._net_part(),
            self._worlds_part(),
            *self._broken_parts(),
        )
        return Health(
            condition=worst(parts),
            version=__version__,
            pid=os.getpid(),
            uptime_s=round(time.monotonic() - self._started_s, 3),
            store_revision=self.store.revision,
            parts=parts,
        )

    def _store_part(self) -> Part:
        alarms = "; ".join(alarm.message for alarm in self.store.alarms)
        condition = Condition.DEGRADED if alarms else Condition.OK
        return Part(name="store", condition=condition, reason=alarms)

    def _clock_part(self) -> Part:
        files = (self.system_time.problem, self.device_list.problem)
        reasons = [text for text in (*files, self.clock.problem) if text]
        verdict = self.clock.verdict
        if not verdict.state.well:
            reasons.append(f"clock is {verdict.state}: {verdict.reason}")
        system_clock = self.clock.system_clock
        if not system_clock.well:
            decision = system_clock.decision
            reasons.append(f"system clock is in {decision.phase}: {decision.reason}")
        condition = Condition.DEGRADED if reasons else Condition.OK
        return Part(name="clock", condition=condition, reason="; ".join(reasons))

    def _net_part(self) -> Part:
        reasons = [self.net.problem] if self.net.problem else []
        reasons += [str(problem) for problem in self.net.problems()]
        states = self.net.states() if self.net.enabled else {}
        reasons += [f"port {one}: {it.problem}" for one, it in states.items() if it.problem]
        more = f" (and {len(reasons) - MOST_REASONS} more)" if len(reasons) > MOST_REASONS else ""
        reason = "; ".join(reasons[:MOST_REASONS]) + more
        return Part(
            name="net", condition=Condition.DEGRADED if reasons else Condition.OK, reason=reason
        )

    def _worlds_part(self) -> Part:
        failed = [w for w in self.supervisor.worlds() if w.state in (State.FAILED, State.BACKOFF)]
        reason = "; ".join(f"{world.name} is {world.state}: {world.reason}" for world in failed)
        condition = (
            Condition.FAILED
            if any(w.state is State.FAILED for w in failed)
            else (Condition.DEGRADED if failed else Condition.OK)
        )
        return Part(name="worlds", condition=condition, reason=reason)

    def _broken_parts(self) -> tuple[Part, ...]:
        return tuple(
            Part(name=name, condition=Condition.FAILED, reason=reason)
            for name, reason in self._broken.items()
        )

    async def metrics(self) -> str:
        """Return the metrics in Prometheus' text format."""
        net = await asyncio.to_thread(self.net.figures)
        return metrics.render(
            self.clock.status(), self.supervisor.worlds(), self.store, self.health(), net
        )


def _net_change(commit: Commit) -> NetChange:
    try:
        return NetChange.of(commit)
    except ValidationError as error:  # of an older release, back at the end of a trial
        _log_unfit(error)
        return NetChange()


def _log_unfit(error: Exception) -> None:
    log.error("stored settings of VM networking are not applied", reason=str(error))


def _words(error: BaseException) -> str:
    if isinstance(error, ChronovisorError):
        return error.message
    if isinstance(error, BaseExceptionGroup):
        return "; ".join(_words(inner) for inner in error.exceptions)
    return f"{type(error).__name__}: {error}"
