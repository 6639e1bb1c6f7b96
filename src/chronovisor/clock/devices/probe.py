"""The cheap question about a device: is it there, up, linked, and what can it stamp.

ioctl(2) rather than /sys: sysfs shows the namespace of whoever mounted it, an ioctl ours. The
clock's state asks this twice a second, so it is two calls and no more. All else that is to be
known of a NIC is in `inventory`. Sources: netdevice(7), linux/sockios.h, linux/ethtool.h.
"""

import fcntl
import socket
import struct
from dataclasses import dataclass

from chronovisor.clock.devices.places import CHANNELS
from chronovisor.clock.devices.stamping import CAPABILITIES, ts_info

_SIOCGIFFLAGS = 0x8913
_IFF_UP = 0x1
_IFF_RUNNING = 0x40
_IFREQ = struct.Struct("16sH22x")  # struct ifreq is 40 bytes, its name 16


@dataclass(frozen=True, slots=True)
class Device:
    """A network device as far as time is concerned; `phc_index` is None without a PHC."""

    name: str
    up: bool
    link_up: bool
    software_stamps: bool
    hardware_stamps: bool
    phc_index: int | None


def _mask(*names: str) -> int:
    return sum(1 << CAPABILITIES.index(name) for name in names)


_SOFTWARE = _mask("software-transmit", "software-receive")
_HARDWARE = _mask("hardware-transmit", "hardware-receive", "hardware-raw-clock")


def device(name: str) -> Device | None:
    """Return what the kernel says of a device, here or in a container; None if there is none."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as channel:
        found = _through(channel, name)
    return found or CHANNELS.first(lambda channel: _through(channel, name))


def _through(channel: socket.socket, name: str) -> Device | None:
    """Return what the kernel says of a device of the namespace that a socket is of."""
    request = name.encode()
    try:
        answer = fcntl.ioctl(channel, _SIOCGIFFLAGS, _IFREQ.pack(request, 0))
    except OSError:
        return None
    flags = _IFREQ.unpack(answer)[1]
    stamps, phc_index, *_ = ts_info(channel, request)
    return Device(
        name,
        up=bool(flags & _IFF_UP),
        link_up=bool(flags & _IFF_RUNNING),
        software_stamps=stamps & _SOFTWARE == _SOFTWARE,
        hardware_stamps=stamps & _HARDWARE == _HARDWARE and phc_index >= 0,
        phc_index=phc_index if phc_index >= 0 else None,
    )


def names() -> list[str]:
    """Return the names of this namespace's devices."""
    return sorted(name for _, name in socket.if_nameindex())
