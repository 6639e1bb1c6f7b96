"""One full reading of a clock: every data set its status is made of."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

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
from chronovisor.clock.ptp.exchange import Request

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


_T = TypeVar("_T", bound=DataSet)


class _Factory(Protocol):
    def __call__(self, kind: type[_T], /) -> Request[_T]:
        """Return a GET."""


class StatusRequest:
    """The requests of a status, built once and sent many times."""

    def __init__(self, factory: _Factory) -> None:
        self._requests = [factory(kind) for kind in KINDS]

    def again(self) -> list[Request[Any]]:
        """Return the requests without replies."""
        return [request.again() for request in self._requests]

    def collect(
        self, requests: list[Request[Any]], check: Callable[[Request[Any]], None]
    ) -> Status:
        """Return the status of answered requests; `check` raises for a refused one."""
        *clock, data_sets, properties, stats, descriptions = requests
        for request in (*clock, data_sets, stats, descriptions):
            check(request)
        default, current, parent, time_properties, time_status = (
            next(iter(request.values.values()))[1] for request in clock
        )
        ports = tuple(
            PortStatus(
                data_sets.values[port][1],
                properties.values[port][1] if port in properties.values else None,
                stats.values[port][1],
                descriptions.values[port][1],
            )
            for port in sorted(data_sets.values)
        )
        return Status(default, current, parent, time_properties, time_status, ports)
