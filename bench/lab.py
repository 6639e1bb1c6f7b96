"""A lab for measuring: one grandmaster, one host, through `visorctl` as a user would."""

import contextlib
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from chronovisor.cli.client import Client

VISORCTL = Path(sys.executable).with_name("visorctl")


class BenchLab:
    """One lab, removed again by `running`."""

    def __init__(self, name: str) -> None:
        self.name = name

    def do(self, verb: str, *words: str) -> str:
        """Run `visorctl lab VERB --name … WORDS` and return its output."""
        command = [str(VISORCTL), "lab", verb, "--name", self.name, *words]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            raise RuntimeError(f"{' '.join(command)}: {done.stderr}")
        return done.stdout

    @property
    def socket(self) -> Path:
        """Return the socket of host1's visord."""
        return Path("/run/chronovisor-lab", self.name, "host1", "run", "visord.sock")

    @property
    def client(self) -> Client:
        """Return a client of host1's visord."""
        return Client(self.socket)

    def visorctl(self, *words: str) -> None:
        """Run visorctl against host1."""
        environment = os.environ | {"CHRONOVISOR_SOCKET": str(self.socket)}
        subprocess.run([VISORCTL, *words], env=environment, check=True, stdout=subprocess.DEVNULL)

    def spawn(self, node: str, *argv: str) -> "subprocess.Popen[str]":
        """Start a program on a node, able to set no clock, its output at hand."""
        command = [str(VISORCTL), "lab", "exec", "--name", self.name, node, "--", *argv]
        return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)

    def ptp4l(self) -> dict[str, Any] | None:
        """Return the world ptp4l of host1, None before it was first started."""
        worlds = self.client.get("/v1/worlds")
        return next((world for world in worlds if world["name"] == "ptp4l"), None)

    def status(self) -> dict[str, Any]:
        """Return host1's clock status."""
        found: dict[str, Any] = self.client.get("/v1/clock/status")
        return found

    def wait(self, kind: str, wanted: Callable[[dict[str, Any]], bool], timeout_s: float) -> None:
        """Return when an event of visord satisfies a condition."""
        for name, event in self.client.stream("/v1/events", timeout_s=timeout_s, kind=kind):
            if name == kind and wanted(event):
                return


@contextlib.contextmanager
def running(name: str, *words: str) -> Iterator[BenchLab]:
    """Bring a lab up for the time of a measurement."""
    lab = BenchLab(f"{name}-{os.getpid()}")
    try:
        lab.do("up", "--hosts", "1", "--grandmasters", "2", *words)
        yield lab
    finally:
        lab.do("down")


def until(probe: Callable[[], bool], timeout_s: float, pause_s: float = 0.002) -> float:
    """Return how long it took until `probe` was true, in seconds."""
    began = time.monotonic()
    while not probe():
        if time.monotonic() - began > timeout_s:
            raise TimeoutError
        time.sleep(pause_s)
    return time.monotonic() - began


def stop(process: "subprocess.Popen[str]") -> None:
    """End a program of ours."""
    process.terminate()
    process.wait()
    if process.stdout:
        process.stdout.close()


def median_and_worst(values: list[float]) -> tuple[float, float]:
    """Return the median and the largest of some figures."""
    ordered = sorted(values)
    return ordered[len(ordered) // 2], ordered[-1]
