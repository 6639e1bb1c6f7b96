"""What a PTP engine says of itself, in the words of IEEE 1588 and of no program.

Each engine's observer makes these out of what its program offers: management data sets, files. What
an engine cannot know is None.
"""

from dataclasses import dataclass
from typing import NamedTuple

from chronovisor.clock.ptp import PortIdentity, PortState


@dataclass(frozen=True, slots=True)
class Measurement:
    """One offset from master, in ns.

    `mark` tells it from the one before (the time of receipt of its Sync, say); 0 is none measured.
    `grandmaster` is None while there is none.
    """

    grandmaster: str | None
    offset_ns: float
    mark: int


@dataclass(frozen=True, slots=True)
class OwnClock:
    """The clock itself (IEEE 1588-2019 clause 8.2.1)."""

    identity: str | None
    domain: int
    priority1: int | None = None
    priority2: int | None = None
    clock_class: int | None = None
    slave_only: bool | None = None


@dataclass(frozen=True, slots=True)
class Parent:
    """The port that hands the time on to us, and the grandmaster behind it (clause 8.2.3)."""

    port: PortIdentity
    grandmaster: str | None  # None where only its Announce messages tell
    steps_removed: int | None = None
    priority1: int | None = None
    priority2: int | None = None
    clock_class: int | None = None
    clock_accuracy: str | None = None


@dataclass(frozen=True, slots=True)
class TimeProperties:
    """Properties of the grandmaster's time scale (clause 8.2.4)."""

    time_source: str | None = None
    utc_offset_s: int | None = None
    utc_offset_valid: bool | None = None
    ptp_timescale: bool | None = None
    leap61: bool | None = None
    leap59: bool | None = None
    time_traceable: bool | None = None
    frequency_traceable: bool | None = None


class MessageCounts(NamedTuple):
    """PTP messages of one direction on one port, by type, since the engine's program started."""

    announce: int | None = None
    sync: int | None = None
    follow_up: int | None = None
    delay_req: int | None = None
    delay_resp: int | None = None
    pdelay_req: int | None = None
    pdelay_resp: int | None = None
    pdelay_resp_follow_up: int | None = None
    signaling: int | None = None
    management: int | None = None


@dataclass(frozen=True, slots=True)
class PortReading:
    """A PTP port by its number, from 1. Intervals are powers of two in seconds (clause 7.7.2)."""

    number: int
    state: PortState
    address: str | None = None
    delay_mechanism: str | None = None
    log_announce_interval: int | None = None
    announce_receipt_timeout: int | None = None
    log_sync_interval: int | None = None
    log_min_delay_req_interval: int | None = None
    log_min_pdelay_req_interval: int | None = None
    peer_mean_path_delay_ns: float | None = None
    received: MessageCounts | None = None
    sent: MessageCounts | None = None


@dataclass(frozen=True, slots=True)
class Reading:
    """All of it at one moment. `mean_path_delay_ns` is 0 where only peers' delays are measured."""

    own: OwnClock
    parent: Parent | None
    time_properties: TimeProperties
    measurement: Measurement
    mean_path_delay_ns: float | None
    rate_offset_ppb: float | None
    ports: tuple[PortReading, ...]
