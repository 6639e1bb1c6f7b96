"""The engine `ptpd`: what the installed release makes of the settings, as a world to run."""

import asyncio
import hashlib
import json
import os
from collections.abc import Callable, Sequence
from pathlib import Path

from chronovisor.clock.catalogue import Release
from chronovisor.clock.plan import RESTARTS, WantedDaemon
from chronovisor.clock.ptpd import utc
from chronovisor.clock.ptpd.observe import PtpdObserver
from chronovisor.clock.ptpd.options import config, config_text
from chronovisor.clock.ptpd.paths import Paths
from chronovisor.clock.ptpd.program import installed_release, program
from chronovisor.clock.reading import TimeProperties
from chronovisor.clock.settings import SystemTime
from chronovisor.errors import ChronovisorError, NotFound
from chronovisor.worlds import WorldSpec

WORLD = "ptpd"


class Ptpd:
    """ptpd on this host. `release` is None while it is not installed."""

    name = "ptpd"
    worlds = (WORLD,)

    def __init__(self, directory: Path) -> None:
        self.paths = Paths(directory)
        self.release: Release | None = None
        self._missing = "ptpd has not been looked for yet"
        self._hint: str | None = None

    async def detect(self) -> None:
        """Find out which release is installed; that none is, is a state and not an error."""
        try:
            self.release = await asyncio.to_thread(installed_release)
        except ChronovisorError as error:
            self.release, self._missing, self._hint = None, error.message, error.hint

    def notices(self, settings: SystemTime) -> tuple[str, ...]:
        """Return what an operator should know: what is missing, and settings without effect."""
        missing = () if self.release else (self._missing,)
        idle = unused(settings)
        if not idle:
            return missing
        words = "engine ptpd leaves these unused, and linuxptp finds them again"
        return (*missing, f"{words}: {', '.join(idle)}")

    def daemons(
        self, settings: SystemTime, *, steers: bool, master_time: TimeProperties | None
    ) -> tuple[WantedDaemon, ...]:
        """Return ptpd, without its servo where it may not set the clock.

        Nor may it while it is not known how its master's time is counted. It measures meanwhile, as
        if the timescale were PTP's.
        """
        path = program()
        if path is None:
            raise NotFound(self._missing, hint=self._hint)
        known = utc.takes_offset_off(settings, master_time)
        steers, takes_off = steers and known is not None, known is not False
        text = config_text(config(settings, self.paths, steers=steers, takes_off=takes_off))
        # Said in the file, too; here a process tells
        words = (*(() if steers else ("-n",)), utc.argument(takes_off=takes_off))
        argv = (path, *words, "-c", str(self.paths.config))
        spec = WorldSpec(
            name=WORLD,
            argv=argv,
            env={"PATH": os.environ.get("PATH", os.defpath)},
            restart=RESTARTS,
            generation=hashlib.sha256(json.dumps([argv, text]).encode()).hexdigest()[:16],
        )
        return (WantedDaemon(spec, self.paths.config, text, {}, steers=steers, reloads=True),)

    def doubt(
        self, settings: SystemTime, argv: Sequence[str], master_time: TimeProperties | None
    ) -> str:
        """Return why the offsets that it measures are not those from UTC."""
        return utc.doubt(settings, argv, master_time)

    def target(self, settings: SystemTime) -> tuple[object, ...]:
        """Return what decides how ptpd is watched."""
        return (settings.ptp_config.domain,)

    def observer(
        self, settings: SystemTime, grandmaster: str | None, changed: Callable[[], None]
    ) -> PtpdObserver:
        """Return what watches the ptpd that these settings ask for."""
        del settings
        return PtpdObserver(self.paths, grandmaster=grandmaster, changed=changed)


def unused(settings: SystemTime) -> list[str]:
    """Return the settings that are kept for linuxptp and mean nothing to ptpd."""
    found = [
        f"options.{program}"
        for program in ("ptp4l", "phc2sys")
        if getattr(settings.options, program)
    ]
    return found + [
        f"ptp_config.port[{place}].options"
        for place, port in enumerate(settings.ptp_config.port)
        if port.options
    ]
