"""The metadata proxy: requests of one core, latency, start and memory with up to 3,000 taps.

Peers: http.server of Python's standard library (ThreadingHTTPServer, HTTP/1.1), and uvicorn with
the smallest application there is. Each hands out one fixed text in the same namespace to the same
client; they know no taps, no VMs and no bounds.

Requests a second of one core are requests by the server's CPU time: on a machine whose cores are
shared with the client, that is what a core alone would do.
"""

import contextlib
import fcntl
import json
import os
import secrets
import socket
import statistics
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from bench.result import Row, progress, row
from chronovisor.net.intent import build
from chronovisor.net.metadata.directory import MetadataDirectory
from chronovisor.net.metadata.plan import file_of, state_of, wanted_of, world
from chronovisor.net.metadata.state import State
from chronovisor.net.settings import Metadata

SIZES = (100, 1000, 3000)
MAIN_SIZE = 1000
ASKING = 48
"""Taps with a VM behind them: enough that no tap meets its own bound; the rest only listen."""

REQUESTS = 2500
HOST, PORT, PEER_PORT = "169.254.169.254", 80, 8080

_REQUEST = f"GET /latest/meta-data/instance-id HTTP/1.1\r\nHost: {HOST}\r\n\r\n".encode()
_PEER = f"""
import http.server
class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def do_GET(self):
        self.send_response(200)
        self.send_header("Content-Length", "6")
        self.end_headers()
        self.wfile.write(b"i-0010")
    def log_message(self, *words): pass
http.server.ThreadingHTTPServer(("{HOST}", {PEER_PORT}), Handler).serve_forever()
"""
_UVICORN = f"""
import uvicorn
async def serve(scope, receive, send):
    head = [(b"content-type", b"text/plain"), (b"content-length", b"6")]
    await send({{"type": "http.response.start", "status": 200, "headers": head}})
    await send({{"type": "http.response.body", "body": b"i-0010"}})
uvicorn.run(serve, host="{HOST}", port={PEER_PORT + 1}, lifespan="off", http="h11",
            loop="asyncio", log_level="error", access_log=False)
"""
_PEERS = {"http.server": (_PEER, PEER_PORT), "uvicorn with h11": (_UVICORN, PEER_PORT + 1)}


def measure() -> list[Row]:
    """Return the figures at each number of taps, and beside the peer."""
    rows: list[Row] = []
    for taps in SIZES:
        progress(f"metadata proxy with {taps} taps")
        with _site() as site:
            site.add_taps(taps)
            rows += _rows(site, taps)
    return rows


def _rows(site: "_Site", taps: int) -> list[Row]:
    site.write_files()
    began = time.monotonic()
    site.start()
    up_s = time.monotonic() - began
    at = f"{taps} taps"
    rows = [
        row(f"start, {at}", up_s, "s", note="process started until every tap is served"),
        row(f"resident memory, {at}", _resident_mib(site.pid), "MiB"),
    ]
    if taps == MAIN_SIZE:
        rows += _beside_peer(site)
    else:
        found = site.load(PORT, site.pid, REQUESTS // 8, keep=False)
        rows.append(row(f"latency p50, new connection, {at}", found["p50_ms"], "ms"))
    rows.append(
        row(
            f"one port's change until it is served, p50, {at}",
            statistics.median(site.changes_ms()),
            "ms",
            note="from replacing its file to the first new answer, asked every ms",
        )
    )
    return rows


def _beside_peer(site: "_Site") -> list[Row]:
    rows = []
    for name, (program, port) in _PEERS.items():
        with site.peer(program) as peer:
            for keep, how in ((False, "new connection each"), (True, "kept connections")):
                ours = site.load(PORT, site.pid, REQUESTS, keep=keep)
                theirs = site.load(port, peer, REQUESTS, keep=keep)
                what = f"{how}, beside {name}"
                rows += [
                    row(
                        f"requests a second of one core, {what}",
                        ours["per_cpu_s"],
                        "1/s",
                        goal="2,000",
                        peer=theirs["per_cpu_s"],
                        note=f"{MAIN_SIZE} taps; the peer has none",
                    ),
                    row(f"latency p50, {what}", ours["p50_ms"], "ms", peer=theirs["p50_ms"]),
                    row(f"latency p99, {what}", ours["p99_ms"], "ms", peer=theirs["p99_ms"]),
                ]
    return rows


class _Site:
    """A host namespace with the proxy, and one namespace that plays all VMs."""

    def __init__(self, directory: Path) -> None:
        self.name = f"mb{secrets.token_hex(3)}"
        self.vms = f"{self.name}v"
        self.directory = MetadataDirectory(directory)
        self.pid = 0
        self._processes: list[subprocess.Popen[bytes]] = []
        self._state = State()
        for name in (self.name, self.vms):
            _run("ip", "netns", "add", name)
            _run("ip", "-n", name, "link", "set", "lo", "up")
            settings = [f"net.ipv4.conf.{one}.rp_filter=0" for one in ("all", "default")]
            _run("ip", "netns", "exec", name, "sysctl", "-qw", *settings)
        _run("ip", "-n", self.name, "address", "add", f"{HOST}/32", "dev", "lo")

    def add_taps(self, taps: int) -> None:
        """Add taps: the first `ASKING` lead to the VMs, all others to nobody."""
        here, there = [], []
        for one in range(ASKING):
            here.append(f"link add tap{one} type veth peer name eth{one} netns {self.vms}")
            here.append(f"link set tap{one} up")
            here.append(f"route add {_address(one)} dev tap{one}")
            there.append(f"link set eth{one} up")
            there.append(f"address add {_address(one)}/32 dev eth{one}")
        _run("ip", "-n", self.name, "-batch", "-", text="\n".join(here))
        _run("ip", "-n", self.vms, "-batch", "-", text="\n".join(there))
        _here(self.name, "taps", str(ASKING), str(taps))
        values: dict[str, object] = {
            "host/net/networks/blue": {"subnets": [{"prefix": "10.0.0.0/8", "gateway": "10.0.0.1"}]}
        }
        for one in range(taps):
            values[f"host/net/ports/vm{one}"] = {
                "device": f"tap{one}",
                "mac": f"02:00:00:00:{one >> 8:02x}:{one & 255:02x}",
                "network": "blue",
                "addresses": [_address(one)],
                "instance": {"id": f"i-{one:04d}", "user_data": "#cloud-config\n" * 40},
            }
        intent = build(values)
        assert not intent.refused
        state = state_of(intent, Metadata())
        assert state is not None
        self._state = state

    def write_files(self) -> None:
        """Write what visord does before it starts the proxy."""
        for name, text in wanted_of(self._state, world(self.directory.path)).files.items():
            self.directory.write(name, text)

    def start(self) -> None:
        """Start the proxy; return when it serves every tap."""
        argv = world(self.directory.path).argv
        process = subprocess.Popen(
            ["ip", "netns", "exec", self.name, *argv], cwd="/", stderr=subprocess.DEVNULL
        )
        self._processes.append(process)
        self.pid = process.pid
        while not self._all_here():
            time.sleep(0.05)

    def _all_here(self) -> bool:
        with socket.socket(socket.AF_UNIX) as client, contextlib.suppress(OSError, ValueError):
            client.connect(str(self.directory.path / "status.sock"))
            text = b"".join(iter(lambda: client.recv(1 << 20), b""))
            ports = json.loads(text)["ports"].values()
            return len(ports) == len(self._state.guests) and all(
                one["here"] and not one["faults"] for one in ports
            )
        return False

    @contextlib.contextmanager
    def peer(self, program: str) -> Iterator[int]:
        words = ["ip", "netns", "exec", self.name, sys.executable, "-c", program]
        process = subprocess.Popen(words)
        self._processes.append(process)
        time.sleep(1.0)  # its first answers come late otherwise and count as ours would not
        yield process.pid

    def load(self, port: int, pid: int, requests: int, *, keep: bool) -> dict[str, float]:
        """Let VMs ask one after the other; return CPU and latency."""
        before = _cpu_s(pid)
        found = _here(self.vms, "load", str(port), str(requests), "keep" if keep else "new")
        return {**found, "per_cpu_s": requests / max(_cpu_s(pid) - before, 1e-3)}

    def changes_ms(self) -> list[float]:
        """Return how long each of some changes took from the file to a VM's answer."""
        found: list[float] = _here(self.vms, "changes", str(self.directory.path))
        return found

    def close(self) -> None:
        for process in self._processes:
            process.kill()
            process.wait()
        for name in (self.name, self.vms):
            subprocess.run(["ip", "netns", "delete", name], check=False, capture_output=True)


@contextlib.contextmanager
def _site() -> Iterator[_Site]:
    with tempfile.TemporaryDirectory(prefix="bench-metadata-") as directory:
        Path(directory).chmod(0o711)  # the proxy, which is nobody, must get to its own
        site = _Site(Path(directory) / "metadata")
        try:
            yield site
        finally:
            site.close()


def _address(number: int) -> str:
    return f"10.{1 + (number >> 8)}.{number & 255}.10"


def _run(*words: str, text: str | None = None) -> None:
    subprocess.run(words, input=text, check=True, text=True, capture_output=True)


def _here(namespace: str, *words: str) -> Any:
    """Run a part of this module in a namespace; return what it prints as JSON."""
    command = ["ip", "netns", "exec", namespace, sys.executable, "-m", "bench.net_metadata", *words]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return json.loads(done.stdout)


def _resident_mib(pid: int) -> float:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith("VmRSS")).split()[1]) / 1024


def _cpu_s(pid: int) -> float:
    words = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    ticks = int(words[11]) + int(words[12])  # proc(5): utime, stime
    return ticks / int(os.sysconf("SC_CLK_TCK"))


def _taps(first: int, end: int) -> None:
    """Make persistent taps without anybody behind them (TUNSETPERSIST, tuntap.rst)."""
    for number in range(first, end):
        with Path("/dev/net/tun").open("r+b", buffering=0) as tun:
            request = struct.pack("16sH", f"tap{number}".encode(), 0x1002)  # IFF_TAP | IFF_NO_PI
            fcntl.ioctl(tun, 0x400454CA, request + bytes(22))  # TUNSETIFF
            fcntl.ioctl(tun, 0x400454CB, 1)  # TUNSETPERSIST


def _bound(number: int, port: int) -> socket.socket:
    """Return a connection by the way of one VM's own device."""
    client = socket.socket()
    client.settimeout(20)
    client.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, f"eth{number}".encode())
    client.bind((_address(number), 0))
    client.connect((HOST, port))
    return client


def _ask(client: socket.socket) -> bytes:
    client.sendall(_REQUEST)
    data = b""
    while b"\r\n\r\n" not in data or data.endswith(b"\r\n\r\n"):
        more = client.recv(65536)
        if not more:
            raise ConnectionError("closed without an answer")
        data += more
    return data.rpartition(b"\r\n\r\n")[2]


def _load(port: int, requests: int, *, keep: bool) -> dict[str, float]:
    """Ask one after the other, from one VM after the other; return quantiles of the latency."""
    took: list[float] = []
    kept = [_bound(one, port) for one in range(ASKING)] if keep else []
    for number in range(requests):
        began = time.perf_counter()
        if keep:
            answer = _ask(kept[number % ASKING])
        else:
            with _bound(number % ASKING, port) as client:
                answer = _ask(client)
        took.append((time.perf_counter() - began) * 1e3)
        assert len(answer) == 6, answer
    for client in kept:
        client.close()
    quantiles = statistics.quantiles(took, n=100)
    return {"p50_ms": quantiles[49], "p99_ms": quantiles[98]}


def _changes(path: Path) -> list[float]:
    directory, took = MetadataDirectory(path), list[float]()
    for number in range(ASKING):
        name = file_of(f"vm{number}")
        text = (path / name).read_text().replace('"instance_id":"i-', '"instance_id":"new-')
        with _bound(number, PORT) as client:
            _ask(client)
            began = time.perf_counter()
            directory.write(name, text)
            while not _ask(client).startswith(b"new-"):
                time.sleep(0.001)
            took.append((time.perf_counter() - began) * 1e3)
    return took


def _part(words: list[str]) -> object:
    match words:
        case ["taps", first, end]:
            _taps(int(first), int(end))
            return None
        case ["load", port, requests, how]:
            return _load(int(port), int(requests), keep=how == "keep")
        case ["changes", path]:
            return _changes(Path(path))
    raise SystemExit(f"no such part: {words}")


if __name__ == "__main__":
    sys.stdout.write(json.dumps(_part(sys.argv[1:])))
