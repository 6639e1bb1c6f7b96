"""The clock's data sets that a status is made of (IEEE 1588-2019 clauses 8.2 and 15.5.3)."""

from dataclasses import dataclass
from typing import Self

from chronovisor.clock.ptp.datasets.data_set import DataSet, Raw, Scope, named, wire
from chronovisor.clock.ptp.identity import ClockIdentity, PortIdentity
from chronovisor.clock.ptp.primitives import NS_PER_TIME_INTERVAL, ClockQuality, time_interval
from chronovisor.clock.ptp.vocabulary import ClockAccuracy, ManagementId, TimeSource

_CLOCK_ACCURACIES = named(ClockAccuracy)
_TIME_SOURCES = named(TimeSource)

# IEEE 1588-2019 clause 15.5.3.3.1.1
_TWO_STEP = 1 << 0
_SLAVE_ONLY = 1 << 1

# IEEE 1588-2019 table 37, second octet of the flagField; bit 6 is IEEE 802.1AS-2020's.
LEAP61 = 1 << 0
LEAP59 = 1 << 1
UTC_OFFSET_VALID = 1 << 2
PTP_TIMESCALE = 1 << 3
TIME_TRACEABLE = 1 << 4
FREQUENCY_TRACEABLE = 1 << 5
SYNCHRONIZATION_UNCERTAIN = 1 << 6

# IEEE 1588-2019 clause 8.2.3.4: the rate has one unit of 2^-40, and the largest means unknown.
_PPB_PER_PHASE_CHANGE = 1e9 / 2**40
_PHASE_CHANGE_UNKNOWN = 0x7FFFFFFF


@wire(ManagementId.DEFAULT_DATA_SET, Scope.CLOCK, ">BxHBBBHB8sBx")
@dataclass(frozen=True, slots=True)
class DefaultDataSet(DataSet):
    """What the clock is, master or not (IEEE 1588-2019 clause 8.2.1)."""

    two_step: bool
    slave_only: bool
    number_ports: int
    priority1: int
    clock_quality: ClockQuality
    priority2: int
    clock_identity: ClockIdentity
    domain_number: int

    @classmethod
    def from_wire(cls, raw: Raw) -> Self:
        """Return the data set of the fields of its layout."""
        flags, ports, priority1, clock_class, accuracy, variance, priority2, identity, domain = raw
        return cls(
            flags & _TWO_STEP != 0,
            flags & _SLAVE_ONLY != 0,
            ports,
            priority1,
            ClockQuality(clock_class, _CLOCK_ACCURACIES[accuracy], variance),
            priority2,
            ClockIdentity(identity),
            domain,
        )

    def to_wire(self) -> Raw:
        """Return the fields of the layout."""
        quality = self.clock_quality
        return (
            self.two_step * _TWO_STEP | self.slave_only * _SLAVE_ONLY,
            self.number_ports,
            self.priority1,
            quality.clock_class,
            quality.clock_accuracy,
            quality.offset_scaled_log_variance,
            self.priority2,
            self.clock_identity,
            self.domain_number,
        )


@wire(ManagementId.CURRENT_DATA_SET, Scope.CLOCK, ">Hqq")
@dataclass(frozen=True, slots=True)
class CurrentDataSet(DataSet):
    """How the clock stands to its master (IEEE 1588-2019 clause 8.2.2)."""

    steps_removed: int
    offset_from_master_ns: float
    mean_path_delay_ns: float

    @classmethod
    def from_wire(cls, raw: Raw) -> Self:
        """Return the data set of the fields of its layout."""
        steps, offset, delay = raw
        return cls(steps, offset * NS_PER_TIME_INTERVAL, delay * NS_PER_TIME_INTERVAL)

    def to_wire(self) -> Raw:
        """Return the fields of the layout."""
        offset, delay = self.offset_from_master_ns, self.mean_path_delay_ns
        return self.steps_removed, time_interval(offset), time_interval(delay)


@wire(ManagementId.PARENT_DATA_SET, Scope.CLOCK, ">8sHBxHiBBBHB8s")
@dataclass(frozen=True, slots=True)
class ParentDataSet(DataSet):
    """The parent and the grandmaster (IEEE 1588-2019 clause 8.2.3).

    `observed_parent_phase_change_rate_ppb` is None where the clock does not measure it.
    """

    parent_port_identity: PortIdentity
    parent_stats: bool
    observed_parent_offset_scaled_log_variance: int
    observed_parent_phase_change_rate_ppb: float | None
    grandmaster_priority1: int
    grandmaster_clock_quality: ClockQuality
    grandmaster_priority2: int
    grandmaster_identity: ClockIdentity

    @classmethod
    def from_wire(cls, raw: Raw) -> Self:
        """Return the data set of the fields of its layout."""
        clock, port, stats, variance, rate, priority1, level, accuracy, gm_variance, *last = raw
        return cls(
            PortIdentity(ClockIdentity(clock), port),
            stats & 1 != 0,
            variance,
            None if rate == _PHASE_CHANGE_UNKNOWN else rate * _PPB_PER_PHASE_CHANGE,
            priority1,
            ClockQuality(level, _CLOCK_ACCURACIES[accuracy], gm_variance),
            last[0],
            ClockIdentity(last[1]),
        )

    def to_wire(self) -> Raw:
        """Return the fields of the layout."""
        rate, quality = self.observed_parent_phase_change_rate_ppb, self.grandmaster_clock_quality
        return (
            *self.parent_port_identity,
            self.parent_stats,
            self.observed_parent_offset_scaled_log_variance,
            _PHASE_CHANGE_UNKNOWN if rate is None else round(rate / _PPB_PER_PHASE_CHANGE),
            self.grandmaster_priority1,
            quality.clock_class,
            quality.clock_accuracy,
            quality.offset_scaled_log_variance,
            self.grandmaster_priority2,
            self.grandmaster_identity,
        )


def time_flags(source: "TimePropertiesDataSet | GrandmasterSettingsNp") -> int:
    """Return the flag octet of a set that has the time properties."""
    return (
        source.leap61 * LEAP61
        | source.leap59 * LEAP59
        | source.current_utc_offset_valid * UTC_OFFSET_VALID
        | source.ptp_timescale * PTP_TIMESCALE
        | source.time_traceable * TIME_TRACEABLE
        | source.frequency_traceable * FREQUENCY_TRACEABLE
        | source.synchronization_uncertain * SYNCHRONIZATION_UNCERTAIN
    )


@wire(ManagementId.TIME_PROPERTIES_DATA_SET, Scope.CLOCK, ">hBB")
@dataclass(frozen=True, slots=True)
class TimePropertiesDataSet(DataSet):
    """Properties of the grandmaster's time scale (IEEE 1588-2019 clause 8.2.4)."""

    current_utc_offset_s: int
    leap61: bool
    leap59: bool
    current_utc_offset_valid: bool
    ptp_timescale: bool
    time_traceable: bool
    frequency_traceable: bool
    synchronization_uncertain: bool
    time_source: TimeSource

    @classmethod
    def from_wire(cls, raw: Raw) -> Self:
        """Return the data set of the fields of its layout."""
        offset, flags, source = raw
        return cls(
            offset,
            flags & LEAP61 != 0,
            flags & LEAP59 != 0,
            flags & UTC_OFFSET_VALID != 0,
            flags & PTP_TIMESCALE != 0,
            flags & TIME_TRACEABLE != 0,
            flags & FREQUENCY_TRACEABLE != 0,
            flags & SYNCHRONIZATION_UNCERTAIN != 0,
            _TIME_SOURCES[source],
        )

    def to_wire(self) -> Raw:
        """Return the fields of the layout."""
        return self.current_utc_offset_s, time_flags(self), self.time_source


@wire(ManagementId.GRANDMASTER_SETTINGS_NP, Scope.CLOCK, ">BBHhBB")
@dataclass(frozen=True, slots=True)
class GrandmasterSettingsNp(DataSet):
    """What the clock announces when it is the grandmaster (linuxptp)."""

    clock_quality: ClockQuality
    current_utc_offset_s: int
    leap61: bool
    leap59: bool
    current_utc_offset_valid: bool
    ptp_timescale: bool
    time_traceable: bool
    frequency_traceable: bool
    synchronization_uncertain: bool
    time_source: TimeSource

    @classmethod
    def from_wire(cls, raw: Raw) -> Self:
        """Return the data set of the fields of its layout."""
        level, accuracy, variance, offset, flags, source = raw
        return cls(
            ClockQuality(level, _CLOCK_ACCURACIES[accuracy], variance),
            offset,
            flags & LEAP61 != 0,
            flags & LEAP59 != 0,
            flags & UTC_OFFSET_VALID != 0,
            flags & PTP_TIMESCALE != 0,
            flags & TIME_TRACEABLE != 0,
            flags & FREQUENCY_TRACEABLE != 0,
            flags & SYNCHRONIZATION_UNCERTAIN != 0,
            _TIME_SOURCES[source],
        )

    def to_wire(self) -> Raw:
        """Return the fields of the layout."""
        quality = self.clock_quality
        return (
            quality.clock_class,
            quality.clock_accuracy,
            quality.offset_scaled_log_variance,
            self.current_utc_offset_s,
            time_flags(self),
            self.time_source,
        )
