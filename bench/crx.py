"""What a container costs beside a bare world: time to start and to stop."""

import asyncio
import statistics
import tempfile
import time
from pathlib import Path

from bench.result import Row, progress, row
from chronovisor.worlds import OwnNetwork, Sandbox, Supervisor, WorldSpec

RUNS = 20
_ARGV = ("sleep", "1000000")
_KINDS = {
    "bare": None,
    "container": Sandbox(runtime="runc"),
    "container with its own network": Sandbox(runtime="runc", network=OwnNetwork()),
}


def measure() -> list[Row]:
    """Return starts and stops, the kinds by turns."""
    with tempfile.TemporaryDirectory(prefix="crx-bench-") as name:
        progress(f"{RUNS} starts of a bare world and of containers, by turns")
        return asyncio.run(_measure(Path(name)))


async def _measure(directory: Path) -> list[Row]:
    starts: dict[str, list[float]] = {kind: [] for kind in _KINDS}
    stops: dict[str, list[float]] = {kind: [] for kind in _KINDS}
    async with Supervisor(directory / "worlds") as supervisor:
        for _ in range(RUNS):
            for kind, sandbox in _KINDS.items():
                began_s = time.perf_counter()
                world = await supervisor.start(WorldSpec("w", _ARGV, sandbox=sandbox))
                starts[kind].append(time.perf_counter() - began_s)
                assert world.pid, world.reason
                began_s = time.perf_counter()
                await supervisor.stop("w", "measured")
                stops[kind].append(time.perf_counter() - began_s)
    return [
        *_rows("start", starts),
        *_rows("stop", stops),
    ]


def _rows(deed: str, taken_s: dict[str, list[float]]) -> list[Row]:
    bare_ms = 1000 * statistics.median(taken_s["bare"])
    return [
        row(f"{deed} of a {kind}", 1000 * statistics.median(each), "ms", peer=bare_ms)
        for kind, each in taken_s.items()
        if kind != "bare"
    ]
