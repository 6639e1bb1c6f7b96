"""Is a supervisor in the network namespace it was started in: DIRECTORY DEED…

Prints a JSON object for each deed: how world `w`, a container with the NIC `nic0`, is then.
"""

import asyncio
import json
import os
import signal
import sys
from pathlib import Path

from awaited_worlds import until
from chronovisor.errors import ChronovisorError
from chronovisor.worlds import RestartPolicy, State, Supervisor, WorldSpec
from chronovisor.worlds.sandbox import Nic, OwnNetwork, Sandbox


def spec(*nics: Nic) -> WorldSpec:
    return WorldSpec(
        "w",
        ("/bin/sh", "-c", "ip -br address; echo ready; exec sleep 1000000"),
        restart=RestartPolicy(mode="never"),
        sandbox=Sandbox(capabilities=("CAP_NET_ADMIN",), network=OwnNetwork(nics)),
        generation=str(nics),
    )


async def do(supervisor: Supervisor, deed: str) -> str:
    """Do it; return what there is to say of it."""
    word, _, rest = deed.partition(":")
    if word == "adopt":
        await supervisor.adopt()
    elif word == "ensure":
        given = tuple(rest.split(",")) if rest else None
        await supervisor.ensure(spec(Nic("nic0", given)))
        await until(lambda: "ready" in supervisor.get("w").last_lines)
    elif word == "ensure-other":
        await supervisor.ensure(spec(Nic(rest)))
    elif word == "stop":
        await supervisor.stop("w", "asked")
    elif word == "end":
        await until(lambda: supervisor.get("w").state in (State.FAILED, State.STOPPED))
    elif word == "kill":
        os.kill(supervisor.get("w").pid or 0, signal.SIGKILL)
    elif word == "die":
        os.kill(os.getpid(), signal.SIGKILL)
    return ""


async def main() -> None:
    async with Supervisor(Path(sys.argv[1]) / "worlds") as supervisor:
        for deed in sys.argv[2:]:
            error = ""
            try:
                await do(supervisor, deed)
            except ChronovisorError as problem:
                error = problem.message
            world = next(iter(supervisor.worlds()), None)
            seen: dict[str, object] = {"deed": deed, "error": error}
            if world is not None:
                seen |= {"state": world.state, "pid": world.pid, "reason": world.reason}
                seen["lines"] = list(world.last_lines)
            print(json.dumps(seen), flush=True)


if __name__ == "__main__":
    asyncio.run(main())
