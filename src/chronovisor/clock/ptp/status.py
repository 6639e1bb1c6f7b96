"""One full reading of a clock: every data set its status is made of."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from chronovisor.clock.ptp.datasets import (
    ClockDescription,
    CurrentDataSet,
    DataSet,
    DefaultDataSet,
    ParentDataSet,
    PortDataSet,
    PortPropertiesNp,
    PortStatsNp,
    TimePropertiesDataSet,
    TimeStatusNp,
)
from chronovisor.clock.ptp.exchange import Answer, refusal

# DEFAULT_DATA_SET first: it tells how many ports will answer.
KINDS: tuple[type[DataSet], ...] = (
    DefaultDataSet,
    CurrentDataSet,
    ParentDataSet,
    TimePropertiesDataSet,
    TimeStatusNp,
    PortDataSet,
    PortPropertiesNp,
    PortStatsNp,
    ClockDescription,
)
"""What one status reads, in the order it is asked for."""


@dataclass(frozen=True, slots=True)
class PortStatus:
    """One port. `properties` is None on a socket that ptp4l holds read-only (`uds_ro_address`)."""

    data_set: PortDataSet
    properties: PortPropertiesNp | None
    stats: PortStatsNp
    description: ClockDescription


@dataclass(frozen=True, slots=True)
class Status:
    """The clock and its ports, by port number."""

    default: DefaultDataSet
    current: CurrentDataSet
    parent: ParentDataSet
    time_properties: TimePropertiesDataSet
    time_status: TimeStatusNp
    ports: tuple[PortStatus, ...]


def collect(answers: Sequence[Answer[Any]]) -> Status:
    """Return the status of what `KINDS` were answered with; raises `ToolFailed` for a refusal."""
    *clock, data_sets, properties, stats, descriptions = answers
    for answer in (*clock, data_sets, stats, descriptions):
        if answer.error is not None:
            raise refusal(answer)
    default, current, parent, time_properties, time_status = (answer.value for answer in clock)
    ports = tuple(
        PortStatus(
            data_sets.values[port][2],
            properties.values[port][2] if port in properties.values else None,
            stats.values[port][2],
            descriptions.values[port][2],
        )
        for port in sorted(data_sets.values)
    )
    return Status(default, current, parent, time_properties, time_status, ports)
