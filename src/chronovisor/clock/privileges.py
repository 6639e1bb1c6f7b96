"""Whether daemons that this process starts may set a clock (capabilities(7))."""

from pathlib import Path

from chronovisor.clock.settings import Discipline, SystemTime
from chronovisor.errors import Problem

_STATUS = Path("/proc/self/status")
_CAP_SYS_TIME = 25  # linux/capability.h


def may_set_clocks() -> bool:
    """Return whether CAP_SYS_TIME is in force; true where the kernel does not tell."""
    try:
        lines = _STATUS.read_text(encoding="ascii").splitlines()
    except OSError:
        return True
    mask = next((line.split()[1] for line in lines if line.startswith("CapEff:")), "f" * 16)
    return bool(int(mask, 16) >> _CAP_SYS_TIME & 1)


def check(settings: SystemTime) -> list[Problem]:
    """Return what keeps visord from steering a clock as these settings ask."""
    steers = settings.enabled and settings.discipline is Discipline.SYSTEM_CLOCK
    if not steers or may_set_clocks():
        return []
    text = "visord runs without CAP_SYS_TIME and so can set no clock; it can only monitor"
    return [Problem("discipline", text, settings.discipline.value, Discipline.MONITOR.value)]
