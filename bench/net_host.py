"""A whole visord with many VM ports: how soon all are wired, and how long its event loop is deaf.

A client asks for health again and again meanwhile; what it waits beyond the usual is the event
loop's stall, in which visord feeds no watchdog and answers nobody.
"""

import signal
import statistics
import threading
import time
from pathlib import Path
from typing import Any

from bench.result import Row, progress, row
from visords import until
from vm_hosts import VmHost, vm_host, web

SIZES = (100, 1000, 3000)
DEADLINE_S = 300.0
EXPLAINED = 15
STEADY_S = 25.0
"""Longer than visord's own comparisons are apart, so that two of them are in it."""


def measure() -> list[Row]:
    """Return the figures at each number of ports."""
    rows: list[Row] = []
    for ports in SIZES:
        progress(f"visord with {ports} ports")
        with vm_host() as host:
            rows += _rows(host, ports)
    return rows


def _rows(host: VmHost, ports: int) -> list[Row]:
    host.namespace.batch(f"tuntap add dev tap{one} mode tap" for one in range(1, ports + 1))
    host.visord.start()
    values: dict[str, Any] = {"host/net/vm_networking": {"enabled": True}}
    values |= {f"host/net/ports/vm{one}": web(one) for one in range(1, ports + 1)}
    with _Asking(host) as asking:
        began = time.perf_counter()
        host.load(values)
        stored_s = time.perf_counter() - began
        _until_wired(host, ports)
        wired_s = time.perf_counter() - began
    with _Asking(host) as steady:
        time.sleep(STEADY_S)
    explained_ms = [_explained_ms(host, one, ports) for one in range(1, EXPLAINED + 1)]
    host.visord.stop(signal.SIGKILL)
    began = time.perf_counter()
    host.visord.start()
    _until_wired(host, ports)
    again_s = time.perf_counter() - began
    of = f"{ports} ports"
    return [
        row(f"{of} in one document until all are wired", wired_s, "s", note=_stored(stored_s)),
        row(f"killed and started until all is known again, {of}", again_s, "s"),
        row(f"longest answer while they are added, {of}", max(asking.took_ms), "ms"),
        row(f"longest answer afterwards, {of}", max(steady.took_ms), "ms", note=_median(steady)),
        row(f"net explain from port to port, p50, {of}", statistics.median(explained_ms), "ms"),
        row(f"resident memory of visord, {of}", _resident_mib(host), "MiB"),
    ]


def _explained_ms(host: VmHost, source: int, target: int) -> float:
    question = {"to": f"vm{target}", "from": f"vm{source}", "service": "tcp/443"}
    began = time.perf_counter()
    host.client.get("/v1/net/explain", **question)
    return (time.perf_counter() - began) * 1e3


def _stored(took_s: float) -> str:
    return f"visorctl config import took {took_s:.2f} s of it"


def _median(asking: "_Asking") -> str:
    return f"median {statistics.median(asking.took_ms):.1f} ms of {len(asking.took_ms)}"


def _until_wired(host: VmHost, ports: int) -> None:
    def probe() -> bool:
        return bool(host.client.get("/v1/net/status")["wired"] == ports)

    until("all are wired", probe, DEADLINE_S)


def _resident_mib(host: VmHost) -> float:
    pid = host.client.get("/v1/health")["pid"]
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    kib = next(line.split()[1] for line in lines if line.startswith("VmRSS"))
    return int(kib) / 1024


class _Asking:
    """Asks visord how the worlds are, in a thread, until the block ends."""

    def __init__(self, host: VmHost) -> None:
        self._client = host.client
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._ask)
        self.took_ms: list[float] = []

    def _ask(self) -> None:
        while not self._ending.wait(0.005):
            began = time.perf_counter()
            self._client.get("/v1/worlds")
            self.took_ms.append((time.perf_counter() - began) * 1e3)

    def __enter__(self) -> "_Asking":
        self._thread.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._ending.set()
        self._thread.join()
