"""What this host's network devices are and can do; the one place that knows them.

`probe` is the cheap question the clock's state asks twice a second. `inventory` has all that is to
be known of every NIC, `listing` what is known of its kind, `check` what that means for settings.
"""

from chronovisor.clock.devices import places
from chronovisor.clock.devices.check import check, notices, unfit
from chronovisor.clock.devices.probe import Device, device, names

__all__ = ["Device", "check", "device", "names", "notices", "places", "unfit"]
