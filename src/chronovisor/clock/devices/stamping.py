"""What a device can stamp: ETHTOOL_MSG_TSINFO_GET, or the older ioctl where that is not known.

Names are those of ethtool(8) and of the kernel's own string sets. Sources: linux/ethtool_netlink.h,
Documentation/networking/ethtool-netlink.rst (TSINFO_GET), linux/net_tstamp.h.
"""

import array
import fcntl
import socket
import struct
from dataclasses import dataclass

from chronovisor.clock.devices import netlink
from chronovisor.clock.devices.netlink import Netlink
from chronovisor.errors import ChronovisorError, ProtocolError

_TSINFO_GET = 25  # ETHTOOL_MSG_TSINFO_GET
_HEADER, _CAPABILITIES, _TX_TYPES, _RX_FILTERS, _PHC_INDEX = 1, 2, 3, 4, 5
_HEADER_NAME, _HEADER_FLAGS, _COMPACT_BITSETS = 2, 3, 1
_BITSET_SIZE, _BITSET_VALUE = 2, 4

CAPABILITIES = (
    "hardware-transmit",
    "software-transmit",
    "hardware-receive",
    "software-receive",
    "software-system-clock",
    "hardware-legacy-clock",
    "hardware-raw-clock",
)
"""SOF_TIMESTAMPING_*, bit by bit; options of a socket begin above them."""

TX_TYPES = ("off", "on", "onestep-sync", "onestep-p2p")
"""HWTSTAMP_TX_*."""

RX_FILTERS = (
    "none",
    "all",
    "some",
    "ptpv1-l4-event",
    "ptpv1-l4-sync",
    "ptpv1-l4-delay-req",
    "ptpv2-l4-event",
    "ptpv2-l4-sync",
    "ptpv2-l4-delay-req",
    "ptpv2-l2-event",
    "ptpv2-l2-sync",
    "ptpv2-l2-delay-req",
    "ptpv2-event",
    "ptpv2-sync",
    "ptpv2-delay-req",
    "ntp-all",
)
"""HWTSTAMP_FILTER_*."""

_HARDWARE = {"hardware-transmit", "hardware-receive", "hardware-raw-clock"}
_SOFTWARE = {"software-transmit", "software-receive"}
_SIOCETHTOOL = 0x8946
_GET_TS_INFO = 0x41
_IFREQ_POINTER = struct.Struct("16sP16x")
_TS_INFO = struct.Struct("=IIiI3II3I")
_MOST_BITS = 1024  # far more than any kernel has; a longer set is no answer


@dataclass(frozen=True, slots=True)
class Stamping:
    """What a device can stamp, by name. `phc_index` is None without a PHC."""

    capabilities: tuple[str, ...] = ()
    tx_types: tuple[str, ...] = ()
    rx_filters: tuple[str, ...] = ()
    phc_index: int | None = None

    @property
    def hardware(self) -> bool:
        """Whether ptp4l can use hardware time stamps here."""
        return set(self.capabilities) >= _HARDWARE and self.phc_index is not None

    @property
    def software(self) -> bool:
        """Whether ptp4l can use software time stamps here."""
        return set(self.capabilities) >= _SOFTWARE


def named(bits: int, names: tuple[str, ...]) -> tuple[str, ...]:
    """Return the names of the bits that are set; one without a name is `bit-N`."""
    return tuple(
        names[bit] if bit < len(names) else f"bit-{bit}"
        for bit in range(bits.bit_length())
        if bits >> bit & 1
    )


def request(device: str) -> bytes:
    """Return the body that asks for a device's time stamping, with compact bit sets."""
    name = netlink.attribute(_HEADER_NAME, device.encode() + b"\0")
    flags = netlink.attribute(_HEADER_FLAGS, struct.pack("=I", _COMPACT_BITSETS))
    return netlink.nested(_HEADER, name, flags)


def read(found: netlink.Attributes) -> Stamping:
    """Return what an answer to `request` says. Raises `ProtocolError`."""
    phc = found.get(_PHC_INDEX)
    # Options of a socket (OPT_ID, OPT_TSONLY …) are no capability of the device
    own = (1 << len(CAPABILITIES)) - 1
    return Stamping(
        named(_bits(found.get(_CAPABILITIES)) & own, CAPABILITIES),
        named(_bits(found.get(_TX_TYPES)), TX_TYPES),
        named(_bits(found.get(_RX_FILTERS)), RX_FILTERS),
        _phc_index(netlink.i32(phc) if phc is not None else -1),
    )


def _bits(value: bytes | None) -> int:
    if value is None:
        return 0
    parts = netlink.attributes(value)
    size = netlink.u32(parts.get(_BITSET_SIZE, b""))
    words = parts.get(_BITSET_VALUE, b"")
    if size > _MOST_BITS or len(words) != (size + 31) // 32 * 4:
        raise ProtocolError(f"ethtool: a set of {size} bits in {len(words)} bytes")
    values = struct.unpack(f"={len(words) // 4}I", words)
    return sum(word << 32 * position for position, word in enumerate(values))


def _phc_index(index: int) -> int | None:
    return index if index >= 0 else None


def stamping(device: str, generic: Netlink) -> Stamping:
    """Return what a device can stamp; nothing where the driver or the kernel does not say."""
    try:
        answers = generic.ask_generic("ethtool", _TSINFO_GET, request(device))
        if answers:
            return read(answers[0])
    except ChronovisorError:  # a kernel before 5.6, or a driver that refuses: the ioctl knows
        pass
    return _by_ioctl(device)


def _by_ioctl(device: str) -> Stamping:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as channel:
        capabilities, phc_index, tx_types, rx_filters = ts_info(channel, device.encode())
    own = (1 << len(CAPABILITIES)) - 1
    return Stamping(
        named(capabilities & own, CAPABILITIES),
        named(tx_types, TX_TYPES),
        named(rx_filters, RX_FILTERS),
        _phc_index(phc_index),
    )


def ts_info(channel: socket.socket, device: bytes) -> tuple[int, int, int, int]:
    """Return ETHTOOL_GET_TS_INFO's capabilities, PHC index, TX types and RX filters as bits."""
    info = array.array("B", _TS_INFO.pack(_GET_TS_INFO, *[0] * 10))
    try:
        fcntl.ioctl(channel, _SIOCETHTOOL, _IFREQ_POINTER.pack(device, info.buffer_info()[0]))
    except OSError:  # a driver without the call stamps nothing
        return 0, -1, 0, 0
    _, capabilities, phc_index, tx_types, _, _, _, rx_filters, *_ = _TS_INFO.unpack(info)
    return capabilities, phc_index, tx_types, rx_filters
