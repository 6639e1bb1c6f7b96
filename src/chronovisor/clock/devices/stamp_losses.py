"""Transmit stamps that a driver counts as lost, to name the cause of a faulty port.

Drivers have counters for them among their own (`ethtool -S`): igb, igc, ixgbe, i40e, ice and e1000e
call them tx_hwtstamp_timeouts, tx_hwtstamp_skipped and so on. Reading them may take a driver a
millisecond, so it is done when a port's state changes, and not while all is well. Sources:
linux/ethtool.h (ETHTOOL_GSSET_INFO, GSTRINGS, GSTATS), drivers/net/ethernet/intel.
"""

import array
import fcntl
import socket
import struct
from collections.abc import Callable

from chronovisor.clock.devices.places import anywhere

_SIOCETHTOOL = 0x8946
_GET_STRINGS, _GET_STATS, _GET_SET_INFO = 0x1B, 0x1D, 0x37
_STATISTICS = 1  # ETH_SS_STATS
_NAME_BYTES = 32  # ETH_GSTRING_LEN
_MOST = 1 << 16  # far more counters than any driver has
_IFREQ_POINTER = struct.Struct("16sP16x")
_SET_INFO = struct.Struct("=IIQI4x")
_STRINGS = struct.Struct("=III")
_STATS = struct.Struct("=II")
_PREFIX = b"tx_hwtstamp_"

READ_S = 1.0
"""How often a faulty port's counters are read: a driver may notice a loss later than ptp4l."""


def lost_stamps(device: str) -> int | None:
    """Return how many transmit stamps the driver has lost, None where it does not count them.

    The device may be in a container.
    """
    return anywhere(lambda: _here(device))[0]


def _here(device: str) -> int | None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as channel:
        try:
            return _lost(channel, device.encode())
        except OSError:  # no such device now, or a driver without counters
            return None


def _lost(channel: socket.socket, device: bytes) -> int | None:
    info = _ask(channel, device, _SET_INFO.pack(_GET_SET_INFO, 0, 1 << _STATISTICS, 0))
    count = _SET_INFO.unpack(info)[3] if _SET_INFO.unpack(info)[2] else 0
    if not 0 < count <= _MOST:
        return None
    head = _STRINGS.pack(_GET_STRINGS, _STATISTICS, count)
    strings = _ask(channel, device, head + bytes(_NAME_BYTES * count))
    values = _ask(channel, device, _STATS.pack(_GET_STATS, count) + bytes(8 * count))
    return total(strings[_STRINGS.size :], values[_STATS.size :])


def _ask(channel: socket.socket, device: bytes, content: bytes) -> bytes:
    data = array.array("B", content)
    fcntl.ioctl(channel, _SIOCETHTOOL, _IFREQ_POINTER.pack(device, data.buffer_info()[0]))
    return data.tobytes()


def total(strings: bytes, values: bytes) -> int | None:
    """Return the sum of the counters of lost stamps; None where no counter is called so."""
    count = len(values) // 8
    names = [strings[at * _NAME_BYTES : (at + 1) * _NAME_BYTES] for at in range(count)]
    numbers = struct.unpack(f"={count}Q", values)
    found = [
        number for name, number in zip(names, numbers, strict=True) if name.startswith(_PREFIX)
    ]
    return sum(found) if found else None


class StampLosses:
    """How many transmit stamps each device has lost since its port was last well."""

    def __init__(
        self, now_s: Callable[[], float], read: Callable[[str], int | None] = lost_stamps
    ) -> None:
        self._now_s, self._read = now_s, read
        self._before: dict[str, int | None] = {}
        self._faulty: dict[str, tuple[float, int]] = {}

    def see(self, device: str, *, faulty: bool) -> int:
        """Note how a port is; return what its device has lost while it is faulty, else 0."""
        if not faulty:
            if device not in self._before or device in self._faulty:
                self._before[device] = self._read(device)
                self._faulty.pop(device, None)
            return 0
        known = self._faulty.get(device)
        if known is None or self._now_s() - known[0] >= READ_S:
            known = self._now_s(), self._since(device)
            self._faulty[device] = known
        return known[1]

    def _since(self, device: str) -> int:
        before, now = self._before.get(device), self._read(device)
        # Without a number from before old losses cannot be told; a replugged NIC counts anew
        return 0 if before is None or now is None else max(0, now - before)
