"""Driver, firmware and bus address of a device by ioctl (linux/ethtool.h, ETHTOOL_GDRVINFO)."""

import array
import fcntl
import socket
import struct
from dataclasses import dataclass

_SIOCETHTOOL = 0x8946
_GET_DRIVER_INFO = 0x3
_IFREQ_POINTER = struct.Struct("16sP16x")
_DRIVER_INFO = struct.Struct("=I32s32s32s32s44s5I")


@dataclass(frozen=True, slots=True)
class DriverInfo:
    """What a driver says of itself; empty where it does not."""

    driver: str = ""
    version: str = ""
    firmware: str = ""
    bus_address: str = ""


def driver_info(name: str) -> DriverInfo:
    """Return a device's driver; nothing where it has none or is gone."""
    info = array.array("B", _DRIVER_INFO.pack(_GET_DRIVER_INFO, *[b""] * 5, *[0] * 5))
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as channel:
        request = _IFREQ_POINTER.pack(name.encode(), info.buffer_info()[0])
        try:
            fcntl.ioctl(channel, _SIOCETHTOOL, request)
        except OSError:  # a device without a driver of hardware
            return DriverInfo()
    _, driver, version, firmware, bus, *_ = _DRIVER_INFO.unpack(info)
    return DriverInfo(_text(driver), _text(version), _text(firmware), _text(bus))


def _text(value: bytes) -> str:
    text = value.partition(b"\0")[0].decode("utf-8", "replace").strip()
    return "" if text in ("N/A", "n/a") else text
