"""What this host's network devices can do, asked of the kernel in our own network namespace.

ioctl(2) rather than /sys: sysfs shows the namespace of whoever mounted it, an ioctl ours.
Sources: netdevice(7), linux/sockios.h, linux/ethtool.h (struct ethtool_ts_info).
"""

import array
import fcntl
import socket
import struct
from collections.abc import Iterable
from dataclasses import dataclass

from chronovisor.clock.settings import PtpPort, SystemTime, TimeStamping
from chronovisor.errors import Problem

_SIOCGIFFLAGS = 0x8913
_SIOCETHTOOL = 0x8946
_ETHTOOL_GET_TS_INFO = 0x41
_IFF_UP = 0x1
_IFF_RUNNING = 0x40
_TX_HARDWARE, _TX_SOFTWARE, _RX_HARDWARE = 1 << 0, 1 << 1, 1 << 2  # linux/net_tstamp.h
_RX_SOFTWARE, _RAW_HARDWARE = 1 << 3, 1 << 6
_IFREQ = struct.Struct("16sH22x")  # struct ifreq is 40 bytes, its name 16
_IFREQ_POINTER = struct.Struct("16sP16x")
_TS_INFO = struct.Struct("IIiI3II3I")


@dataclass(frozen=True, slots=True)
class Device:
    """A network device as far as time is concerned; `phc_index` is None without a PHC."""

    name: str
    up: bool
    link_up: bool
    software_stamps: bool
    hardware_stamps: bool
    phc_index: int | None


def device(name: str) -> Device | None:
    """Return what the kernel says of a device of this namespace, None if there is no such one."""
    request = name.encode()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as channel:
        try:
            answer = fcntl.ioctl(channel, _SIOCGIFFLAGS, _IFREQ.pack(request, 0))
        except OSError:
            return None
        flags = _IFREQ.unpack(answer)[1]
        stamps, phc_index = _time_stamping(channel, request)
    software = _TX_SOFTWARE | _RX_SOFTWARE
    hardware = _TX_HARDWARE | _RX_HARDWARE | _RAW_HARDWARE
    return Device(
        name,
        up=bool(flags & _IFF_UP),
        link_up=bool(flags & _IFF_RUNNING),
        software_stamps=stamps & software == software,
        hardware_stamps=stamps & hardware == hardware and phc_index >= 0,
        phc_index=phc_index if phc_index >= 0 else None,
    )


def _time_stamping(channel: socket.socket, request: bytes) -> tuple[int, int]:
    info = array.array("B", _TS_INFO.pack(_ETHTOOL_GET_TS_INFO, *[0] * 10))
    try:
        fcntl.ioctl(channel, _SIOCETHTOOL, _IFREQ_POINTER.pack(request, info.buffer_info()[0]))
    except OSError:  # a driver without the call stamps nothing
        return 0, -1
    _, stamps, phc_index, *_ = _TS_INFO.unpack(info)
    return stamps, phc_index


def names() -> list[str]:
    """Return the names of this namespace's devices."""
    return sorted(name for _, name in socket.if_nameindex())


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
