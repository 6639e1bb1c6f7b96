"""Which hardware clocks the ports of these settings have, asked of the kernel."""

from chronovisor.clock.devices import device
from chronovisor.clock.linuxptp.options import Clocks
from chronovisor.clock.settings import SystemTime


def hardware_clocks(settings: SystemTime) -> Clocks:
    """Return the number of the clock behind each port's device, as far as the kernel tells.

    Empty with a single port, where nothing depends on it.
    """
    names = [port.device for port in settings.ptp_config.active_ports()]
    seen = {name: device(name) for name in names} if len(names) > 1 else {}
    return {
        name: found.phc_index
        for name, found in seen.items()
        if found and found.phc_index is not None
    }
