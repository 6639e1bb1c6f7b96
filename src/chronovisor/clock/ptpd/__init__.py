"""Engine `ptpd`: settings to the configuration of ptpd 2.3, and its files back to a reading.

ptpd is what ESXi 7 ran. It follows one master through one port with software time stamps. It has no
management socket here: what it knows it writes to a status file and a statistics file.
"""

from chronovisor.clock.ptpd.check import check_options, check_settings, judge

__all__ = ["check_options", "check_settings", "judge"]
