"""The PTP management client: our own wire format, over ptp4l's Unix socket.

`ManagementClient` reads and sets data sets and subscribes to their changes; `Announcers` learns
which address stands behind a port identity. Data sets are in `chronovisor.clock.ptp.datasets`.
"""

from chronovisor.clock.ptp.announcers import Announcers, AnnounceSource
from chronovisor.clock.ptp.client import ManagementClient
from chronovisor.clock.ptp.connection import Rejected
from chronovisor.clock.ptp.identity import ClockIdentity, PortIdentity
from chronovisor.clock.ptp.primitives import ClockQuality, MacAddress, PortAddress
from chronovisor.clock.ptp.status import PortStatus, Status
from chronovisor.clock.ptp.subscription import Event, Notification, ServerLost, Subscription
from chronovisor.clock.ptp.vocabulary import (
    ClockAccuracy,
    DelayMechanism,
    Events,
    ManagementId,
    NetworkProtocol,
    PortState,
    TimeSource,
    Timestamping,
)

__all__ = [
    "AnnounceSource",
    "Announcers",
    "ClockAccuracy",
    "ClockIdentity",
    "ClockQuality",
    "DelayMechanism",
    "Event",
    "Events",
    "MacAddress",
    "ManagementClient",
    "ManagementId",
    "NetworkProtocol",
    "Notification",
    "PortAddress",
    "PortIdentity",
    "PortState",
    "PortStatus",
    "Rejected",
    "ServerLost",
    "Status",
    "Subscription",
    "TimeSource",
    "Timestamping",
]
