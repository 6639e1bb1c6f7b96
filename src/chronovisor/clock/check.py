"""What is wrong with settings for the engine that they choose, and with options kept for another.

An engine that is not chosen need not be able to follow the settings, so that an operator can go and
come back; each of its options is right by itself all the same.
"""

from chronovisor.clock import linuxptp, ptpd
from chronovisor.clock.catalogue import Catalogue
from chronovisor.clock.settings import EngineName, SystemTime
from chronovisor.errors import Problem


def check_settings(settings: SystemTime, catalogue: Catalogue) -> list[Problem]:
    """Return every problem with its path; `catalogue` is that of the installed linuxptp."""
    if settings.engine is EngineName.PTPD:
        return [*ptpd.check_settings(settings), *linuxptp.check_options(settings, catalogue)]
    return [*linuxptp.check_settings(settings, catalogue), *ptpd.check_options(settings)]
