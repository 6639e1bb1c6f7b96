"""The engine-neutral reading of what ptpd writes; pure.

ptpd names the port that it follows, and not the grandmaster behind it: that is known from the
port's Announce messages.
"""

from dataclasses import dataclass

from chronovisor.clock.ptp import PortIdentity
from chronovisor.clock.ptpd.status_file import PtpdStatus
from chronovisor.clock.reading import Measurement, OwnClock, Parent, PortReading, Reading

_SLAVE_ONLY_CLASS = 255  # IEEE 1588-2019 table 4


@dataclass(frozen=True, slots=True)
class Newest:
    """The newest offset of the statistics; `at_ns` is its Unix time, 0 for none."""

    parent: PortIdentity | None = None
    offset_ns: float = 0.0
    at_ns: int = 0

    @property
    def measurement(self) -> Measurement:
        """Return it as a measurement."""
        return _measurement(self.parent, self)


def reading(status: PtpdStatus, newest: Newest) -> Reading:
    """Return what a status says; offsets are told by the statistics, which come more often."""
    parent = None
    if status.parent is not None:
        parent = Parent(
            port=status.parent,
            grandmaster=None,
            priority1=status.priority1,
            priority2=status.priority2,
            clock_class=status.clock_class,
        )
    return Reading(
        own=OwnClock(
            identity=str(status.own_port.clock_identity) if status.own_port else None,
            domain=status.domain,
            clock_class=_SLAVE_ONLY_CLASS,
            slave_only=True,
        ),
        parent=parent,
        time_properties=status.time_properties,
        measurement=_measurement(status.parent, newest),
        mean_path_delay_ns=status.mean_path_delay_ns,
        rate_offset_ppb=None,
        ports=(_port(status),),
    )


def _measurement(parent: PortIdentity | None, newest: Newest) -> Measurement:
    """Return the newest offset with the clock that is followed now; `Seen` counts each once."""
    clock = str(parent.clock_identity) if parent else None
    return Measurement(clock, newest.offset_ns, newest.at_ns)


def _port(status: PtpdStatus) -> PortReading:
    peers = status.delay_mechanism == "P2P"
    every = status.log_intervals
    return PortReading(
        number=1,
        state=status.state,
        delay_mechanism=status.delay_mechanism,
        log_announce_interval=every.get("announce"),
        log_sync_interval=every.get("sync"),
        log_min_delay_req_interval=every.get("delay"),
        log_min_pdelay_req_interval=every.get("pdelay"),
        peer_mean_path_delay_ns=status.mean_path_delay_ns if peers else None,
        received=status.received,
        sent=status.sent,
    )
