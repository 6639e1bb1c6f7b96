"""Kills supervisors of worlds that share a lock, and looks for two processes that have it.

Run as a script: DIRECTORY ROUNDS SEED. Each round forks a supervisor that adopts, then starts,
hands over, restarts, kills and stops three worlds with one lock as fast as it can, until it gets
SIGKILL. Each world's program holds a second lock of the test's own as long as it lives and reports
when it finds that taken. Prints JSON: `violations` must be empty, `held` counts how often a
program came to run, `holders` who.
"""

import asyncio
import json
import os
import random
import signal
import sys
import time
from pathlib import Path

from chronovisor.worlds import RestartPolicy, State, Supervisor, WorldSpec

NAMES = ("ptp4l", "phc2sys", "chronyd")
POLICY = RestartPolicy(
    min_uptime_s=0, max_quick_failures=None, backoff_initial_s=0.01, backoff_max_s=0.01
)
SCRIPT = """
exec 9>>"$0/only-one"
flock -n 9 || echo "doubled: $1" >>"$0/violations"
echo "$1" >>"$0/held"
exec sleep 1000000
"""


def spec(directory: Path, name: str) -> WorldSpec:
    argv = ("/bin/sh", "-c", SCRIPT, str(directory), name)
    return WorldSpec(name, argv, restart=POLICY, generation="1", lock="clock")


async def life(directory: Path, seed: int, tell: int) -> None:
    choices = random.Random(seed)
    async with Supervisor(directory / "worlds") as supervisor:
        await supervisor.adopt()
        os.write(tell, b"adopted")
        while True:
            name = choices.choice(NAMES)
            deed = choices.choice(["ensure", "ensure", "hand over", "restart", "kill", "stop"])
            known = {world.name: world for world in supervisor.worlds()}
            if deed in ("ensure", "hand over") or name not in known:
                if deed == "hand over":
                    await asyncio.gather(
                        *(supervisor.stop(other, "handed over") for other in known if other != name)
                    )
                await supervisor.ensure(spec(directory, name))
            elif deed == "restart":
                await supervisor.restart(name)
            elif deed == "stop":
                await supervisor.stop(name, "asked")
            elif pid := known[name].pid:
                os.kill(pid, signal.SIGKILL)
            await asyncio.sleep(choices.random() * 0.02)


async def end(directory: Path) -> None:
    """One world of the three runs at the end, and the others wait."""
    async with Supervisor(directory / "worlds") as supervisor:
        await supervisor.adopt()
        for name in NAMES:
            await supervisor.ensure(spec(directory, name))
        deadline = time.monotonic() + 20
        while [world.state for world in supervisor.worlds()].count(State.RUNNING) != 1:
            if time.monotonic() > deadline:
                report(directory, f"end: {supervisor.worlds()}")
                break
            await asyncio.sleep(0.01)
        await supervisor.stop_all("end")


def report(directory: Path, text: str) -> None:
    with (directory / "violations").open("a") as file:
        file.write(f"{text}\n")


def main() -> None:
    directory, rounds, seed = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
    for name in ("violations", "held"):
        (directory / name).touch()
    moments = random.Random(seed)
    for number in range(rounds):
        read, write = os.pipe()
        child = os.fork()
        if child == 0:
            try:
                asyncio.run(life(directory, seed + number, write))
            except BaseException as error:  # noqa: BLE001  # the parent must hear of anything
                report(directory, f"round {number}: {type(error).__name__}: {error}")
            os._exit(0)
        os.close(write)
        if number % 2:  # every other one may be killed at its start already
            os.read(read, 7)
        os.close(read)
        time.sleep(moments.expovariate(1 / 0.15))  # the random moment, not a wait
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
    asyncio.run(end(directory))
    held = (directory / "held").read_text().split()
    violations = (directory / "violations").read_text().splitlines()
    print(json.dumps({"violations": violations, "held": len(held), "holders": sorted({*held})}))


if __name__ == "__main__":
    main()
