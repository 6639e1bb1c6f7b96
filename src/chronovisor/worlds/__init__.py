"""Worlds: processes that are kept running, bounded, listened to, and adopted after a restart.

::

    async with Supervisor(Path("/run/chronovisor/worlds")) as supervisor:
        await supervisor.adopt()
        await supervisor.ensure(WorldSpec("ptp4l", ("ptp4l", "-f", "…"), generation="7f3a"))

The reader's way in: `spec` (what is wanted), `state` (what is), `supervisor`, `supervised` (one
world's life), `launcher` (why there is never a second process), `output` (where lines go),
`sandbox` and `container` (worlds in containers).
"""

from chronovisor.worlds.container.report import ContainerReport
from chronovisor.worlds.lines import LogLine, LogWatch
from chronovisor.worlds.sandbox import Nic, OwnNetwork, Sandbox
from chronovisor.worlds.spec import Limits, LogLimits, RestartPolicy, WorldSpec
from chronovisor.worlds.state import Enforcement, State, World
from chronovisor.worlds.supervised import Ensured
from chronovisor.worlds.supervisor import Supervisor

__all__ = [
    "ContainerReport",
    "Enforcement",
    "Ensured",
    "Limits",
    "LogLimits",
    "LogLine",
    "LogWatch",
    "Nic",
    "OwnNetwork",
    "RestartPolicy",
    "Sandbox",
    "State",
    "Supervisor",
    "World",
    "WorldSpec",
]
