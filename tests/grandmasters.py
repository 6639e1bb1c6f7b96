"""What a ptp4l that serves time says of it, changed while it runs."""

from dataclasses import replace
from pathlib import Path

from chronovisor.clock.ptp import ManagementClient
from chronovisor.clock.ptp.datasets import GrandmasterSettingsNp


async def announce(socket: Path, *, ptp_timescale: bool, valid: bool = False) -> None:
    """Have the ptp4l behind a socket announce this timescale; the time that it serves stays.

    `valid` is what it says of its UTC offset.
    """
    async with ManagementClient(socket, local_directory=socket.parent) as client:
        before = await client.get(GrandmasterSettingsNp)
        await client.set(
            replace(before, ptp_timescale=ptp_timescale, current_utc_offset_valid=valid)
        )
