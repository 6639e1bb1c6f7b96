"""A clock's status through our client beside the `pmc` process, and what it costs to watch."""

import asyncio
import contextlib
import os
import resource
import statistics
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from bench.result import Row, progress, row
from chronovisor.clock.ptp import Event, Events, ManagementClient
from chronovisor.clock.ptp.datasets import TimeStatusNp
from chronovisor.clock.ptp.datasets.data_set import encode
from chronovisor.clock.ptp.identity import ClockIdentity, PortIdentity
from chronovisor.clock.ptp.management import ManagementMessage
from chronovisor.clock.ptp.status import KINDS
from chronovisor.clock.ptp.vocabulary import ManagementAction

ROUNDS = 25
READS_PER_ROUND = 100
PMC_PER_ROUND = 2
REST_S = 0.1
WATCH_S = 6.0
WATCH_INTERVAL_S = 1 / 16
DECODES = 20_000

DEVICES = ("bench-gm", "bench-slave")
CONFIG = """[global]
free_running 1
time_stamping software
logSyncInterval -4
logMinDelayReqInterval -4
logAnnounceInterval -2
"""


def measure() -> list[Row]:
    """Return the figures of reading, of watching and of decoding."""
    with tempfile.TemporaryDirectory(prefix="ptp-bench-") as name, _site(Path(name)) as server:
        progress("status read, ours and pmc by turns")
        return asyncio.run(_measure(server))


@contextlib.contextmanager
def _site(directory: Path) -> Iterator[Path]:
    """Run a grandmaster and a slave at 16 Hz in namespaces; yield the slave's socket."""
    names = [f"ptp-bench-{os.getpid()}-{role}" for role in ("gm", "slave")]
    processes = []
    try:
        for name in names:
            _ip("netns", "add", name)
        _ip("-n", names[0], "link", "add", DEVICES[0], "type", "veth",
            "peer", "name", DEVICES[1], "netns", names[1])  # fmt: skip
        for number, (name, device) in enumerate(zip(names, DEVICES, strict=True), 1):
            _ip("-n", name, "address", "add", f"192.0.2.{number}/24", "dev", device)
            _ip("-n", name, "link", "set", device, "up")
            options = f"uds_address {directory / device}\n" + (
                "priority1 100\n" if device == DEVICES[0] else "slaveOnly 1\n"
            )
            config = directory / f"{device}.conf"
            config.write_text(CONFIG + options)
            argv = ["ip", "netns", "exec", name, "ptp4l", "-q", "-f", str(config), "-i", device]
            processes.append(subprocess.Popen(argv))
        yield directory / DEVICES[1]
    finally:
        for process in processes:
            process.kill()
            process.wait()
        for name in names:
            subprocess.run(["ip", "netns", "del", name], check=False, capture_output=True)


def _ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True)


async def _measure(server: Path) -> list[Row]:
    async with ManagementClient(server, local_directory=server.parent) as client:
        deadline = time.monotonic() + 30
        while not await _is_synced(client):
            if time.monotonic() > deadline:
                raise RuntimeError("ptp4l has not followed its grandmaster within 30 s")
            await asyncio.sleep(0.05)
        return [*await _reading(client), await _watching(client), _decoding()]


async def _is_synced(client: ManagementClient) -> bool:
    try:
        return (await client.status()).time_status.ingress_time_ns > 0
    except Exception:  # noqa: BLE001  # ptp4l is just starting; the caller has the deadline
        return False


async def _reading(client: ManagementClient) -> list[Row]:
    """Measure a status by turns with pmc, so that what else the machine does falls on both."""
    ours, rested, children, starts = [], [], [], []
    for _ in range(ROUNDS):
        await asyncio.sleep(REST_S)
        before = time.process_time_ns()
        await client.status()
        rested.append((time.process_time_ns() - before) / 1e3)
        before = time.process_time_ns()
        for _ in range(READS_PER_ROUND):
            await client.status()
        ours.append((time.process_time_ns() - before) / READS_PER_ROUND / 1e3)
        for _ in range(PMC_PER_ROUND):
            child, start = _pmc(client.server)
            children.append(child)
            starts.append(start)
    mine, cold, process, start = map(statistics.median, (ours, rested, children, starts))
    how = f"{len(KINDS)} data sets, {READS_PER_ROUND} reads in a row, medians"
    note = f"{how}; to start pmc costs its caller {start:.0f} us more"
    return [
        row(
            "CPU of a status read, beside pmc",
            mine,
            "us",
            goal="at most 1/20 of pmc",
            peer=process,
            note=f"{note}; {process / mine:.1f} times cheaper",
        ),
        row(
            "CPU of a status read, beside pmc and its start",
            mine,
            "us",
            peer=process + start,
            note=f"{(process + start) / mine:.1f} times cheaper",
        ),
        row(
            "CPU of one status read after a rest, beside pmc",
            cold,
            "us",
            peer=process,
            note=f"caches are cold after {REST_S:g} s; {process / cold:.1f} times cheaper",
        ),
    ]


def _pmc(server: Path) -> tuple[float, float]:
    """Return the CPU, in us, of one pmc with the same GETs, and of starting it the cheapest way."""
    argv = ["pmc", "-u", "-b", "0", "-s", str(server), "-i", str(server.with_name("pmc"))]
    argv += [f"GET {kind.management_id.name}" for kind in KINDS]
    with Path(os.devnull).open("wb") as sink:
        actions = [(os.POSIX_SPAWN_DUP2, sink.fileno(), number) for number in (1, 2)]
        child, own = _children_us(), time.process_time_ns()
        pid = os.posix_spawnp("pmc", argv, os.environ, file_actions=actions)
        os.waitpid(pid, 0)
        return _children_us() - child, (time.process_time_ns() - own) / 1e3


def _children_us() -> float:
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return (usage.ru_utime + usage.ru_stime) * 1e6


async def _watching(client: ManagementClient) -> Row:
    progress("watching ptp4l at 16 Hz")
    told: list[Event] = []
    events = Events.PORT_STATE | Events.TIME_SYNC | Events.PARENT_DATA_SET
    async with client.subscribe(events, poll_interval_s=WATCH_INTERVAL_S, deliver=told.append):
        before, began = time.process_time(), time.monotonic()
        await asyncio.sleep(WATCH_S)
        spent, took = time.process_time() - before, time.monotonic() - began
    return row(
        "CPU of a subscription at 16 Hz",
        spent / took * 100,
        "% of a core",
        goal="under 2 with all of visord",
        note=f"{len(told)} events in {took:.0f} s, {spent / len(told) * 1e6:.0f} us each",
    )


def _decoding() -> Row:
    identity = PortIdentity(ClockIdentity(b"abcdefgh"), 1)
    status = TimeStatusNp(-5, 1, 0.0, 0.0, 0, 0.0, True, identity.clock_identity)
    data = ManagementMessage(
        ManagementAction.RESPONSE, status.management_id, encode(status), identity, identity, 1
    ).pack()
    before = time.process_time_ns()
    for _ in range(DECODES):
        body = ManagementMessage.unpack(data).body
        assert isinstance(body, bytes)
        TimeStatusNp.unpack(body)
    spent = (time.process_time_ns() - before) / DECODES / 1e3
    return row("CPU to decode a pushed TIME_STATUS_NP", spent, "us", note="octets to data class")
