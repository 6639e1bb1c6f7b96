"""What visord and visorctl cost: CPU while watching a fast ptp4l, memory, time to answer."""

import os
import subprocess
import sys
import time
from pathlib import Path

from bench.lab import VISORCTL, BenchLab, median_and_worst, running, stop, until
from bench.result import Row, progress, row

WATCHED_S = 30.0
RUNS = 9
_TICKS_PER_S = os.sysconf("SC_CLK_TCK")

# A grandmaster at 16 Sync messages a second, better than the lab's own.
_FAST_GRANDMASTER = """[global]
free_running 1
time_stamping software
priority1 1
logSyncInterval -4
logMinDelayReqInterval -4
logAnnounceInterval -3
uds_address {socket}
[eth0]
"""


def measure() -> list[Row]:
    """Return CPU and memory of visord at 16 Hz, and how long commands take."""
    with running("bench") as lab:
        lab.visorctl("clock", "status", "--wait", "tracking")
        return [*_watching(lab), *_commands(lab)]


def watching_rows() -> list[Row]:
    """Return CPU and memory of visord at 16 Hz alone."""
    with running("bench") as lab:
        lab.visorctl("clock", "status", "--wait", "tracking")
        return _watching(lab)


def _watching(lab: BenchLab) -> list[Row]:
    progress(f"visord watching ptp4l at 16 Hz for {WATCHED_S:g} s")
    directory = lab.socket.parent / "bench"
    directory.mkdir(exist_ok=True)
    configuration = directory / "gm.conf"
    configuration.write_text(_FAST_GRANDMASTER.format(socket=directory / "gm"))
    grandmaster = lab.spawn("gm2", "ptp4l", "-f", str(configuration))
    try:
        until(lambda: _master_priority(lab) == 1, 60.0, pause_s=0.2)
        pid = int(lab.client.get("/v1/health")["pid"])
        received, spent_s = _sync_received(lab), _cpu_s(pid)
        time.sleep(WATCHED_S)
        received, spent_s = _sync_received(lab) - received, _cpu_s(pid) - spent_s
        resident_mib = _resident_mib(pid)
    finally:
        stop(grandmaster)
    note = f"{received / WATCHED_S:.1f} Sync messages a second"
    cpu = row("visord watching at 16 Hz", 100 * spent_s / WATCHED_S, "%", goal="< 2 %", note=note)
    return [cpu, row("visord resident memory", resident_mib, "MiB", goal="< 80 MiB")]


def _master_priority(lab: BenchLab) -> int | None:
    master = lab.status()["grandmaster"]
    return master["priority1"] if master else None


def _sync_received(lab: BenchLab) -> int:
    count: int = lab.status()["ports"][0]["received"]["sync"]
    return count


def _cpu_s(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS_PER_S  # utime, stime: proc(5)


def _resident_mib(pid: int) -> float:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith("VmRSS"))


def _commands(lab: BenchLab) -> list[Row]:
    progress("visorctl --help and clock status")
    environment = os.environ | {"CHRONOVISOR_SOCKET": str(lab.socket)}
    environment.pop("PYTHONDONTWRITEBYTECODE", None)
    floor_s = _seconds([sys.executable, "-c", "pass"], environment)
    rows = []
    for words, goal in ((["--help"], "< 0.2 s"), (["clock", "status"], "< 0.3 s")):
        took_s = _seconds([str(VISORCTL), *words], environment)
        note = f"median of {RUNS}; peer: `python -c pass`"
        rows.append(
            row(f"visorctl {' '.join(words)}", took_s, "s", goal=goal, peer=floor_s, note=note)
        )
    return rows


def _seconds(command: list[str], environment: dict[str, str]) -> float:
    took = []
    for _ in range(RUNS):
        began = time.monotonic()
        subprocess.run(command, env=environment, check=True, stdout=subprocess.DEVNULL)
        took.append(time.monotonic() - began)
    return median_and_worst(took)[0]
