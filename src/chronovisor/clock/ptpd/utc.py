"""What ptpd must be told so that its master's time becomes UTC; pure.

A master with PTP's timescale is ahead of UTC by currentUtcOffset; one with a timescale of its own
(ARB) has whatever time it has, as a rule UTC (IEEE 1588-2019 clause 7.2). ptpd 2.3.1 does not look
at the timescale: it takes the announced offset off where the master calls that valid, and always
with the option. Measured: with ptp4l's defaults as master one of the two ways is 37 s off.
"""

from collections.abc import Sequence

from chronovisor.clock.catalogue.text import as_text
from chronovisor.clock.reading import TimeProperties
from chronovisor.clock.settings import SystemTime

OPTION = "ptpengine:always_respect_utc_offset"
UNKNOWN = "the timescale of its master is not known yet"
MISLEADING = (
    "its master has a timescale of its own (ARB) and calls its UTC offset valid; ptpd would take "
    "that off, engine linuxptp does not"
)
NO_OFFSET = (
    "its master has PTP's timescale and does not know how far that is from UTC; ptpd would take "
    "its time for UTC, engine linuxptp does not"
)
COUNTS_OTHERWISE = "ptpd counts its master's time in the other timescale, and is started anew"


def takes_offset_off(settings: SystemTime, master_time: TimeProperties | None) -> bool | None:
    """Return whether ptpd is to take the announced UTC offset off whatever its master says of it.

    None: nobody knows yet, or its master cannot be followed either way; see `obstacle`. An option
    of the operator decides without a master.
    """
    given = settings.options.ptpd.get(OPTION)
    if given is not None:
        return as_text(given)[:1] in "tTyY1"
    return None if obstacle(master_time) else _is_ptp(master_time)


def obstacle(master_time: TimeProperties | None) -> str:
    """Return why ptpd cannot be told how to count its master's time, empty where it can."""
    if master_time is None or master_time.ptp_timescale is None:
        return UNKNOWN
    if _is_ptp(master_time):
        return "" if master_time.utc_offset_s or master_time.utc_offset_valid else NO_OFFSET
    return MISLEADING if master_time.utc_offset_s and master_time.utc_offset_valid else ""


def argument(*, takes_off: bool) -> str:
    """Return the word of the command line that says it, by which a running process tells."""
    return f"--{OPTION}={word(takes_off=takes_off)}"


def word(*, takes_off: bool) -> str:
    """Return the option's value."""
    return "Y" if takes_off else "N"


def doubt(settings: SystemTime, argv: Sequence[str], master_time: TimeProperties | None) -> str:
    """Return why the offsets of a ptpd that was started so are not those from UTC, empty if not.

    `master_time` is what the master that it follows at this moment says of its time.
    """
    if OPTION in settings.options.ptpd:
        return ""  # the operator's word
    if words := obstacle(master_time):
        return words
    return "" if argument(takes_off=_is_ptp(master_time)) in argv else COUNTS_OTHERWISE


def _is_ptp(master_time: TimeProperties | None) -> bool:
    return master_time is not None and master_time.ptp_timescale is True
