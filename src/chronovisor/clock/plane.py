"""The clock plane at work: settings in, daemons kept, state out.

visord hands over the settings that hold (`want`) and runs `run`; everybody asks `status` and
`plan`. Losing this process loses nothing: daemons go on as worlds, and a new plane recognises them.
"""

import asyncio
import contextlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from chronovisor.clock import addresses, containment, daemons, devices, privileges, report
from chronovisor.clock.chrony import daemon as chronyd
from chronovisor.clock.devices.listing import DeviceList, shipped
from chronovisor.clock.engine import Engine
from chronovisor.clock.kernel_clock import system_clock_frequency_ppb
from chronovisor.clock.memory import MemoryFile
from chronovisor.clock.ntp_state import judge_ntp
from chronovisor.clock.plan import (
    DAEMONS,
    Action,
    AssignAddress,
    HoldDaemon,
    Observed,
    RestartDaemon,
    ReviveDaemon,
    SetLive,
    StartDaemon,
    Wanted,
    plan,
)
from chronovisor.clock.sandboxes import contained
from chronovisor.clock.settings import Discipline, Protocol, SystemTime
from chronovisor.clock.state import Verdict
from chronovisor.clock.statistics_log import StatisticsLog
from chronovisor.clock.status import ClockStatus
from chronovisor.clock.system_clock import SystemClock
from chronovisor.clock.wanted import wanted
from chronovisor.clock.watch import Watch
from chronovisor.errors import ChronovisorError, Problem
from chronovisor.worlds import State, Supervisor

RECONCILE_S = 5.0
"""How often drift is repaired without anything having told us of it."""

Publish = Callable[[str, dict[str, Any]], None]


def obstacles(settings: SystemTime, listed: DeviceList | None = None) -> list[Problem]:
    """Return what keeps this machine, as it is now, from following the settings.

    `listed` are the NICs that are known beforehand, the shipped list when None is given.
    """
    speaks_ptp = settings.protocol is Protocol.PTP  # else its ports' devices are nobody's matter
    return [
        *(devices.check(settings, listed) if speaks_ptp else ()),
        *privileges.check(settings),
        *chronyd.check(settings),
        *containment.check(settings),
    ]


class ClockPlane:
    """Keeps this host's time as the settings say, and knows how well."""

    def __init__(
        self, supervisor: Supervisor, engine: Engine, directory: Path, publish: Publish
    ) -> None:
        self._supervisor = supervisor
        self._engine = engine
        self._publish = publish
        self._settings: SystemTime | None = None
        self._wake = asyncio.Event()
        memory = MemoryFile(directory / "memory.json")
        self.statistics_log = StatisticsLog(directory / "ptpd.stats")
        self._watch = Watch(
            supervisor,
            engine,
            memory,
            publish,
            judge_other=self._judge_ntp,
            replan=self._wake.set,
            statistics_log=self.statistics_log,
        )
        self.system_clock = SystemClock(
            supervisor, directory, publish, ptp=self._watch.ptp_evidence, chosen=self._wake.set
        )
        self._device_notices: tuple[str, ...] = ()
        self.listed: DeviceList = shipped()
        self._surroundings = containment.Surroundings(directory)
        devices.places.look_into(supervisor.networks)
        self.problem = ""
        self._lacked = False

    @property
    def verdict(self) -> Verdict:
        """Return the clock's state with its reason."""
        return self._watch.verdict

    def want(self, settings: SystemTime) -> None:
        """Take new settings; they are applied soon, by `run`."""
        if settings != self._settings:
            self._settings = settings
            self._watch.follow(settings)
            self.system_clock.follow(settings)
        self._wake.set()

    async def run(self) -> None:
        """Apply settings, watch and judge until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._watch.run())
            tasks.create_task(self.system_clock.run())
            tasks.create_task(self._reconcile_for_ever())

    async def plan(
        self, settings: SystemTime | None = None, *, retry: Mapping[str, str] | None = None
    ) -> list[Action]:
        """Return what would be done for these settings (those that hold when None is given).

        `retry` says of daemons why they are tried again now.
        """
        proposed = settings or self._settings
        if proposed is None:
            return []
        clock = self.system_clock
        owner = clock.owner if settings is None else clock.owner_with(settings)
        goal = wanted(
            proposed,
            self._engine,
            clock.paths,
            owner,
            may_step=clock.may_step,
            master_time=self._watch.master_time,
        )
        host = await asyncio.to_thread(self._surroundings.host, proposed)
        goal = contained(goal, proposed, self._engine.catalogue, host)
        return plan(goal, await self._observe(goal, retry or {}))

    def _judge_ntp(self) -> Verdict:
        """Return the state of a clock whose protocol is NTP."""
        steers = self._settings is None or self._settings.discipline is Discipline.SYSTEM_CLOCK
        clock = self.system_clock
        return judge_ntp(clock.ntp_evidence(), clock.decision, disciplined=steers)

    def status(self) -> ClockStatus:
        """Return all that is known of the clock now, its state judged at this very moment."""
        self._watch.judge()
        worlds = {world.name: world for world in self._supervisor.worlds()}
        settings = self._settings or SystemTime()
        told = (*self._engine.notices(settings), *self._device_notices)
        problems = (self.problem, self.statistics_log.problem)
        notices = (*told, *(problem for problem in problems if problem))
        engine = self._engine.chosen(settings)
        return report.status(settings, self._watch, self.system_clock, worlds, engine, notices)

    async def _observe(self, goal: Wanted, retry: Mapping[str, str]) -> Observed:
        observer = self._watch.observer
        devices_with_addresses = {device for device, _ in goal.addresses}
        rate_ppb = system_clock_frequency_ppb()
        return Observed(
            daemons=daemons.running(self._supervisor, DAEMONS),
            files=daemons.files(daemon.file for daemon in goal.daemons),
            live=observer.live if observer else {},
            addresses=await asyncio.to_thread(addresses.observe, devices_with_addresses),
            # A rate of 0 is that of a clock which nobody has set since the boot
            rate_text=chronyd.drift_text(rate_ppb) if rate_ppb else None,
            stuck={
                **retry,
                **daemons.stuck(self._supervisor, DAEMONS),
                **containment.astray(goal, self._supervisor),
            },
            calibrated=self._watch.calibrated,
        )

    async def _reconcile_for_ever(self) -> None:
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(RECONCILE_S):
                    await self._wake.wait()
            self._wake.clear()
            if self._settings is not None:
                await self._reconcile(self._settings)

    async def _reconcile(self, settings: SystemTime) -> None:
        """Do what is missing. What cannot be done is said in `problem` and tried again."""
        if self._engine.chosen(settings).release is None:
            await self._engine.detect()
        found = await asyncio.to_thread(obstacles, settings, self.listed)
        self._lacked = self._lacked or bool(found)
        known = await asyncio.to_thread(devices.notices, settings, self.listed)
        self._device_notices = tuple(known)
        problem = "; ".join(one.message for one in found)
        try:
            actions = await self.plan(retry=self._waiting(settings) if self._lacked else None)
            for action in self._possible(actions, found):
                self._publish("clock.action", {"action": str(action), "reason": action.reason})
                await self._apply(action)
            self._lacked = bool(found)
        except ChronovisorError as error:
            problem = error.message
        if problem != self.problem:
            self.problem = problem
            self._publish("clock.problem", {"problem": problem})
        self._watch.wake()

    def _waiting(self, settings: SystemTime) -> dict[str, str]:
        """Return the daemons that failed while something was missing, a device say.

        What is there again is reason to try them at once.
        """
        return {
            world.name: "what it lacked is there again"
            for world in self._supervisor.worlds()
            if world.state in (State.FAILED, State.BACKOFF)
            and world.name in self._engine.chosen(settings).worlds
        }

    def _possible(self, actions: list[Action], found: list[Problem]) -> list[Action]:
        """Return what is done in spite of obstacles.

        A device that is gone must not keep the system clock from its other source: what needs the
        device is not started, all else goes its way. Without another source what runs goes on as it
        is, but for what would take the time of a clock that nobody has set.
        """
        if not found:
            return actions
        assert self._settings is not None
        devices_alone = all(problem.where.startswith("ptp_config") for problem in found)
        if not devices_alone:
            return []
        if not self._settings.needs_ntp:
            return [action for action in actions if isinstance(action, HoldDaemon)]
        hindered = self._engine.chosen(self._settings).worlds
        return [
            containment.possible_without_device(action)
            for action in actions
            if not (isinstance(action, StartDaemon) and action.spec.name in hindered)
            and not (isinstance(action, ReviveDaemon) and action.name in hindered)
        ]

    async def _apply(self, action: Action) -> None:
        if isinstance(action, StartDaemon | RestartDaemon) and action.spec.name != chronyd.WORLD:
            self.system_clock.restarted()
        observer = self._watch.observer
        if isinstance(action, AssignAddress):
            await asyncio.to_thread(addresses.apply, action)
        elif isinstance(action, SetLive):
            if observer:
                await observer.set_live(action.option, action.value)
                await observer.read_once()
        else:
            await daemons.apply(action, self._supervisor)
