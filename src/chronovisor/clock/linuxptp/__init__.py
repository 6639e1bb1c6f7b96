"""Engine `linuxptp`: settings to configuration files and command lines of ptp4l and phc2sys.

Pure but for `installed_release`, which asks the installed ptp4l for its version. Nothing here
starts a daemon or writes a file.
"""

from chronovisor.clock.linuxptp.check import check_options, check_settings
from chronovisor.clock.linuxptp.options import management_sdo_id, needs_phc2sys
from chronovisor.clock.linuxptp.paths import Paths
from chronovisor.clock.linuxptp.release import installed_release
from chronovisor.clock.linuxptp.rendered import (
    Change,
    Effect,
    Rendered,
    classify,
    render,
    render_phc2sys,
    render_ptp4l,
)

__all__ = [
    "Change",
    "Effect",
    "Paths",
    "Rendered",
    "check_options",
    "check_settings",
    "classify",
    "installed_release",
    "management_sdo_id",
    "needs_phc2sys",
    "render",
    "render_phc2sys",
    "render_ptp4l",
]
