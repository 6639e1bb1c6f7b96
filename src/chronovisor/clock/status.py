"""What `visorctl clock status` shows: the model of `GET /v1/clock/status`. Units are in the names.

Everything here was told by the PTP engine, by packets or by the kernel; `None` says that
it is not known now.
"""

from pydantic import BaseModel, ConfigDict

from chronovisor.clock.arbiter import Owner, Phase
from chronovisor.clock.state import ClockState


class _Status(BaseModel):
    model_config = ConfigDict(frozen=True)


class Engine(_Status):
    """The program that speaks PTP, and its process."""

    name: str
    release: str | None
    state: str
    reason: str
    pid: int | None
    restarts: int


class Offset(_Status):
    """The offset from the master: this clock minus the master's, in ns.

    `last_ns` is the newest; the others are over the `samples` newest ones, which span `span_s`.
    """

    last_ns: float
    median_ns: float
    p95_abs_ns: float
    max_abs_ns: float
    samples: int
    span_s: float
    age_s: float


class Grandmaster(_Status):
    """The clock that time comes from, and the port next to us that hands it on.

    `address` is the parent port's, learned from its Announce messages.
    """

    identity: str
    address: str | None
    parent_port: str
    steps_removed: int | None
    priority1: int | None
    priority2: int | None
    clock_class: int | None
    clock_accuracy: str | None
    time_source: str | None
    utc_offset_s: int | None
    utc_offset_valid: bool | None
    ptp_timescale: bool | None
    leap61: bool | None
    leap59: bool | None
    time_traceable: bool | None
    frequency_traceable: bool | None


class MessageCounters(_Status):
    """PTP messages of one direction on one port, by type, since the engine's program started."""

    announce: int | None
    sync: int | None
    follow_up: int | None
    delay_req: int | None
    delay_resp: int | None
    pdelay_req: int | None
    pdelay_resp: int | None
    pdelay_resp_follow_up: int | None
    signaling: int | None
    management: int | None


class Port(_Status):
    """A PTP port. Intervals are powers of two in seconds (IEEE 1588-2019 clause 7.7.2)."""

    index: int
    number: int
    device: str
    device_type: str
    address: str | None
    state: str
    state_transitions: int
    link_up: bool
    time_stamping: str
    transport: str
    delay_mechanism: str
    log_announce_interval: int | None
    announce_receipt_timeout: int | None
    log_sync_interval: int | None
    log_min_delay_req_interval: int | None
    log_min_pdelay_req_interval: int | None
    peer_mean_path_delay_ns: float | None
    received: MessageCounters | None
    sent: MessageCounters | None


class SystemClockOwner(_Status):
    """Who may set the system clock, and what would change that.

    `awaited_for_s` is how long until then, None where it is no matter of time.
    """

    owner: Owner
    phase: Phase
    reason: str
    since: str | None
    awaited: str
    awaited_for_s: float | None


class NtpServer(_Status):
    """A server as chronyd sees it. `reach` has a bit for each of the last eight polls.

    `offset_ns` is the last measurement, relative to the time that chronyd keeps; `jitter_ns` the
    deviation over all `samples`.
    """

    name: str
    address: str | None
    state: str
    falseticker: bool
    stratum: int
    poll_s: float
    reach: int
    age_s: int | None
    offset_ns: int | None
    jitter_ns: int | None
    samples: int


class Ntp(_Status):
    """What chronyd says. `offset_ns` is the system clock minus NTP's time.

    `distance_ns` is how far NTP itself may be off: half the root delay and the root dispersion.
    """

    available: bool
    reason: str
    offset_ns: int | None
    distance_ns: int | None
    servers: tuple[NtpServer, ...]


class ClockStatus(_Status):
    """All that is known of this host's clock.

    `since` and `last_sync_time` are times of day (ISO 8601, UTC) for people. `frequency_ppb` is
    the kernel's correction of the system clock, `rate_offset_ppb` what the engine says the
    grandmaster's rate differs by. `system_clock_offset_ns` is the system clock minus the NIC's
    clock that it follows, both as UTC, read side by side and wrong by
    `system_clock_offset_error_ns` at most; None where it follows none, or while that is not known.
    """

    state: ClockState
    reason: str
    since: str
    last_sync_time: str | None
    in_fallback_state: bool
    system_clock: SystemClockOwner
    ntp: Ntp | None
    enabled: bool
    protocol: str
    discipline: str
    domain: int
    clock_identity: str | None
    priority1: int | None
    priority2: int | None
    clock_class: int | None
    slave_only: bool | None
    offset: Offset | None
    mean_path_delay_ns: float | None
    system_clock_offset_ns: float | None
    system_clock_offset_error_ns: float | None
    frequency_ppb: float | None
    rate_offset_ppb: float | None
    grandmaster: Grandmaster | None
    ports: tuple[Port, ...]
    engine: Engine
    notices: tuple[str, ...]
