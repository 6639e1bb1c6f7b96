"""Derived data types of IEEE 1588-2019 clause 5.3 and the cursor that reads variable layouts."""

from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address
from struct import Struct

from chronovisor.clock.ptp.vocabulary import ClockAccuracy, NetworkProtocol
from chronovisor.errors import InvalidInput, ProtocolError

_UINT16 = Struct(">H")

_INT64_MAX = 2**63 - 1

NS_PER_TIME_INTERVAL = 1 / 65536
"""One unit of TimeInterval in nanoseconds (IEEE 1588-2019 clause 5.3.2)."""

PPB_PER_SCALED_RATE = 1e9 / 2**41
"""One unit of IEEE 802.1AS-2020 cumulativeScaledRateOffset (clause 11.4.4.3.6) in ppb."""


def time_interval(nanoseconds: float) -> int:
    """Return a TimeInterval; what does not fit becomes the largest one (clause 5.3.2)."""
    scaled = round(nanoseconds * 65536)
    return max(-_INT64_MAX - 1, min(_INT64_MAX, scaled))


def scaled_rate(ppb: float) -> int:
    """Return a rate offset as a multiple of 2^-41, clamped to 32 bits."""
    return max(-(2**31), min(2**31 - 1, round(ppb / PPB_PER_SCALED_RATE)))


class MacAddress(bytes):
    """An IEEE 802 address; written `02:00:5e:00:53:01`."""

    __slots__ = ()

    def __str__(self) -> str:
        return self.hex(":")

    def __repr__(self) -> str:
        return f"MacAddress({str(self)!r})"


Address = IPv4Address | IPv6Address | MacAddress
"""Where PTP messages come from, by transport."""


@dataclass(frozen=True, slots=True)
class ClockQuality:
    """How good a clock says it is (IEEE 1588-2019 clause 5.3.7)."""

    clock_class: int
    clock_accuracy: ClockAccuracy
    offset_scaled_log_variance: int


@dataclass(frozen=True, slots=True)
class PortAddress:
    """The protocol address of a port (IEEE 1588-2019 clause 5.3.6)."""

    network_protocol: NetworkProtocol
    octets: bytes

    @property
    def address(self) -> Address | None:
        """The address as such, or None where the protocol or the length is not one we know."""
        match self.network_protocol, len(self.octets):
            case NetworkProtocol.UDP_IPV4, 4:
                return IPv4Address(self.octets)
            case NetworkProtocol.UDP_IPV6, 16:
                return IPv6Address(self.octets)
            case NetworkProtocol.IEEE_802_3, 6:
                return MacAddress(self.octets)
        return None

    def pack(self) -> bytes:
        """Return the octets on the wire."""
        return _UINT16.pack(self.network_protocol) + pack_octets(self.octets)


def pack_octets(octets: bytes) -> bytes:
    """Return octets behind their 16-bit length, as addresses have it."""
    return _UINT16.pack(len(octets)) + octets


def pack_text(text: str) -> bytes:
    """Return a PTPText (IEEE 1588-2019 clause 5.3.9): one octet of length, then UTF-8."""
    octets = text.encode("utf-8", "surrogateescape")
    if len(octets) > 255:
        raise InvalidInput(f"{text[:20]!r}… has {len(octets)} octets; a PTP text holds 255")
    return bytes((len(octets),)) + octets


class Cursor:
    """Reads a variable layout from front to back; raises `ProtocolError` where it ends early."""

    __slots__ = ("_data", "_position")

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._position = 0

    def octets(self, count: int) -> bytes:
        """Return the next `count` octets."""
        start, end = self._position, self._position + count
        if end > len(self._data):
            raise ProtocolError(
                f"truncated: {count} octets wanted at {start}, {len(self._data) - start} there"
            )
        self._position = end
        return self._data[start:end]

    def fields(self, layout: Struct) -> tuple[int | bytes, ...]:
        """Return the fields of a fixed part."""
        return layout.unpack(self.octets(layout.size))

    def uint16(self) -> int:
        """Return the next two octets as a number."""
        return int.from_bytes(self.octets(2), "big")

    def text(self) -> str:
        """Return a PTPText; octets that are no UTF-8 survive as surrogates."""
        return self.octets(self.octets(1)[0]).decode("utf-8", "surrogateescape")

    def port_address(self) -> PortAddress:
        """Return a PortAddress."""
        protocol = NetworkProtocol(self.uint16())
        return PortAddress(protocol, self.octets(self.uint16()))
