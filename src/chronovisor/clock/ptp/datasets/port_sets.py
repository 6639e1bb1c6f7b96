"""Data sets of a port that the standard defines, whole and by member (IEEE 1588-2019)."""

from dataclasses import dataclass
from typing import Self

from chronovisor.clock.ptp.datasets.data_set import DataSet, Raw, Scope, named, wire
from chronovisor.clock.ptp.identity import ClockIdentity, PortIdentity
from chronovisor.clock.ptp.primitives import NS_PER_TIME_INTERVAL, time_interval
from chronovisor.clock.ptp.vocabulary import DelayMechanism, ManagementId, PortState

PORT_STATES = named(PortState)
_DELAY_MECHANISMS = named(DelayMechanism)


@wire(ManagementId.NULL_MANAGEMENT, Scope.PORT)
@dataclass(frozen=True, slots=True)
class NullManagement(DataSet):
    """Nothing; the answer shows that the port is there (clause 15.5.3.1.1)."""


@wire(ManagementId.ENABLE_PORT, Scope.PORT)
@dataclass(frozen=True, slots=True)
class EnablePort(DataSet):
    """Command: let the port take part in PTP (clause 15.5.3.7.4; linuxptp after 4.4)."""


@wire(ManagementId.DISABLE_PORT, Scope.PORT)
@dataclass(frozen=True, slots=True)
class DisablePort(DataSet):
    """Command: take the port out of PTP (clause 15.5.3.7.5; linuxptp after 4.4)."""


@wire(ManagementId.PORT_DATA_SET, Scope.PORT, ">8sHBbqbBbBbB")
@dataclass(frozen=True, slots=True)
class PortDataSet(DataSet):
    """State and intervals of a port (IEEE 1588-2019 clauses 8.2.15 and 15.5.3.7.1).

    Intervals are powers of two of seconds. `peer_mean_path_delay_ns` is 0 unless the delay
    mechanism is P2P.
    """

    port_identity: PortIdentity
    port_state: PortState
    log_min_delay_req_interval: int
    peer_mean_path_delay_ns: float
    log_announce_interval: int
    announce_receipt_timeout: int
    log_sync_interval: int
    delay_mechanism: DelayMechanism
    log_min_pdelay_req_interval: int
    version_number: int
    minor_version_number: int

    @classmethod
    def from_wire(cls, raw: Raw) -> Self:
        """Return the data set of the fields of its layout; an unknown state is an error."""
        clock, port, state, delay_req, delay, announce, timeout, sync, mechanism, pdelay, ver = raw
        return cls(
            PortIdentity(ClockIdentity(clock), port),
            PORT_STATES[state],
            delay_req,
            delay * NS_PER_TIME_INTERVAL,
            announce,
            timeout,
            sync,
            _DELAY_MECHANISMS[mechanism],
            pdelay,
            ver & 0xF,
            ver >> 4,
        )

    def to_wire(self) -> Raw:
        """Return the fields of the layout."""
        return (
            *self.port_identity,
            self.port_state,
            self.log_min_delay_req_interval,
            time_interval(self.peer_mean_path_delay_ns),
            self.log_announce_interval,
            self.announce_receipt_timeout,
            self.log_sync_interval,
            self.delay_mechanism,
            self.log_min_pdelay_req_interval,
            self.minor_version_number << 4 | self.version_number,
        )


@wire(ManagementId.LOG_ANNOUNCE_INTERVAL, Scope.PORT, ">bx")
@dataclass(frozen=True, slots=True)
class LogAnnounceInterval(DataSet):
    """Power of two of the seconds between two Announce (clause 15.5.3.4.1)."""

    log_announce_interval: int


@wire(ManagementId.ANNOUNCE_RECEIPT_TIMEOUT, Scope.PORT, ">Bx")
@dataclass(frozen=True, slots=True)
class AnnounceReceiptTimeout(DataSet):
    """Missing Announce, in intervals, that end a master (clause 15.5.3.4.2)."""

    announce_receipt_timeout: int


@wire(ManagementId.LOG_SYNC_INTERVAL, Scope.PORT, ">bx")
@dataclass(frozen=True, slots=True)
class LogSyncInterval(DataSet):
    """Power of two of the seconds between two Sync (clause 15.5.3.4.3)."""

    log_sync_interval: int


@wire(ManagementId.LOG_MIN_PDELAY_REQ_INTERVAL, Scope.PORT, ">bx")
@dataclass(frozen=True, slots=True)
class LogMinPdelayReqInterval(DataSet):
    """Power of two of the seconds between two Pdelay_Req (clause 15.5.3.4.5)."""

    log_min_pdelay_req_interval: int


@wire(ManagementId.VERSION_NUMBER, Scope.PORT, ">Bx")
@dataclass(frozen=True, slots=True)
class VersionNumber(DataSet):
    """The PTP version of a port; minor 0 is IEEE 1588-2008, minor 1 2019 (clause 15.5.3.4.7)."""

    version_number: int
    minor_version_number: int

    @classmethod
    def from_wire(cls, raw: Raw) -> Self:
        """Return the data set of the fields of its layout."""
        return cls(raw[0] & 0xF, raw[0] >> 4)

    def to_wire(self) -> Raw:
        """Return the fields of the layout."""
        return (self.minor_version_number << 4 | self.version_number,)


@wire(ManagementId.DELAY_MECHANISM, Scope.PORT, ">Bx")
@dataclass(frozen=True, slots=True)
class DelayMechanismMember(DataSet):
    """How a port measures the path delay (clause 15.5.3.4.4)."""

    delay_mechanism: DelayMechanism

    @classmethod
    def from_wire(cls, raw: Raw) -> Self:
        """Return the data set of the fields of its layout."""
        return cls(_DELAY_MECHANISMS[raw[0]])


@wire(ManagementId.MASTER_ONLY, Scope.PORT, ">Bx")
@dataclass(frozen=True, slots=True)
class MasterOnly(DataSet):
    """Whether a port can only be a master (clause 15.5.3.7; linuxptp since 4.0)."""

    master_only: bool

    @classmethod
    def from_wire(cls, raw: Raw) -> Self:
        """Return the data set of the fields of its layout."""
        return cls(raw[0] != 0)
