"""The system clock's owner at work: evidence in, a decision out, remembered before it is acted on.

The plane asks `owner` which daemons may set the clock, and is woken when that changes.
"""

import asyncio
import contextlib
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from chronovisor.clock.arbiter import (
    Decision,
    NtpEvidence,
    Owner,
    Phase,
    Policy,
    PtpEvidence,
    decide,
)
from chronovisor.clock.arbiter.record_file import RecordFile
from chronovisor.clock.chrony import daemon as chronyd
from chronovisor.clock.chrony.observe import NtpObserver
from chronovisor.clock.kernel_clock import boottime_s
from chronovisor.clock.pulse import pulse
from chronovisor.clock.settings import SystemTime
from chronovisor.errors import Unavailable
from chronovisor.worlds import State, Supervisor, World

TICK_S = 0.25
"""How often the owner is decided: a fallback is late by so much at most."""

Publish = Callable[[str, dict[str, Any]], None]


class SystemClock:
    """Decides who owns the system clock, for as long as visord lives.

    `ptp` returns what is known of PTP now; `chosen` is called when the owner changed.
    """

    def __init__(
        self,
        supervisor: Supervisor,
        directory: Path,
        publish: Publish,
        *,
        ptp: Callable[[], PtpEvidence],
        chosen: Callable[[], None],
    ) -> None:
        self.paths = chronyd.Paths(directory)
        self._supervisor = supervisor
        self._publish = publish
        self._ptp = ptp
        self._chosen = chosen
        self._file = RecordFile(directory / "system_clock.json")
        self._record = self._file.read(boottime_s())
        self._settings = SystemTime()
        self._news = asyncio.Event()
        self._followed = asyncio.Event()
        self.decision = Decision(
            self._record.owner or Owner.NOBODY, self._record.phase, "visord has just started"
        )
        self.observer = NtpObserver(self.paths.socket, self._news.set)
        self.last_ntp_sync_ns: int | None = None
        self._ntp_available = False

    @property
    def owner(self) -> Owner:
        """Return whose daemon may set the system clock."""
        return self.decision.owner

    @property
    def since_ns(self) -> int:
        """Return since when (Unix time) owner and phase are what they are."""
        return self._record.since_ns

    @property
    def may_step(self) -> bool:
        """Return whether a daemon may step the clock at its start: not once it has been right."""
        return self._record.right_until_s is None

    @property
    def well(self) -> bool:
        """Return whether nobody needs to look: it follows whom the settings name, or nobody."""
        return self.decision.phase in (Phase.IDLE, Phase.FOLLOWING, Phase.ACQUIRING)

    @property
    def in_fallback(self) -> bool:
        """Return whether NTP owns the clock because PTP is lost."""
        return self.owner is Owner.NTP and self._settings.falls_back

    def owner_with(self, settings: SystemTime) -> Owner:
        """Return who would own the system clock with other settings, as things are now."""
        now_s = boottime_s()
        ntp, writers = self.ntp_evidence(), self._writers()
        policy = Policy.of(settings)
        return decide(policy, self._ptp(), ntp, writers, self._record, now_s)[0].owner

    def follow(self, settings: SystemTime) -> None:
        """Decide by these settings from now on."""
        if settings.needs_ntp != self._settings.needs_ntp:
            self._followed.set()
        self._settings = settings
        self.judge()

    def restarted(self) -> None:
        """Note that the owner's daemons were just started by decision: they need their time."""
        self._record = replace(self._record, wanted_s=boottime_s())

    async def run(self) -> None:
        """Watch chronyd and decide, until cancelled."""
        unsubscribe = self._supervisor.subscribe(self._note)
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(pulse(self._news, TICK_S, self.judge))
                tasks.create_task(self._watch_ntp())
        finally:
            unsubscribe()

    def _note(self, world: World) -> None:
        if world.name == chronyd.WORLD:
            self.observer.forget(f"chronyd is {world.state}: {world.reason}")
            self._news.set()

    async def _watch_ntp(self) -> None:
        """Ask chronyd while it is needed."""
        watching: asyncio.Task[None] | None = None
        async with asyncio.TaskGroup() as tasks:
            while True:
                if self._settings.needs_ntp and watching is None:
                    watching = tasks.create_task(self.observer.run())
                elif not self._settings.needs_ntp and watching is not None:
                    watching.cancel()
                    await asyncio.wait([watching])
                    watching = None
                    self.observer.forget("NTP is not needed")
                await self._followed.wait()
                self._followed.clear()

    def judge(self) -> None:
        """Decide from what is known at this moment."""
        now_s = boottime_s()
        ntp = self.ntp_evidence()
        before = self.decision
        self.decision, record = decide(
            Policy.of(self._settings), self._ptp(), ntp, self._writers(), self._record, now_s
        )
        if ntp.available is not self._ntp_available:
            self._ntp_available = ntp.available
            self._publish("clock.ntp", {"available": ntp.available, "reason": ntp.reason})
        if self.owner is Owner.NTP and ntp.available:
            self.last_ntp_sync_ns = time.time_ns()
        if record.since_s != self._record.since_s or not record.since_ns:
            record = replace(record, since_ns=time.time_ns())
        self._record = record
        # Before anything is done about it. Where it cannot be kept, the evidence must do.
        with contextlib.suppress(Unavailable):
            self._file.write(record)
        if (before.owner, before.phase) != (self.owner, self.decision.phase):
            self._tell(before)
        if before.owner is not self.owner:
            self._chosen()

    def _tell(self, before: Decision) -> None:
        now = self.decision
        told = {
            "owner": now.owner,
            "phase": now.phase,
            "reason": now.reason,
            "awaited": now.awaited,
            "before": before.owner,
            "in_fallback_state": self.in_fallback,
        }
        self._publish("clock.owner", told)

    def ntp_evidence(self) -> NtpEvidence:
        """Return what is known of NTP now."""
        return self.observer.evidence

    def _writers(self) -> frozenset[Owner]:
        """Return whose daemons run and may set the clock, as far as their command line tells."""
        running = {
            world.name: world.argv
            for world in self._supervisor.worlds()
            if world.state is State.RUNNING
        }
        found = {Owner.PTP} if "phc2sys" in running else set()
        if "ptpd" in running and "-n" not in running["ptpd"]:
            found.add(Owner.PTP)
        if chronyd.WORLD in running and chronyd.MEASURES_ONLY not in running[chronyd.WORLD]:
            found.add(Owner.NTP)
        return frozenset(found)
