"""The programs that speak PTP here, each behind the same few words, and the choice between them."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Protocol

from chronovisor.clock.catalogue import Catalogue, Release
from chronovisor.clock.check import check_settings
from chronovisor.clock.linuxptp.engine import Linuxptp
from chronovisor.clock.observe import Observer
from chronovisor.clock.plan import Wanted, WantedDaemon
from chronovisor.clock.ptpd.engine import Ptpd
from chronovisor.clock.reading import TimeProperties
from chronovisor.clock.settings import Discipline, EngineName, SystemTime
from chronovisor.errors import Problem


class PtpEngine(Protocol):
    """One implementation of PTP.

    `worlds` are the names of its daemons in the order in which they start, the one that speaks PTP
    first; they stand in `plan.DAEMONS`, too. `release` is None while it is not installed.
    """

    @property
    def name(self) -> str:
        """Return the name by which settings choose it."""

    @property
    def worlds(self) -> tuple[str, ...]:
        """Return the names of its daemons."""

    @property
    def release(self) -> Release | None:
        """Return the installed release."""

    async def detect(self) -> None:
        """Find out which release is installed; that none is, is a state and not an error."""

    def notices(self, settings: SystemTime) -> tuple[str, ...]:
        """Return what an operator should know of the engine with these settings."""

    def daemons(
        self, settings: SystemTime, *, steers: bool, master_time: TimeProperties | None
    ) -> tuple[WantedDaemon, ...]:
        """Return what it runs; `steers` says whether it may set the system clock now.

        Without it the same offsets are measured as far as can be, and the system clock is left
        alone. `master_time` is what the master followed last says of its time, None without one.
        Raises `NotFound` where the engine is not installed.
        """

    def doubt(
        self, settings: SystemTime, argv: Sequence[str], master_time: TimeProperties | None
    ) -> str:
        """Return why the offsets that it measures are not those from UTC, empty where they are.

        `argv` is what its program runs with, `master_time` what the master that it follows at this
        moment says of its time.
        """

    def target(self, settings: SystemTime) -> tuple[object, ...]:
        """Return what decides whom an observer asks: where it differs, another one is needed."""

    def observer(
        self, settings: SystemTime, grandmaster: str | None, changed: Callable[[], None]
    ) -> Observer:
        """Return what watches the engine that these settings ask for.

        `grandmaster` is the one followed before, if it is known; `changed` is called on news.
        """


class Engine:
    """The engines of this host, and the one that settings ask for."""

    def __init__(self, directory: Path) -> None:
        self.linuxptp = Linuxptp(directory)
        self._engines: dict[EngineName, PtpEngine] = {
            EngineName.LINUXPTP: self.linuxptp,
            EngineName.PTPD: Ptpd(directory),
        }

    def chosen(self, settings: SystemTime) -> PtpEngine:
        """Return the engine that settings ask for."""
        return self._engines[settings.engine]

    async def detect(self) -> None:
        """Find out which releases are installed."""
        for engine in self._engines.values():
            await engine.detect()

    @property
    def release(self) -> Release | None:
        """Return the installed release of linuxptp, by which its options are judged."""
        return self.linuxptp.release

    @property
    def catalogue(self) -> Catalogue:
        """Return the options of linuxptp."""
        return self.linuxptp.catalogue

    def notices(self, settings: SystemTime) -> tuple[str, ...]:
        """Return what an operator should know of the engine that settings ask for."""
        return self.chosen(settings).notices(settings)

    def check(self, settings: SystemTime) -> list[Problem]:
        """Return what is wrong with settings for the engine that they ask for."""
        return check_settings(settings, self.catalogue)

    def wanted(
        self,
        settings: SystemTime,
        *,
        steers: bool | None = None,
        master_time: TimeProperties | None = None,
    ) -> Wanted:
        """Return what should run and be set. Raises `NotFound` where the engine is not installed.

        `steers` says whether it may set the system clock now; None: as `discipline` says.
        `master_time` is what the master followed last says of its time.
        """
        if not settings.enabled:
            return Wanted()
        if steers is None:
            steers = settings.discipline is Discipline.SYSTEM_CLOCK
        return Wanted(
            daemons=self.chosen(settings).daemons(settings, steers=steers, master_time=master_time),
            addresses=tuple(
                (port.device, address)
                for port in settings.ptp_config.active_ports()
                for address in port.ip_config.interfaces()
            ),
        )
