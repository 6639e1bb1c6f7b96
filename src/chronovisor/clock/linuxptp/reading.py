"""The engine-neutral reading of ptp4l's management data sets; pure."""

from chronovisor.clock.ptp import PortStatus, Status
from chronovisor.clock.ptp.datasets import TimeStatusNp
from chronovisor.clock.reading import (
    Measurement,
    MessageCounts,
    OwnClock,
    Parent,
    PortReading,
    Reading,
    TimeProperties,
)


def measurement(status: TimeStatusNp) -> Measurement:
    """Return the newest offset; its Sync's time of receipt tells it from the one before."""
    return Measurement(
        grandmaster=str(status.grandmaster_identity) if status.grandmaster_present else None,
        offset_ns=float(status.master_offset_ns),
        mark=status.ingress_time_ns,
    )


def reading(status: Status) -> Reading:
    """Return what a full status of ptp4l says."""
    default = status.default
    return Reading(
        own=OwnClock(
            identity=str(default.clock_identity),
            domain=default.domain_number,
            priority1=default.priority1,
            priority2=default.priority2,
            clock_class=default.clock_quality.clock_class,
            slave_only=default.slave_only,
        ),
        parent=_parent(status),
        time_properties=_time_properties(status),
        measurement=measurement(status.time_status),
        mean_path_delay_ns=status.current.mean_path_delay_ns,
        rate_offset_ppb=status.time_status.cumulative_rate_offset_ppb,
        ports=tuple(_port(port) for port in status.ports),
    )


def _parent(status: Status) -> Parent:
    parent = status.parent
    quality = parent.grandmaster_clock_quality
    return Parent(
        port=parent.parent_port_identity,
        grandmaster=str(parent.grandmaster_identity),
        steps_removed=status.current.steps_removed,
        priority1=parent.grandmaster_priority1,
        priority2=parent.grandmaster_priority2,
        clock_class=quality.clock_class,
        clock_accuracy=quality.clock_accuracy.name,
    )


def _time_properties(status: Status) -> TimeProperties:
    properties = status.time_properties
    return TimeProperties(
        time_source=properties.time_source.name,
        utc_offset_s=properties.current_utc_offset_s,
        utc_offset_valid=properties.current_utc_offset_valid,
        ptp_timescale=properties.ptp_timescale,
        leap61=properties.leap61,
        leap59=properties.leap59,
        time_traceable=properties.time_traceable,
        frequency_traceable=properties.frequency_traceable,
    )


def _port(port: PortStatus) -> PortReading:
    data, address = port.data_set, port.description.protocol_address.address
    return PortReading(
        number=data.port_identity.port_number,
        state=data.port_state,
        address=str(address) if address else None,
        delay_mechanism=data.delay_mechanism.name,
        log_announce_interval=data.log_announce_interval,
        announce_receipt_timeout=data.announce_receipt_timeout,
        log_sync_interval=data.log_sync_interval,
        log_min_delay_req_interval=data.log_min_delay_req_interval,
        log_min_pdelay_req_interval=data.log_min_pdelay_req_interval,
        peer_mean_path_delay_ns=data.peer_mean_path_delay_ns,
        received=MessageCounts(**port.stats.received._asdict()),
        sent=MessageCounts(**port.stats.sent._asdict()),
    )
