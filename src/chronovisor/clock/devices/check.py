"""What keeps the devices of settings from doing what is asked of them."""

from collections.abc import Iterable

from chronovisor.clock.devices.probe import device, names
from chronovisor.clock.settings import PtpPort, SystemTime, TimeStamping
from chronovisor.errors import Problem


def check(settings: SystemTime) -> list[Problem]:
    """Return what keeps the devices of these settings from doing what is asked of them."""
    if not settings.enabled:
        return []
    problems: list[Problem] = []
    for position, port in enumerate(settings.ptp_config.port):
        if port.device:
            problems += _check_port(f"ptp_config.port[{position}]", port)
    return problems


def _check_port(where: str, port: PtpPort) -> Iterable[Problem]:
    seen = device(port.device)
    label = f"PTP port {port.index} ({port.device})"
    if seen is None:
        return [
            Problem(
                f"{where}.device",
                f"{label}: there is no such device on this host",
                port.device,
                ", ".join(name for name in names() if name != "lo"),
            )
        ]
    if not seen.up:
        return [
            Problem(
                f"{where}.device",
                f"{label}: the device is down; bring it up with `ip link set {port.device} up`",
                port.device,
            )
        ]
    hardware = port.time_stamping is TimeStamping.HARDWARE
    if hardware and not seen.hardware_stamps:
        return [
            Problem(
                f"{where}.time_stamping",
                f"{label}: the device makes no hardware time stamps; "
                "set time_stamping to software or pick another NIC",
                port.time_stamping.value,
                "software" if seen.software_stamps else "",
            )
        ]
    if not hardware and not seen.software_stamps:
        return [
            Problem(
                f"{where}.time_stamping",
                f"{label}: the device's driver makes no software transmit stamps; pick another NIC",
                port.time_stamping.value,
            )
        ]
    return []
