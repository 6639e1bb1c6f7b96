"""The engine `linuxptp`: what the installed release makes of the settings, as worlds to run."""

import os
from collections.abc import Callable, Sequence
from pathlib import Path

from chronovisor.clock.catalogue import KNOWN, Catalogue, Release, catalogue, nearest
from chronovisor.clock.linuxptp.clocks import hardware_clocks
from chronovisor.clock.linuxptp.observe import Ptp4lObserver
from chronovisor.clock.linuxptp.options import management_sdo_id, needs_phc2sys
from chronovisor.clock.linuxptp.paths import Paths
from chronovisor.clock.linuxptp.release import installed_release
from chronovisor.clock.linuxptp.rendered import Rendered, render
from chronovisor.clock.plan import RESTARTS, WantedDaemon
from chronovisor.clock.reading import TimeProperties
from chronovisor.clock.settings import Discipline, SystemTime
from chronovisor.errors import ChronovisorError, NotFound
from chronovisor.worlds import WorldSpec

_FOLLOWS_BETTER_UNICAST = Release(4, 0)
_STAYS_WITHOUT_SYNC = (
    "ptp4l before 4.0 that finds a better unicast master while it is still calibrating to another "
    "does not ask the better one for Sync; if the clock stays acquiring, `visorctl world restart "
    "ptp4l`"
)
"""It chooses anew whom to ask when its port's state changes; UNCALIBRATED stays UNCALIBRATED."""


class Linuxptp:
    """linuxptp on this host. `release` is None while it is not installed."""

    name = "linuxptp"
    worlds = ("ptp4l", "phc2sys")

    def __init__(self, directory: Path) -> None:
        self.paths = Paths(directory)
        self.release: Release | None = None
        self._missing = "linuxptp has not been looked for yet"
        self._hint: str | None = None

    async def detect(self) -> None:
        """Find out which release is installed; that none is, is a state and not an error."""
        try:
            self.release = await installed_release()
        except ChronovisorError as error:
            self.release, self._missing, self._hint = None, error.message, error.hint

    @property
    def catalogue(self) -> Catalogue:
        """Return the options of the installed release (of the newest known if there is none)."""
        return catalogue(nearest(self.release or KNOWN[-1])[0])

    def notices(self, settings: SystemTime) -> tuple[str, ...]:
        """Return what an operator should know of the installed release."""
        found: list[str | None] = []
        if self.release is None:
            found.append(self._missing)
        else:
            found.append(nearest(self.release)[1])
            if self.release < _FOLLOWS_BETTER_UNICAST and _chooses_by_unicast(settings):
                found.append(_STAYS_WITHOUT_SYNC)
        if settings.options.ptpd:
            found.append("engine linuxptp leaves options.ptpd unused, and ptpd finds them again")
        return tuple(filter(None, found))

    def daemons(
        self, settings: SystemTime, *, steers: bool, master_time: TimeProperties | None
    ) -> tuple[WantedDaemon, ...]:
        """Return ptp4l and, where a NIC's clock is to be carried on, phc2sys.

        With hardware time stamps ptp4l steers the NIC's clock alone, so it goes on where the
        system clock is another's; with software time stamps it then measures only. A boundary
        clock on several NICs keeps their clocks together, whosever the system clock is.
        """
        del master_time  # both look at its timescale themselves
        if self.release is None:
            raise NotFound(self._missing, hint=self._hint)
        through_nic = needs_phc2sys(settings, self.catalogue)
        if not steers and not through_nic:
            settings = settings.model_copy(update={"discipline": Discipline.MONITOR})
        clocks = hardware_clocks(settings)
        return tuple(
            _daemon(one, steers=steers and through_nic == (one.program == "phc2sys"))
            for one in render(settings, self.release, self.paths, clocks, steers=steers)
        )

    def doubt(
        self, settings: SystemTime, argv: Sequence[str], master_time: TimeProperties | None
    ) -> str:
        """Return nothing: ptp4l measures offsets as the master's timescale asks."""
        del settings, argv, master_time
        return ""

    def target(self, settings: SystemTime) -> tuple[object, ...]:
        """Return what decides how ptp4l is asked; it drops what carries another majorSdoId."""
        return settings.ptp_config.domain, management_sdo_id(settings, self.catalogue)

    def observer(
        self, settings: SystemTime, grandmaster: str | None, changed: Callable[[], None]
    ) -> Ptp4lObserver:
        """Return what watches the ptp4l that these settings ask for."""
        return Ptp4lObserver(
            self.paths.socket,
            domain_number=settings.ptp_config.domain,
            transport_specific=management_sdo_id(settings, self.catalogue),
            grandmaster=grandmaster,
            changed=changed,
        )


def _chooses_by_unicast(settings: SystemTime) -> bool:
    """Return whether a port has several unicast masters to choose from."""
    tables = (port.unicast_master_table for port in settings.ptp_config.active_ports())
    return any(table is not None and len(table.masters) > 1 for table in tables)


def _daemon(rendered: Rendered, *, steers: bool) -> WantedDaemon:
    spec = WorldSpec(
        name=rendered.program,
        argv=rendered.argv,
        # The program that was asked for its version is the one to run
        env={"PATH": os.environ.get("PATH", os.defpath)},
        restart=RESTARTS,
        generation=rendered.generation,
    )
    return WantedDaemon(
        spec,
        rendered.path,
        rendered.text,
        rendered.live,
        steers=steers,
        follows="ptp4l" if rendered.needs_master else None,
    )
