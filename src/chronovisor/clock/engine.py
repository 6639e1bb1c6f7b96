"""The engine `linuxptp`: what the installed release makes of the settings, as worlds to run."""

import os
from pathlib import Path

from chronovisor.clock.catalogue import KNOWN, Catalogue, Release, catalogue, nearest
from chronovisor.clock.linuxptp import (
    Paths,
    Rendered,
    check_settings,
    installed_release,
    management_sdo_id,
    render,
)
from chronovisor.clock.plan import Wanted, WantedDaemon
from chronovisor.clock.settings import SystemTime
from chronovisor.errors import ChronovisorError, NotFound, Problem
from chronovisor.worlds import RestartPolicy, WorldSpec

RESTARTS = RestartPolicy(min_uptime_s=5.0, backoff_initial_s=0.2, backoff_max_s=30.0)
"""A clock daemon that dies is back at once; one that cannot start is given up in the end."""


class Engine:
    """linuxptp on this host. `release` is None while it is not installed."""

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

    def notices(self) -> tuple[str, ...]:
        """Return what an operator should know of the installed release."""
        if self.release is None:
            return (self._missing,)
        notice = nearest(self.release)[1]
        return (notice,) if notice else ()

    def check(self, settings: SystemTime) -> list[Problem]:
        """Return what is wrong with settings for the installed release."""
        return check_settings(settings, self.catalogue)

    def sdo_id(self, settings: SystemTime) -> int:
        """Return the majorSdoId with which ptp4l wants to be asked."""
        return management_sdo_id(settings, self.catalogue)

    def wanted(self, settings: SystemTime) -> Wanted:
        """Return what should run and be set. Raises `NotFound` where linuxptp is not installed."""
        if not settings.enabled:
            return Wanted()
        if self.release is None:
            raise NotFound(self._missing, hint=self._hint)
        return Wanted(
            daemons=tuple(_daemon(one) for one in render(settings, self.release, self.paths)),
            addresses=tuple(
                (port.device, address)
                for port in settings.ptp_config.active_ports()
                for address in port.ip_config.interfaces()
            ),
        )


def _daemon(rendered: Rendered) -> WantedDaemon:
    spec = WorldSpec(
        name=rendered.program,
        argv=rendered.argv,
        # The program that was asked for its version is the one to run
        env={"PATH": os.environ.get("PATH", os.defpath)},
        restart=RESTARTS,
        generation=rendered.generation,
    )
    return WantedDaemon(spec, rendered.path, rendered.text, rendered.live)
