"""linuxptp's own data sets of a port (`_NP`: not part of the standard)."""

from dataclasses import dataclass
from struct import Struct
from typing import Self

from chronovisor.clock.ptp.datasets.data_set import DataSet, Raw, Scope, named, wire
from chronovisor.clock.ptp.datasets.port_sets import PORT_STATES
from chronovisor.clock.ptp.identity import ClockIdentity, PortIdentity
from chronovisor.clock.ptp.primitives import (
    NS_PER_TIME_INTERVAL,
    PPB_PER_SCALED_RATE,
    pack_text,
    scaled_rate,
    time_interval,
)
from chronovisor.clock.ptp.vocabulary import ManagementId, PortState, Timestamping
from chronovisor.errors import ProtocolError

_TIMESTAMPINGS = named(Timestamping)


@wire(ManagementId.PORT_DATA_SET_NP, Scope.PORT, ">Ii")
@dataclass(frozen=True, slots=True)
class PortDataSetNp(DataSet):
    """The IEEE 802.1AS side of a port: whether the peer is capable, and from which delay on not."""

    neighbor_prop_delay_threshold_ns: int
    as_capable: bool

    @classmethod
    def from_wire(cls, raw: Raw) -> Self:
        """Return the data set of the fields of its layout."""
        return cls(raw[0], raw[1] != 0)


_PROPERTIES_HEAD = Struct(">8sHBBB")


@wire(ManagementId.PORT_PROPERTIES_NP, Scope.PORT)
@dataclass(frozen=True, slots=True)
class PortPropertiesNp(DataSet):
    """What a port runs on: the interface and where its time stamps come from."""

    port_identity: PortIdentity
    port_state: PortState
    timestamping: Timestamping
    interface: str

    @classmethod
    def unpack(cls, data: bytes) -> Self:
        """Return the data set in a dataField; raises `ProtocolError`."""
        start = _PROPERTIES_HEAD.size
        if len(data) < start or len(data) < start + data[start - 1]:
            raise ProtocolError(f"PORT_PROPERTIES_NP: truncated, {len(data)} octets")
        clock, port, state, timestamping, length = _PROPERTIES_HEAD.unpack_from(data)
        return cls(
            PortIdentity(ClockIdentity(clock), port),
            PORT_STATES[state],
            _TIMESTAMPINGS[timestamping],
            data[start : start + length].decode("utf-8", "surrogateescape"),
        )

    def pack(self) -> bytes:
        """Return the dataField."""
        text = pack_text(self.interface)
        head = (*self.port_identity, self.port_state, self.timestamping, text[0])
        return _PROPERTIES_HEAD.pack(*head) + text[1:]


@wire(ManagementId.PORT_HWCLOCK_NP, Scope.PORT, ">8sHiBx")
@dataclass(frozen=True, slots=True)
class PortHwclockNp(DataSet):
    """The PTP hardware clock of a port (linuxptp since 4.0); `phc_index` is -1 without one."""

    port_identity: PortIdentity
    phc_index: int
    is_virtual: bool

    @classmethod
    def from_wire(cls, raw: Raw) -> Self:
        """Return the data set of the fields of its layout."""
        clock, port, index, flags = raw
        return cls(PortIdentity(ClockIdentity(clock), port), index, flags & 1 != 0)

    def to_wire(self) -> Raw:
        """Return the fields of the layout."""
        return *self.port_identity, self.phc_index, self.is_virtual


@wire(ManagementId.POWER_PROFILE_SETTINGS_NP, Scope.PORT, ">HHIII")
@dataclass(frozen=True, slots=True)
class PowerProfileSettingsNp(DataSet):
    """What a port announces for IEEE C37.238 (linuxptp since 4.0).

    `version` is 0 (none), 1 (2011) or 2 (2017), as linuxptp counts.
    """

    version: int
    grandmaster_id: int
    grandmaster_time_inaccuracy_ns: int
    network_time_inaccuracy_ns: int
    total_time_inaccuracy_ns: int


@wire(ManagementId.CMLDS_INFO_NP, Scope.PORT, ">qiI")
@dataclass(frozen=True, slots=True)
class CmldsInfoNp(DataSet):
    """What the common mean link delay service knows of a link (linuxptp since 4.3)."""

    mean_link_delay_ns: float
    neighbor_rate_offset_ppb: float
    as_capable: bool

    @classmethod
    def from_wire(cls, raw: Raw) -> Self:
        """Return the data set of the fields of its layout."""
        delay, rate, capable = raw
        return cls(delay * NS_PER_TIME_INTERVAL, rate * PPB_PER_SCALED_RATE, capable != 0)

    def to_wire(self) -> Raw:
        """Return the fields of the layout."""
        delay, rate = self.mean_link_delay_ns, self.neighbor_rate_offset_ppb
        return time_interval(delay), scaled_rate(rate), self.as_capable


# In host order: linuxptp leaves out the conversion (seen against its development branch of 2026,
# both ways), and over a Unix socket its host is ours.
@wire(ManagementId.PORT_CORRECTIONS_NP, Scope.PORT, "=qqq")
@dataclass(frozen=True, slots=True)
class PortCorrectionsNp(DataSet):
    """Corrections of a port's time stamps and of its link's asymmetry (linuxptp after 4.4)."""

    egress_latency_ns: float
    ingress_latency_ns: float
    delay_asymmetry_ns: float

    @classmethod
    def from_wire(cls, raw: Raw) -> Self:
        """Return the data set of the fields of its layout."""
        egress, ingress, asymmetry = raw
        return cls(
            egress * NS_PER_TIME_INTERVAL,
            ingress * NS_PER_TIME_INTERVAL,
            asymmetry * NS_PER_TIME_INTERVAL,
        )

    def to_wire(self) -> Raw:
        """Return the fields of the layout."""
        return (
            time_interval(self.egress_latency_ns),
            time_interval(self.ingress_latency_ns),
            time_interval(self.delay_asymmetry_ns),
        )
