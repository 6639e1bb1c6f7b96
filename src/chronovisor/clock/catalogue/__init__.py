"""What linuxptp's options are, release by release, and what is wrong with a value.

>>> known = catalogue(Release.parse("3.1.1"))
>>> print(known.judge("ptp4l", Scope.GLOBAL, "priority1", 256, where="options.ptp4l.priority1"))
options.ptp4l.priority1: priority1: '256' is out of range (valid: 0..255)
"""

from chronovisor.clock.catalogue.catalogue import PROGRAMS, Catalogue, catalogue
from chronovisor.clock.catalogue.combination import Given, PortOptions, check_combination
from chronovisor.clock.catalogue.option import Option, OptionType, Scope, Verdict
from chronovisor.clock.catalogue.ptp4l_file import Refusal, first_refusal
from chronovisor.clock.catalogue.release import KNOWN, LATER, Release, nearest

__all__ = [
    "KNOWN",
    "LATER",
    "PROGRAMS",
    "Catalogue",
    "Given",
    "Option",
    "OptionType",
    "PortOptions",
    "Refusal",
    "Release",
    "Scope",
    "Verdict",
    "catalogue",
    "check_combination",
    "first_refusal",
    "nearest",
]
