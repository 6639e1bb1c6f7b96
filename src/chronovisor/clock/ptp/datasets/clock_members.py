"""Management ids that are one member of the clock's data sets (IEEE 1588-2019 clause 15.5.3)."""

from dataclasses import dataclass
from typing import Self

from chronovisor.clock.ptp.datasets.clock_sets import (
    FREQUENCY_TRACEABLE,
    PTP_TIMESCALE,
    TIME_TRACEABLE,
)
from chronovisor.clock.ptp.datasets.data_set import DataSet, Raw, Scope, wire
from chronovisor.clock.ptp.primitives import Cursor, pack_text
from chronovisor.clock.ptp.vocabulary import ClockAccuracy, ManagementId


@wire(ManagementId.USER_DESCRIPTION, Scope.CLOCK)
@dataclass(frozen=True, slots=True)
class UserDescription(DataSet):
    """The operator's own words about the clock (clause 15.5.3.1.3)."""

    user_description: str

    @classmethod
    def unpack(cls, data: bytes) -> Self:
        """Return the data set in a dataField; raises `ProtocolError`."""
        return cls(Cursor(data).text())

    def pack(self) -> bytes:
        """Return the dataField."""
        return pack_text(self.user_description)


@wire(ManagementId.PRIORITY1, Scope.CLOCK, ">Bx")
@dataclass(frozen=True, slots=True)
class Priority1(DataSet):
    """First word in the choice of the best master, 0 wins (clause 15.5.3.3.6)."""

    priority1: int


@wire(ManagementId.PRIORITY2, Scope.CLOCK, ">Bx")
@dataclass(frozen=True, slots=True)
class Priority2(DataSet):
    """Last word in the choice of the best master before the identity (clause 15.5.3.3.7)."""

    priority2: int


@wire(ManagementId.DOMAIN, Scope.CLOCK, ">Bx")
@dataclass(frozen=True, slots=True)
class Domain(DataSet):
    """The PTP domain (clause 15.5.3.3.8)."""

    domain_number: int


@wire(ManagementId.SLAVE_ONLY, Scope.CLOCK, ">Bx")
@dataclass(frozen=True, slots=True)
class SlaveOnly(DataSet):
    """Whether the clock can only be a slave (clause 15.5.3.3.9)."""

    slave_only: bool

    @classmethod
    def from_wire(cls, raw: Raw) -> Self:
        """Return the data set of the fields of its layout; linuxptp sends 2 for true."""
        return cls(raw[0] != 0)


@wire(ManagementId.CLOCK_ACCURACY, Scope.CLOCK, ">Bx")
@dataclass(frozen=True, slots=True)
class ClockAccuracyMember(DataSet):
    """The clock's own accuracy (clause 15.5.3.3.11)."""

    clock_accuracy: ClockAccuracy

    @classmethod
    def from_wire(cls, raw: Raw) -> Self:
        """Return the data set of the fields of its layout."""
        return cls(ClockAccuracy(raw[0]))


@wire(ManagementId.TRACEABILITY_PROPERTIES, Scope.CLOCK, ">Bx")
@dataclass(frozen=True, slots=True)
class TraceabilityProperties(DataSet):
    """Whether time and frequency are traceable to a primary reference (clause 15.5.3.3.13)."""

    time_traceable: bool
    frequency_traceable: bool

    @classmethod
    def from_wire(cls, raw: Raw) -> Self:
        """Return the data set of the fields of its layout."""
        return cls(raw[0] & TIME_TRACEABLE != 0, raw[0] & FREQUENCY_TRACEABLE != 0)

    def to_wire(self) -> Raw:
        """Return the fields of the layout."""
        return (
            self.time_traceable * TIME_TRACEABLE | self.frequency_traceable * FREQUENCY_TRACEABLE,
        )


@wire(ManagementId.TIMESCALE_PROPERTIES, Scope.CLOCK, ">Bx")
@dataclass(frozen=True, slots=True)
class TimescaleProperties(DataSet):
    """Whether the time scale is PTP, that is TAI (clause 15.5.3.3.14).

    The standard has the time source in the second octet; linuxptp leaves it 0.
    """

    ptp_timescale: bool

    @classmethod
    def from_wire(cls, raw: Raw) -> Self:
        """Return the data set of the fields of its layout."""
        return cls(raw[0] & PTP_TIMESCALE != 0)

    def to_wire(self) -> Raw:
        """Return the fields of the layout."""
        return (self.ptp_timescale * PTP_TIMESCALE,)


@wire(ManagementId.ALTERNATE_TIME_OFFSET_ENABLE, Scope.CLOCK, ">BB")
@dataclass(frozen=True, slots=True)
class AlternateTimeOffsetEnable(DataSet):
    """Whether an alternate time scale is announced; key 255 is all (clause 15.5.3.5.5)."""

    key: int
    enabled: bool

    @classmethod
    def from_wire(cls, raw: Raw) -> Self:
        """Return the data set of the fields of its layout."""
        return cls(raw[0], raw[1] & 1 != 0)


@wire(ManagementId.ALTERNATE_TIME_OFFSET_NAME, Scope.CLOCK)
@dataclass(frozen=True, slots=True)
class AlternateTimeOffsetName(DataSet):
    """The name of an alternate time scale (clause 15.5.3.5.6)."""

    key: int
    display_name: str

    @classmethod
    def unpack(cls, data: bytes) -> Self:
        """Return the data set in a dataField; raises `ProtocolError`."""
        cursor = Cursor(data)
        return cls(cursor.octets(1)[0], cursor.text())

    def pack(self) -> bytes:
        """Return the dataField."""
        return bytes((self.key & 0xFF,)) + pack_text(self.display_name)


@wire(ManagementId.ALTERNATE_TIME_OFFSET_PROPERTIES, Scope.CLOCK, ">BiiHIx")
@dataclass(frozen=True, slots=True)
class AlternateTimeOffsetProperties(DataSet):
    """How far an alternate time scale is off, and when that changes (clause 15.5.3.5.8)."""

    key: int
    current_offset_s: int
    jump_s: int
    time_of_next_jump_s: int

    @classmethod
    def from_wire(cls, raw: Raw) -> Self:
        """Return the data set of the fields of its layout; the jump's time has 48 bits."""
        key, offset, jump, seconds_high, seconds_low = raw
        return cls(key, offset, jump, seconds_high << 32 | seconds_low)

    def to_wire(self) -> Raw:
        """Return the fields of the layout."""
        next_jump = self.time_of_next_jump_s
        return self.key, self.current_offset_s, self.jump_s, next_jump >> 32, next_jump & 0xFFFFFFFF
