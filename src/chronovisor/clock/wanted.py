"""Which daemons run, given who owns the system clock, and which of them may set it."""

from dataclasses import replace

from chronovisor.clock.arbiter import Owner
from chronovisor.clock.chrony import daemon as chronyd
from chronovisor.clock.engine import Engine
from chronovisor.clock.plan import RESTARTS, Wanted, WantedDaemon
from chronovisor.clock.reading import TimeProperties
from chronovisor.clock.settings import Discipline, Options, Protocol, SystemTime
from chronovisor.worlds import WorldSpec

LOCK = "system-clock"
"""Held by whatever process may set the system clock, for as long as it lives. The plan's order
keeps them apart; this does where a plan is late or a process is not what it should be."""

MAX_RATE_PPB = 500_000
"""How far a clock that has been right is taken from its nominal rate: as far as the kernel's own
adjtime(3) and chronyd as the only source take it. linuxptp alone would turn any offset into a rate
within a second: a clock that comes back from NTP 1 ms off would run 1,000 ppm wrong."""

_QUIET: Options = {"first_step_threshold": 0, "max_frequency": MAX_RATE_PPB}


def wanted(
    settings: SystemTime,
    engine: Engine,
    paths: chronyd.Paths,
    owner: Owner,
    *,
    may_step: bool,
    master_time: TimeProperties | None = None,
) -> Wanted:
    """Return what should run. `may_step`: the clock has not been right since the boot.

    `master_time` is what the PTP master followed last says of its time, None without one. Raises
    `NotFound` where the PTP engine is not installed.
    """
    found = Wanted()
    if settings.enabled and settings.protocol is Protocol.PTP:
        may_set = owner is Owner.PTP
        found = _ptp(settings, engine, steers=may_set, may_step=may_step, master_time=master_time)
    if settings.needs_ntp:
        ntp = _ntp(settings, paths, steers=owner is Owner.NTP, may_step=may_step)
        found = replace(found, daemons=(*found.daemons, ntp))
    return replace(found, daemons=tuple(map(_locked, found.daemons)))


def _locked(daemon: WantedDaemon) -> WantedDaemon:
    """Return a daemon that may set the system clock with the lock of those who may."""
    return replace(daemon, spec=replace(daemon.spec, lock=LOCK)) if daemon.steers else daemon


def _ptp(
    settings: SystemTime,
    engine: Engine,
    *,
    steers: bool,
    may_step: bool,
    master_time: TimeProperties | None,
) -> Wanted:
    """Return PTP's part. A daemon that may not set the clock goes on measuring.

    What may step a clock at its start no longer does so once the clock has been right: a clock that
    runs is slewed, and not fast. The generation stays that of the full text, so a clock that has
    come right restarts nothing. ptpd, which may step at any time, reads its file again.
    """
    full = engine.wanted(settings, steers=steers, master_time=master_time)
    if may_step or not steers:
        return full
    without_steps = engine.wanted(_never_stepping(settings), master_time=master_time)
    quiet = {one.spec.name: one for one in without_steps.daemons}
    daemons = (
        replace(one, text=quiet[one.spec.name].text) if one.steers else one for one in full.daemons
    )
    return replace(full, daemons=tuple(daemons))


def _never_stepping(settings: SystemTime) -> SystemTime:
    """Return settings with which no start moves the clock much, unless an option says otherwise."""
    options = settings.options
    quiet: dict[str, Options] = {
        name: _QUIET | getattr(options, name) for name in ("ptp4l", "phc2sys")
    }
    quiet["ptpd"] = {"clock:no_reset": True, "clock:step_startup": False} | options.ptpd
    return settings.model_copy(update={"options": options.model_copy(update=quiet)})


def _ntp(
    settings: SystemTime, paths: chronyd.Paths, *, steers: bool, may_step: bool
) -> WantedDaemon:
    steers = steers and settings.discipline is Discipline.SYSTEM_CLOCK
    spec = WorldSpec(
        name=chronyd.WORLD,
        argv=chronyd.argv(paths, steers=steers),
        env=chronyd.environment(),
        restart=RESTARTS,
        generation=chronyd.generation(settings, paths, steers=steers),
    )
    text = chronyd.config_text(settings, paths, steers=steers, may_step=may_step)
    return WantedDaemon(spec, paths.config, text, {}, steers, paths.drift if steers else None)
