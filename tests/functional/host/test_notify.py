"""What visord tells a service manager (sd_notify(3)): a socket of ours stands in for systemd."""

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

import labs
from chronovisor.cli.client import Client
from chronovisor.errors import Unavailable

DEADLINE_S = 30.0
WATCHDOG_S = 0.2


@contextmanager
def manager(address: str) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listening:
        listening.bind("\0" + address[1:] if address.startswith("@") else address)
        listening.settimeout(DEADLINE_S)
        yield listening


@contextmanager
def visord(base: Path, **environment: str) -> Iterator[subprocess.Popen[bytes]]:
    words = [word for name in ("etc", "var", "run") for word in (f"--{name}", str(base / name))]
    with (base / "visord.log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "chronovisor.host.main", *words, "--stop-worlds"],
            env=os.environ | environment,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
        )
        try:
            yield process
        finally:
            process.kill()
            process.wait()


def until(listening: socket.socket, wanted: str) -> list[str]:
    """Return what is told up to and including the first message `wanted`."""
    told: list[str] = []
    while not told or told[-1] != wanted:
        told.append(listening.recv(4096).decode())
    return told


def environment(address: str) -> dict[str, str]:
    return {"NOTIFY_SOCKET": address, "WATCHDOG_USEC": str(round(WATCHDOG_S * 1e6))}


@pytest.mark.parametrize("kind", ["path", "abstract"])
def test_a_life_of_visord_is_told(base: Path, kind: str) -> None:
    # An abstract name is not below base, but carries it, so it is this test's alone.
    address = str(base / "notify") if kind == "path" else f"@{base}/notify"
    with manager(address) as listening, visord(base, **environment(address)) as process:
        until(listening, "READY=1")
        assert (base / "run" / "visord.sock").is_socket()
        assert until(listening, "WATCHDOG=1")
        assert until(listening, "WATCHDOG=1") == ["WATCHDOG=1"]  # and again
        process.send_signal(signal.SIGTERM)
        told = until(listening, "STOPPING=1")
        assert set(told) <= {"WATCHDOG=1", "STOPPING=1"}
        assert process.wait(DEADLINE_S) == 0


def test_a_watchdog_of_another_process_is_not_fed(base: Path) -> None:
    address = str(base / "notify")
    others = environment(address) | {"WATCHDOG_PID": str(os.getpid())}
    with manager(address) as listening, visord(base, **others) as process:
        until(listening, "READY=1")
        process.send_signal(signal.SIGTERM)
        assert until(listening, "STOPPING=1") == ["STOPPING=1"]
        assert process.wait(DEADLINE_S) == 0


def test_a_manager_that_is_gone_stops_nothing(base: Path) -> None:
    gone = environment(str(base / "nobody"))
    path = base / "run" / "visord.sock"
    with visord(base, **gone) as process:
        assert labs.until("it answers", lambda: condition(path)) == "ok"
        process.send_signal(signal.SIGTERM)
        assert process.wait(DEADLINE_S) == 0


def condition(path: Path) -> str | None:
    """Return what health says in a word; None while nobody listens at the socket."""
    try:
        return str(Client(path).get("/v1/health")["condition"])
    except Unavailable:
        return None
