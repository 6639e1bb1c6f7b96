"""linuxptp's counters of a port. Unlike all else in PTP, the counters are little-endian."""

from dataclasses import dataclass
from struct import Struct
from typing import NamedTuple, Self

from chronovisor.clock.ptp.datasets.data_set import DataSet, Raw, Scope, wire
from chronovisor.clock.ptp.identity import ClockIdentity, PortIdentity
from chronovisor.clock.ptp.vocabulary import ManagementId
from chronovisor.errors import ProtocolError

_PORT_IDENTITY = Struct(">8sH")
# Sixteen counters, one a messageType; those of types the standard reserves are passed over.
_COUNTS = Struct("<10s 4Q32x6Q16x 4Q32x6Q16x")
_PACKED_COUNTS = Struct("<4Q32x6Q16x 4Q32x6Q16x")


class MessageCounts(NamedTuple):
    """Messages by type (IEEE 1588-2019 table 36), in the order of the wire."""

    sync: int
    delay_req: int
    pdelay_req: int
    pdelay_resp: int
    follow_up: int
    delay_resp: int
    pdelay_resp_follow_up: int
    announce: int
    signaling: int
    management: int


@wire(ManagementId.PORT_STATS_NP, Scope.PORT)
@dataclass(frozen=True, slots=True)
class PortStatsNp(DataSet):
    """What a port has received and sent since ptp4l started."""

    port_identity: PortIdentity
    received: MessageCounts
    sent: MessageCounts

    @classmethod
    def unpack(cls, data: bytes) -> Self:
        """Return the data set in a dataField; raises `ProtocolError`."""
        if len(data) < _COUNTS.size:
            raise ProtocolError(f"PORT_STATS_NP: truncated, {len(data)} of {_COUNTS.size} octets")
        identity, *counts = _COUNTS.unpack_from(data)
        clock, port = _PORT_IDENTITY.unpack(identity)
        return cls(
            PortIdentity(ClockIdentity(clock), port),
            MessageCounts(*counts[:10]),
            MessageCounts(*counts[10:]),
        )

    def pack(self) -> bytes:
        """Return the dataField."""
        return _PORT_IDENTITY.pack(*self.port_identity) + _PACKED_COUNTS.pack(
            *self.received, *self.sent
        )


@wire(ManagementId.PORT_SERVICE_STATS_NP, Scope.PORT, "<10s10Q")
@dataclass(frozen=True, slots=True)
class PortServiceStatsNp(DataSet):
    """What went wrong on a port since ptp4l started (linuxptp since 4.0)."""

    port_identity: PortIdentity
    announce_timeout: int
    sync_timeout: int
    delay_timeout: int
    unicast_service_timeout: int
    unicast_request_timeout: int
    master_announce_timeout: int
    master_sync_timeout: int
    qualification_timeout: int
    sync_mismatch: int
    followup_mismatch: int

    @classmethod
    def from_wire(cls, raw: Raw) -> Self:
        """Return the data set of the fields of its layout."""
        clock, port = _PORT_IDENTITY.unpack(raw[0])
        return cls(PortIdentity(ClockIdentity(clock), port), *raw[1:])

    def to_wire(self) -> Raw:
        """Return the fields of the layout."""
        return (
            _PORT_IDENTITY.pack(*self.port_identity),
            self.announce_timeout,
            self.sync_timeout,
            self.delay_timeout,
            self.unicast_service_timeout,
            self.unicast_request_timeout,
            self.master_announce_timeout,
            self.master_sync_timeout,
            self.qualification_timeout,
            self.sync_mismatch,
            self.followup_mismatch,
        )
