"""Kills supervisors at random moments and looks for worlds that are doubled or unknown.

Run as a script: DIRECTORY ROUNDS SEED [NIC]; with a NIC the world is a container that has it. Each
round forks a supervisor that adopts, checks that it knows exactly the processes there are, and then
starts, replaces, restarts and stops the world as fast as it can, until it gets SIGKILL. The world
itself holds a lock as long as it lives and reports when it finds it taken. Prints one JSON object
of counts; `violations` must be empty.
"""

import asyncio
import contextlib
import json
import os
import random
import signal
import sys
import time
from collections import Counter
from pathlib import Path

from chronovisor.worlds import RestartPolicy, State, Supervisor, WorldSpec
from chronovisor.worlds.sandbox import Nic, OwnNetwork, Sandbox

POLICY = RestartPolicy(
    min_uptime_s=0, max_quick_failures=None, backoff_initial_s=0.01, backoff_max_s=0.01
)


class Driver:
    def __init__(self, directory: Path, seed: int, nic: str | None) -> None:
        self.directory = directory
        self.worlds = directory / "worlds"
        self.marker = f"1000000.{os.getpid()}"
        self.random = random.Random(seed)
        self.sandbox = None
        if nic is not None:
            network = OwnNetwork((Nic(nic),))
            self.sandbox = Sandbox(writable=(str(directory),), network=network)
        self.violations = directory / "violations"
        self.violations.touch()

    def spec(self, generation: int) -> WorldSpec:
        script = 'exec 9>>"$0/lock"; flock -n 9 || echo doubled >>"$0/violations"; exec sleep "$1"'
        argv = ("/bin/sh", "-c", script, str(self.directory), self.marker)
        return WorldSpec(
            "w", argv, restart=POLICY, generation=str(generation), sandbox=self.sandbox
        )

    def alive(self) -> list[int]:
        # Leaders only: the shell forks for an instant to run flock.
        return [pid for pid, argv in _argvs() if self.marker in argv and _leads(pid)]

    def launchers(self) -> list[int]:
        return [pid for pid, argv in _argvs() if str(self.worlds / "w") in argv]

    def report(self, text: str) -> None:
        with self.violations.open("a") as file:
            file.write(f"{text}\n")

    def known(self, supervisor: Supervisor) -> list[int]:
        return [world.pid for world in supervisor.worlds() if world.pid]

    async def life(self, number: int, tell: int) -> None:
        """Be a supervisor until killed; byte on `tell`: a check was made."""
        async with Supervisor(self.worlds) as supervisor:
            adopted = await supervisor.adopt()
            os.write(tell, b"A" if adopted else b"a")
            await self.compare(supervisor, f"round {number}")
            os.write(tell, b"c")
            choices = random.Random(number)
            while True:
                await self.disturb(supervisor, choices)

    async def compare(self, supervisor: Supervisor, when: str) -> None:
        """Report if it does not come to know exactly what is alive.

        What it adopted may just be dying of the signal that its predecessor sent, and a process
        amid its exec has no command line, for an instant, to be known by.
        """
        deadline = time.monotonic() + 10
        while (there := self.alive()) != (known := self.known(supervisor)):
            if time.monotonic() > deadline:
                self.report(f"{when}: knows {known}, alive {there}")
                break
            await asyncio.sleep(0.002)

    async def disturb(self, supervisor: Supervisor, choices: random.Random) -> None:
        deed = choices.choice(["ensure", "ensure", "restart", "stop", "kill"])
        names = [world.name for world in supervisor.worlds()]
        if deed == "ensure" or not names:
            await supervisor.ensure(self.spec(choices.randrange(3)))
        elif deed == "restart":
            await supervisor.restart("w")
        elif deed == "stop":
            await supervisor.stop("w", "asked")
        elif self.sandbox and choices.random() < 0.5:
            self.kill_runtime()
        elif pid := supervisor.get("w").pid:
            os.kill(pid, signal.SIGKILL)
            await asyncio.sleep(choices.random() * 0.03)

    def kill_runtime(self) -> None:
        """Kill whatever is at work on the container: launcher, runc, what runc started."""
        for pid, argv in _argvs():
            if str(self.directory / "crx") in argv or str(self.worlds / "w") in argv:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)

    def round(self, number: int) -> str:
        read, write = os.pipe()
        child = os.fork()
        if child == 0:
            os.close(read)
            try:
                asyncio.run(self.life(number, write))
            except BaseException as error:  # noqa: BLE001  # the parent must hear of anything
                self.report(f"round {number}: {type(error).__name__}: {error}")
            os._exit(0)
        os.close(write)
        told = b""
        if self.sandbox and number % 2:  # every other one may be killed at its start already
            told = os.read(read, 1)
        life_s = 0.8 if self.sandbox else 0.08
        time.sleep(self.random.expovariate(1 / life_s))  # the random moment, not a wait
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        told += os.read(read, 100)
        os.close(read)
        deadline = time.monotonic() + 10
        while self.launchers():
            if time.monotonic() > deadline:
                self.report(f"round {number}: launchers {self.launchers()} hang")
                break
            time.sleep(0.001)
        if len(there := self.alive()) > 1:
            self.report(f"round {number}: {there} alive at once")
        return told.decode()

    async def end(self) -> None:
        """Adopt once more, compare, stop all, compare."""
        async with Supervisor(self.worlds) as supervisor:
            await supervisor.adopt()
            await supervisor.ensure(self.spec(9))
            await self.compare(supervisor, "end")
            if (world := supervisor.get("w")).state is not State.RUNNING:
                self.report(f"end: {world}")
            await supervisor.stop_all("end")
        if self.alive():
            self.report(f"end: {self.alive()} left")


def _argvs() -> list[tuple[int, list[str]]]:
    found = []
    for name in filter(str.isdigit, os.listdir("/proc")):  # noqa: PTH208
        try:
            argv = Path("/proc", name, "cmdline").read_bytes().decode(errors="replace")
        except (FileNotFoundError, ProcessLookupError):
            continue
        found.append((int(name), argv.split("\0")))
    return sorted(found)


def _leads(pid: int) -> bool:
    try:
        return os.getsid(pid) == pid
    except ProcessLookupError:
        return False


def main() -> None:
    directory, rounds, seed = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
    driver = Driver(directory, seed, sys.argv[4] if len(sys.argv) > 4 else None)
    told: Counter[str] = Counter()
    for number in range(rounds):
        told.update(driver.round(number))
    asyncio.run(driver.end())
    violations = driver.violations.read_text().splitlines()
    print(json.dumps({"told": told, "violations": violations}))


if __name__ == "__main__":
    main()
