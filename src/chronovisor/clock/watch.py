"""Watches the clock and says in which state it is, for as long as visord lives."""

import asyncio
import contextlib
import itertools
import statistics
import time
from collections.abc import Callable, Mapping
from typing import Any

from chronovisor.clock import devices
from chronovisor.clock.arbiter import PtpEvidence
from chronovisor.clock.carried import Carried, Comparison, is_carried, utc_offset_s
from chronovisor.clock.daemon_seen import daemon, daemon_reason
from chronovisor.clock.devices.stamp_losses import StampLosses
from chronovisor.clock.engine import Engine
from chronovisor.clock.kernel_clock import boottime_s
from chronovisor.clock.memory import MemoryFile
from chronovisor.clock.observe import Observer, Seen
from chronovisor.clock.ptp import Announcers, AnnounceSource, PortIdentity, PortState
from chronovisor.clock.pulse import pulse
from chronovisor.clock.reading import Reading, TimeProperties
from chronovisor.clock.settings import Discipline, Protocol, SystemTime, TimeStamping
from chronovisor.clock.state import (
    ClockState,
    Evidence,
    Memory,
    PortSeen,
    Verdict,
    judge,
    remember,
)
from chronovisor.clock.statistics_log import StatisticsLog
from chronovisor.errors import ChronovisorError, Unavailable
from chronovisor.worlds import State, Supervisor, World

TICK_S = 0.5
"""How often the state is judged when nothing new is heard: silence is evidence too."""

ANNOUNCES_MISSED = 3
"""Announce messages that may be missing before a clock is silent (IEEE 1588-2019 7.7.3.1)."""

RETRY_S = 1.0
"""How long to wait before a device that could not be listened to is tried again."""

_FOLLOWS: Mapping[PortState | None, int] = {PortState.SLAVE: 0, PortState.UNCALIBRATED: 1}

Publish = Callable[[str, dict[str, Any]], None]


class Watch:
    """Judges the clock's state from what the PTP engine, the kernel and the network say."""

    def __init__(
        self,
        supervisor: Supervisor,
        engine: Engine,
        memory: MemoryFile,
        publish: Publish,
        *,
        judge_other: Callable[[], Verdict],
        replan: Callable[[], None],
        statistics_log: StatisticsLog | None = None,
    ) -> None:
        """Watch later, see `run`; `judge_other` judges a clock whose protocol is not PTP.

        `replan` is called when what the plan asks has changed: `calibrated`, `master_time`.
        """
        self._judge_other = judge_other
        self._replan = replan
        self._statistics_log = statistics_log
        self._supervisor = supervisor
        self._engine = engine
        self._worlds: dict[str, World] = {}
        self._memory_file = memory
        self._memory = memory.read(boottime_s())
        self.master_time = self._memory.master_time
        self._planned_for: tuple[bool, TimeProperties | None] = (False, self.master_time)
        self._publish = publish
        self._settings = SystemTime()
        self._followed = asyncio.Event()
        self._news = asyncio.Event()
        self._sampled_at_s = 0.0
        self.verdict = Verdict(ClockState.UNSYNCHRONIZED, "visord has just started")
        self.since_ns = time.time_ns()
        self.last_sync_ns: int | None = None
        self._last_offset_s = self._memory.synchronized_until_s
        self.observer: Observer | None = None
        self.announcers: dict[str, Announcers] = {}
        self.devices: dict[str, devices.Device | None] = {}
        self._comparison = Comparison(boottime_s)
        self._losses = StampLosses(boottime_s)
        self.carried: Carried | None = None

    def follow(self, settings: SystemTime) -> None:
        """Watch the engine that these settings ask for."""
        if self._target(settings) != self._target(self._settings):
            self._followed.set()
        self._settings = settings
        self.wake()

    def _target(self, settings: SystemTime) -> tuple[object, ...]:
        """Return what decides whom to ask and where to listen."""
        devices = tuple(port.device for port in settings.ptp_config.active_ports())
        engine = self._engine.chosen(settings)
        return _speaks_ptp(settings), engine.name, engine.target(settings), devices

    @property
    def calibrated(self) -> bool:
        """Return whether a port follows a master with a clock that this one has set."""
        return self.observer is not None and self.observer.seen.calibrated

    def wake(self) -> None:
        """Have the state judged now: something changed."""
        self._news.set()

    async def run(self) -> None:
        """Watch until cancelled."""
        self._worlds = {world.name: world for world in self._supervisor.worlds()}
        unsubscribe = self._supervisor.subscribe(self._note)
        try:
            await self._watch()
        finally:
            unsubscribe()

    def _note(self, world: World) -> None:
        self._worlds[world.name] = world
        started = world.name == self._speaker() and world.state is State.RUNNING
        if started and self.observer:
            self.observer.hurry()
        self.wake()

    def _speaker(self) -> str:
        """Return the world that speaks PTP."""
        return self._engine.chosen(self._settings).worlds[0]

    async def _watch(self) -> None:
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(pulse(self._news, TICK_S, self.judge))
            following: asyncio.Task[None] | None = None
            self._followed.set()  # run again after a fault, it goes on with what it was told
            while True:
                await self._followed.wait()
                self._followed.clear()
                if following:
                    following.cancel()
                    await asyncio.wait([following])
                following = tasks.create_task(self._follow(self._settings))

    async def _follow(self, settings: SystemTime) -> None:
        self.observer = None
        self.announcers = {}
        if _speaks_ptp(settings):
            self.observer = self._engine.chosen(settings).observer(
                settings, self._memory.grandmaster, self.wake
            )
        self.wake()
        async with asyncio.TaskGroup() as tasks:
            if self.observer:
                tasks.create_task(self.observer.run())
            for port in settings.ptp_config.active_ports() if self.observer else ():
                self.announcers[port.device] = watch = Announcers(port.device)
                tasks.create_task(_listen(watch))

    def judge(self) -> None:
        """Judge the state from what is known at this moment."""
        now_s = boottime_s()
        evidence = self._evidence()
        other = self._settings.enabled and not _speaks_ptp(self._settings)
        verdict = self._judge_other() if other else judge(evidence, self._memory, now_s)
        self._memory = (
            Memory() if other else remember(evidence, self._memory, verdict, now_s)
        )  # what NTP did says nothing of a grandmaster
        if verdict.state.synchronized:
            self.last_sync_ns = time.time_ns()
            if evidence.samples:
                self._last_offset_s = evidence.samples[-1].at_s
        changed = verdict.state is not self.verdict.state
        self.verdict = verdict
        if changed:
            self.since_ns = time.time_ns()
            self._publish("clock.state", {"state": verdict.state, "reason": verdict.reason})
            # A full disk must not end the watch; the memory only shortens the next start
            with contextlib.suppress(Unavailable):
                self._memory_file.write(self._memory, verdict)
        self._publish_sample(evidence)
        if (asked := (self.calibrated, self.master_time)) != self._planned_for:
            self._planned_for = asked
            self._replan()
        if self._statistics_log:
            seen = self.observer.seen if self.observer else None
            self._statistics_log.take(self._settings.statistics_log, seen)

    def ptp_evidence(self) -> PtpEvidence:
        """Return what the system clock's arbiter is told of PTP."""
        if not _speaks_ptp(self._settings):
            return PtpEvidence()
        synchronized = self.verdict.state.synchronized
        return PtpEvidence(synchronized, self._last_offset_s, self.verdict.reason)

    def _publish_sample(self, evidence: Evidence) -> None:
        if not evidence.samples or evidence.samples[-1].at_s == self._sampled_at_s:
            return
        newest = evidence.samples[-1]
        self._sampled_at_s = newest.at_s
        self._publish(
            "clock.sample",
            {
                "state": self.verdict.state,
                "offset_ns": newest.offset_ns,
                "mean_path_delay_ns": self.observer.seen.path_delay_ns if self.observer else None,
                "grandmaster": evidence.grandmaster,
            },
        )

    def _evidence(self) -> Evidence:
        settings = self._settings
        ports = settings.ptp_config.active_ports()
        self.devices = {port.device: devices.device(port.device) for port in ports}
        seen = self.observer.seen if self.observer else None
        reading = seen.reading if seen else None
        speaker = self._speaker()
        world = self._worlds.get(speaker)
        doubt = self._doubt(seen, world) if seen and seen.master else ""
        self.carried = self._carried(reading)
        return Evidence(
            enabled=settings.enabled,
            disciplined=settings.discipline is Discipline.SYSTEM_CLOCK,
            hardware=any(port.time_stamping is TimeStamping.HARDWARE for port in ports),
            domain=settings.ptp_config.domain,
            daemon=daemon(world),
            daemon_reason=daemon_reason(speaker, world),
            missing_devices=tuple(
                name for name, device in self.devices.items() if device is None or not device.up
            ),
            silence=seen.silence if seen else f"{speaker} has not been asked yet",
            ports=tuple(
                self._port(number, port.device, state)
                for number, port in enumerate(ports, 1)
                if (state := seen.port_states.get(number, PortState.INITIALIZING) if seen else None)
            ),
            grandmaster=seen.master if seen and reading else None,
            master_time=self.master_time,
            doubt=doubt,
            not_chosen=self._not_chosen(settings.ptp_config.domain, reading),
            other_domains=self._other_domains(settings.ptp_config.domain),
            samples=tuple(seen.samples) if seen else (),
            sync_interval_s=_sync_interval_s(self.observer),
            carried=self.carried,
        )

    def _doubt(self, seen: Seen, world: World | None) -> str:
        """Note what the master says of its time; return why offsets from it are not to be used."""
        said = seen.reading.time_properties if seen.reading and not seen.outdated else None
        if said is not None and said.ptp_timescale is not None:
            self.master_time = said
        as_wanted = world is not None and world.generation == world.wanted_generation
        argv = world.argv if world and as_wanted else ()
        doubt = self._engine.chosen(self._settings).doubt(self._settings, argv, said)
        if doubt:
            seen.samples.clear()
        return doubt

    def _port(self, number: int, name: str, state: PortState) -> PortSeen:
        lost = self._losses.see(name, faulty=state is PortState.FAULTY)
        return PortSeen(number, name, state, self._link_up(name), lost)

    def _carried(self, reading: Reading | None) -> Carried | None:
        """Return how the system clock follows the NIC's clock, where it is to."""
        carriers = self._engine.chosen(self._settings).worlds[1:]
        if not (carriers and is_carried(self._settings)):
            return None
        world = self._worlds.get(carriers[0])
        reason = daemon_reason(carriers[0], world)
        if reading is None:
            return Carried(daemon(world), reason)
        ahead_s = utc_offset_s(self._settings, reading.time_properties)
        offset_ns, error_ns, unknown = self._comparison.take(self._phc_index(), ahead_s)
        return Carried(daemon(world), reason, offset_ns, error_ns, unknown)

    def _phc_index(self) -> int | None:
        """Return the clock of the port that follows a master; while none does, the first port's."""
        states = self.observer.seen.port_states if self.observer else {}
        ports = enumerate(self._settings.ptp_config.active_ports(), 1)
        ranked = sorted(ports, key=lambda port: _FOLLOWS.get(states.get(port[0]), len(_FOLLOWS)))
        found = self.devices.get(ranked[0][1].device) if ranked else None
        return found.phc_index if found else None

    def _link_up(self, name: str) -> bool:
        device = self.devices.get(name)
        return device is not None and device.link_up

    def _heard(self) -> list[AnnounceSource]:
        """Return the clocks whose Announce messages arrive now, over all ports."""
        now_s = time.monotonic()
        return [
            source
            for watch in self.announcers.values()
            for source in watch.sources()
            if now_s - source.seen_at_monotonic_s <= _announce_timeout_s(source)
        ]

    def _not_chosen(self, domain: int, reading: Reading | None) -> tuple[str, ...]:
        heard = [source for source in self._heard() if source.domain_number == domain]
        own = reading.own.priority1 if reading else None
        return tuple(_candidate(source, own) for source in heard)

    def _other_domains(self, domain: int) -> tuple[str, ...]:
        found = {
            f"domain {source.domain_number} from {source.address}"
            for source in self._heard()
            if source.domain_number != domain
        }
        return tuple(sorted(found))

    def source(self, port: PortIdentity, domain: int) -> AnnounceSource | None:
        """Return what is known of the clock port that announces itself by this identity."""
        found = (watch.find(port, domain) for watch in self.announcers.values())
        return next((source for source in found if source), None)


def _speaks_ptp(settings: SystemTime) -> bool:
    return settings.enabled and settings.protocol is Protocol.PTP


def _announce_timeout_s(source: AnnounceSource) -> float:
    # A hostile interval must not keep a silent clock alive: 2^4 s is the longest in any profile.
    exponent = min(max(source.announce.header.log_message_interval, -4), 4)
    return ANNOUNCES_MISSED * 2.0**exponent


def _candidate(source: AnnounceSource, own_priority1: int | None) -> str:
    """Return words about a clock that announces itself; one that loses to ours says why."""
    theirs = source.announce.grandmaster_priority1
    if own_priority1 is None or own_priority1 >= theirs:
        return f"{source.address} announces itself"
    return (
        f"{source.address} announces itself with priority1 {theirs}, "
        f"and this clock's own priority1 {own_priority1} is better"
    )


async def _listen(announcers: Announcers) -> None:
    """Learn who announces on a device, from when it is there; the rest works without."""
    while True:
        try:
            async with announcers:
                await asyncio.Event().wait()
        except ChronovisorError as error:
            announcers.trouble = error
        await asyncio.sleep(RETRY_S)


def _sync_interval_s(observer: Observer | None) -> float:
    """Return the time between Sync messages: as set on the port, longer where they come slower.

    ptp4l 3.1.1 tells the interval it would send at, not the one at which its master sends.
    """
    if observer is None or observer.seen.reading is None:
        return 1.0
    times_s = [sample.at_s for sample in observer.seen.samples]
    seen_s = [after - before for before, after in itertools.pairwise(times_s)]
    set_s = [
        2.0**port.log_sync_interval
        for port in observer.seen.reading.ports
        if port.log_sync_interval is not None
    ]
    return max([*set_s, statistics.median(seen_s)] if seen_s else set_s, default=1.0)
