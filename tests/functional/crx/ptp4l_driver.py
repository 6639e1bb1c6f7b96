"""Runs ptp4l in a container with a NIC of its own: DIRECTORY TRANSPORT CAPABILITY…

Runs in a network namespace that is the test's own. Prints what pmc outside hears from it.
"""

import asyncio
import subprocess
import sys
from pathlib import Path

from awaited_worlds import until
from chronovisor.worlds import Nic, OwnNetwork, Sandbox, Supervisor, WorldSpec

CONFIG = """[global]
free_running 1
time_stamping software
network_transport {transport}
uds_address {run}/ptp4l
[nic0]
"""


def pmc(run: Path) -> str:
    sockets = ("-s", str(run / "ptp4l"), "-i", str(run / "pmc"))
    argv = ["pmc", "-u", "-b", "0", *sockets, "GET DEFAULT_DATA_SET"]
    return subprocess.run(argv, capture_output=True, text=True, check=False).stdout


async def main(directory: Path, transport: str, capabilities: tuple[str, ...]) -> None:
    run = directory / "run"
    run.mkdir()
    config = run / "ptp4l.conf"
    config.write_text(CONFIG.format(run=run, transport=transport))
    sandbox = Sandbox(
        writable=(str(run),),
        capabilities=capabilities,
        network=OwnNetwork((Nic("nic0", ("192.0.2.1/24",)),)),
    )
    argv = ("ptp4l", "-f", str(config), "-m", "-q")
    async with Supervisor(directory / "worlds") as supervisor:
        await supervisor.start(WorldSpec("ptp4l", argv, sandbox=sandbox))
        try:
            await until(lambda: "clockIdentity" in pmc(run))
            await until(lambda: "LISTENING" in "".join(supervisor.get("ptp4l").last_lines))
        finally:
            print(pmc(run), *supervisor.get("ptp4l").last_lines, sep="\n")
            await supervisor.stop_all("end of the test")


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]), sys.argv[2], tuple(sys.argv[3:])))
