"""The clock plane beside plain ptp4l: how soon a change holds, how soon a cold host tracks."""

import asyncio
import os
import signal
import time
from pathlib import Path

from bench.lab import BenchLab, median_and_worst, running, stop, until
from bench.result import Row, progress, row
from chronovisor.clock.ptp import ManagementClient
from chronovisor.clock.ptp.datasets import TimeStatusNp

CHANGES = 7
RESTARTS = 5
STEADY = 4  # offsets, as many as `tracking` takes
PATIENCE_S = 90.0


def measure() -> list[Row]:
    """Return the figures of changes and of cold starts."""
    rows: list[Row] = []
    with running("bench") as lab:
        lab.visorctl("clock", "status", "--wait", "tracking")
        rows.append(_change(lab))
        rows.append(_restart(lab))
        rows += _cold_start(lab, "fast rates", starts=3)
    with running("bench", "--default-rates") as lab:
        lab.visorctl("clock", "status", "--wait", "tracking")
        rows += _cold_start(lab, "default rates", starts=1)
    return rows


def _change(lab: BenchLab) -> Row:
    """Measure from the start of `visorctl clock set` until ptp4l runs with the change."""
    progress("visorctl clock set, until ptp4l runs with it")
    took = []
    for number in range(CHANGES):
        value = 4 + number % 2
        began = time.monotonic()
        lab.visorctl("clock", "set", f"options.ptp4l.announceReceiptTimeout={value}")
        until(lambda: _timeout(lab) == value, PATIENCE_S)  # noqa: B023 - called before it changes
        took.append(time.monotonic() - began)
    typical, worst = median_and_worst(took)
    by_hand, _ = median_and_worst([_start_by_hand(lab) for _ in range(CHANGES)])
    note = (
        f"worst of {CHANGES}: {worst:.2f} s; peer: a plain ptp4l, started until its socket answers"
    )
    return row("clock set until ptp4l runs with it", typical, "s", peer=by_hand, note=note)


def _restart(lab: BenchLab) -> Row:
    """Measure how old a visord is when its state is right, after kill -9 of the one before."""
    progress("visord killed and started, until it says tracking")
    took = []
    for _ in range(RESTARTS):
        os.kill(int(lab.client.get("/v1/health")["pid"]), signal.SIGKILL)
        lab.do("up")
        until(lambda: bool(lab.status()["state"] == "tracking"), PATIENCE_S)
        took.append(float(lab.client.get("/v1/health")["uptime_s"]))
    typical, worst = median_and_worst(took)
    note = f"worst of {RESTARTS}: {worst:.2f} s; ptp4l runs on"
    return row("visord restarted until its state is right", typical, "s", goal="2 s", note=note)


def _timeout(lab: BenchLab) -> int | None:
    """Return what the running ptp4l itself says its announce receipt timeout is."""
    ports = lab.status()["ports"]
    timeout: int | None = ports[0]["announce_receipt_timeout"] if ports else None
    return timeout


def _start_by_hand(lab: BenchLab) -> float:
    configuration, socket = _plain_configuration(lab)
    socket.unlink(missing_ok=True)
    began = time.monotonic()
    process = lab.spawn("host1", "ptp4l", "-f", str(configuration))
    try:
        until(socket.exists, PATIENCE_S)
        return time.monotonic() - began
    finally:
        stop(process)


def _plain_configuration(lab: BenchLab) -> tuple[Path, Path]:
    """Write host1's own options for a ptp4l of ours; return the file and its socket."""
    directory = lab.socket.parent / "bench"
    directory.mkdir(exist_ok=True)
    socket = directory / "ptp4l"
    own = (lab.socket.parent / "clock" / "ptp4l.conf").read_text()
    lines = [
        line for line in own.splitlines() if not line.startswith(("uds_address", "uds_ro_address"))
    ]
    place = lines.index("[global]") + 1
    lines.insert(place, f"uds_address {socket}")
    configuration = directory / "ptp4l.conf"
    configuration.write_text("\n".join(lines) + "\n")
    return configuration, socket


def _cold_start(lab: BenchLab, rates: str, starts: int) -> list[Row]:
    """Measure from enabling until `tracking`, beside plain ptp4l until as many offsets."""
    progress(f"cold start to tracking at {rates}")
    configuration, socket = _plain_configuration(lab)
    ours, plain = [], []
    for _ in range(starts):
        lab.visorctl("clock", "set", "enabled=false")
        until(lambda: (lab.ptp4l() or {}).get("state") == "stopped", PATIENCE_S)
        plain.append(_offsets_by_hand(lab, configuration, socket))
        began = time.monotonic()
        lab.visorctl("clock", "set", "enabled=true")
        lab.visorctl("clock", "status", "--wait", "tracking", "--timeout", f"{PATIENCE_S}s")
        ours.append(time.monotonic() - began)
    mine, _ = median_and_worst(ours)
    first, _ = median_and_worst([one for one, _ in plain])
    fourth, _ = median_and_worst([four for _, four in plain])
    note = (
        f"median of {starts}; peer: plain ptp4l until its {STEADY}th offset (first: {first:.2f} s)"
    )
    return [row(f"cold start to tracking, {rates}", mine, "s", peer=fourth, note=note)]


def _offsets_by_hand(lab: BenchLab, configuration: Path, socket: Path) -> tuple[float, float]:
    """Return when a plain ptp4l has its first offset and its fourth, in s after its start.

    Its data sets tell; a free-running ptp4l 3.1.1 prints an offset only once in two seconds.
    """
    socket.unlink(missing_ok=True)
    began = time.monotonic()
    process = lab.spawn("host1", "ptp4l", "-f", str(configuration))
    try:
        until(socket.exists, PATIENCE_S)
        seen = asyncio.run(_offsets(socket))
        return seen[0] - began, seen[-1] - began
    finally:
        stop(process)


async def _offsets(socket: Path) -> list[float]:
    """Return when each of the first offsets was there, by the monotonic clock."""
    seen: dict[int, float] = {}
    async with ManagementClient(socket, local_directory=socket.parent) as ptp4l:
        while len(seen) < STEADY:
            status = await ptp4l.get(TimeStatusNp)
            if status.grandmaster_present and status.ingress_time_ns:
                seen.setdefault(status.ingress_time_ns, time.monotonic())
            await asyncio.sleep(0.01)
    return list(seen.values())
