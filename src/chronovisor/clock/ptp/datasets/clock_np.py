"""linuxptp's own data sets of the clock (`_NP`: not part of the standard)."""

from dataclasses import dataclass
from typing import Self

from chronovisor.clock.ptp.datasets.data_set import DataSet, Raw, Scope, wire
from chronovisor.clock.ptp.identity import ClockIdentity
from chronovisor.clock.ptp.primitives import (
    NS_PER_TIME_INTERVAL,
    PPB_PER_SCALED_RATE,
    scaled_rate,
)
from chronovisor.clock.ptp.vocabulary import Events, ManagementId, SyncUncertainty

_ALL_EVENTS = int(sum(Events))


@wire(ManagementId.TIME_STATUS_NP, Scope.CLOCK, ">qqiiHqIi8s")
@dataclass(frozen=True, slots=True)
class TimeStatusNp(DataSet):
    """The newest offset and what IEEE 802.1AS Follow_Up information TLVs say.

    `ingress_time_ns` is the receive time of the newest Sync in the clock's own time, 0 before the
    first. `grandmaster_present` is false on a clock that is its own grandmaster.
    `last_gm_freq_change_ppb` is IEEE 802.1AS-2020 clause 11.4.4.3.9.
    """

    master_offset_ns: int
    ingress_time_ns: int
    cumulative_rate_offset_ppb: float
    last_gm_freq_change_ppb: float
    gm_time_base_indicator: int
    last_gm_phase_change_ns: float
    grandmaster_present: bool
    grandmaster_identity: ClockIdentity

    @classmethod
    def from_wire(cls, raw: Raw) -> Self:
        """Return the data set of the fields of its layout."""
        offset, ingress, rate, frequency, indicator, phase_high, phase_low, present, identity = raw
        # ScaledNs is 96 bits (IEEE 802.1AS-2020 clause 6.4.3.1), read as 64 and 32.
        phase = (
            (phase_high << 32 | phase_low) * NS_PER_TIME_INTERVAL
            if phase_high
            else (phase_low * NS_PER_TIME_INTERVAL)
        )
        return cls(
            offset,
            ingress,
            rate * PPB_PER_SCALED_RATE,
            frequency * PPB_PER_SCALED_RATE,
            indicator,
            phase,
            present != 0,
            ClockIdentity(identity),
        )

    def to_wire(self) -> Raw:
        """Return the fields of the layout."""
        phase = round(self.last_gm_phase_change_ns * 65536)
        phase = max(-(2**95), min(2**95 - 1, phase))
        return (
            self.master_offset_ns,
            self.ingress_time_ns,
            scaled_rate(self.cumulative_rate_offset_ppb),
            scaled_rate(self.last_gm_freq_change_ppb),
            self.gm_time_base_indicator,
            phase >> 32,
            phase & 0xFFFFFFFF,
            self.grandmaster_present,
            self.grandmaster_identity,
        )


@wire(ManagementId.SUBSCRIBE_EVENTS_NP, Scope.CLOCK, ">H64s")
@dataclass(frozen=True, slots=True)
class SubscribeEventsNp(DataSet):
    """Which events ptp4l pushes to the asking client, and for how many seconds more."""

    duration_s: int
    events: Events

    @classmethod
    def from_wire(cls, raw: Raw) -> Self:
        """Return the data set of the fields of its layout; events without a name are dropped."""
        duration, mask = raw
        return cls(duration, Events(int.from_bytes(mask, "little") & _ALL_EVENTS))

    def to_wire(self) -> Raw:
        """Return the fields of the layout."""
        return self.duration_s, int(self.events).to_bytes(64, "little")


@wire(ManagementId.SYNCHRONIZATION_UNCERTAIN_NP, Scope.CLOCK, ">Bx")
@dataclass(frozen=True, slots=True)
class SynchronizationUncertainNp(DataSet):
    """Whether the clock announces its own synchronization as uncertain."""

    uncertain: SyncUncertainty

    @classmethod
    def from_wire(cls, raw: Raw) -> Self:
        """Return the data set of the fields of its layout."""
        return cls(SyncUncertainty(raw[0]))


@wire(ManagementId.EXTERNAL_GRANDMASTER_PROPERTIES_NP, Scope.CLOCK, ">8sH")
@dataclass(frozen=True, slots=True)
class ExternalGrandmasterPropertiesNp(DataSet):
    """The grandmaster behind a clock that is fed from outside PTP (linuxptp after 4.4)."""

    grandmaster_identity: ClockIdentity
    steps_removed: int

    @classmethod
    def from_wire(cls, raw: Raw) -> Self:
        """Return the data set of the fields of its layout."""
        return cls(ClockIdentity(raw[0]), raw[1])
