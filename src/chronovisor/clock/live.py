"""Sets options of a running ptp4l through PTP management (IEEE 1588-2019 clause 15.5.3.3)."""

from chronovisor.clock.plan import SetLive
from chronovisor.clock.ptp import ManagementClient, Status
from chronovisor.clock.ptp.datasets import Priority1, Priority2

_DATA_SETS = {"priority1": Priority1, "priority2": Priority2}


def observe(reading: Status | None) -> dict[str, int]:
    """Return the options that can be set live, as ptp4l has them; empty while it is silent."""
    if reading is None:
        return {}
    return {"priority1": reading.default.priority1, "priority2": reading.default.priority2}


async def apply(action: SetLive, client: ManagementClient) -> None:
    """Set one option. Raises `ToolFailed` if ptp4l refuses, `Unavailable` if it is silent."""
    await client.set(_DATA_SETS[action.option](action.value))
