"""DHCP on one host: how soon a VM has its lease, and what changes cost, as ports become many."""

import asyncio
import itertools
import os
import random
import signal
import statistics
import subprocess
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterable
from pathlib import Path
from typing import Any

from bench.result import Row, progress, row
from chronovisor.net.dhcp import place
from chronovisor.net.dhcp.place import Place
from chronovisor.net.dhcp.service import DhcpService
from chronovisor.net.intent import build
from chronovisor.worlds import Supervisor
from dhcp_guests import Guest, Host, Nobody, entered, inside
from dhcp_site import Site, Vm, mac

SIZES = (100, 1000, 3000)
TRIES = 40
CHANGES = 5
GATEWAYS = ("10.0.0.1/32", "fe80::1/64")


def measure() -> list[Row]:
    """Return the figures, with few ports and with many."""
    with tempfile.TemporaryDirectory(prefix="cv-") as name:
        directory = Path(name)
        directory.chmod(0o755)
        rows = []
        for count in SIZES:
            progress(f"DHCP with {count} ports")
            peer_s = _plain_dnsmasq(directory, count)
            rows += asyncio.run(_with_ports(count, directory / str(count), peer_s))
    return rows


def _plain_dnsmasq(directory: Path, count: int) -> float:
    """Return the median time of a lease from dnsmasq by hand: one tap, `count` host lines."""
    hosts = directory / "plain-hosts"
    hosts.write_text(
        "".join(f"{mac(one)},10.0.{128 + (one >> 8)}.{one & 255}\n" for one in range(1, count + 1))
    )
    with Host(f"bd{os.getpid()}p") as host, entered(host.namespace):
        guest = host.tap("tap1", mac(1), "10.0.0.1/16")
        process = subprocess.Popen(
            ["dnsmasq", "--keep-in-foreground", "--conf-file=/dev/null", "--port=0",
             "--bind-dynamic", "--interface=tap1", "--dhcp-range=10.0.0.0,static,255.255.0.0",
             "--no-ping", "--dhcp-authoritative", f"--dhcp-hostsfile={hosts}",
             f"--dhcp-leasefile={directory}/plain"],
            stderr=subprocess.DEVNULL,
        )  # fmt: skip
        try:
            guest.lease()
            return statistics.median(guest.lease_took_s() for _ in range(TRIES))
        finally:
            process.terminate()
            process.wait()


async def _with_ports(count: int, directory: Path, peer_s: float) -> list[Row]:
    with Host(f"bd{os.getpid()}n{count}") as host, entered(host.namespace):
        async with Supervisor(directory / "worlds") as supervisor:
            service = DhcpService(Place(directory / "dhcp"), supervisor, lambda _, __: None)
            site = Site(host, supervisor, service, _values(count), [])
            try:
                return await _figures(site, count, peer_s)
            finally:
                await supervisor.stop_all("end of the bench")


def _values(count: int) -> dict[str, Any]:
    network = {
        "subnets": [
            {"prefix": "10.0.0.0/16", "gateway": "10.0.0.1", "dns_servers": ["192.0.2.53"]},
            {"prefix": "2001:db8::/64", "gateway": "fe80::1", "dns_servers": ["2001:db8::53"]},
        ],
        "domain": "vms.example",
    }
    ports = {f"host/net/ports/p{number}": _port(number) for number in range(1, count + 1)}
    return {"host/net/networks/net": network} | ports


def _port(number: int) -> dict[str, Any]:
    return {
        "device": f"tap{number}",
        "mac": mac(number),
        "network": "net",
        "addresses": [f"10.0.{128 + (number >> 8)}.{number & 255}", f"2001:db8::{number:x}:1"],
        "hostname": f"vm{number}",
    }


async def _figures(site: Site, count: int, peer_s: float) -> list[Row]:
    vms = site.taps(range(1, count + 1), *GATEWAYS)
    await asyncio.to_thread(_booted, vms)
    note = f"{count} ports present"
    intent = build(site.values)
    began = time.monotonic()
    await site.service.sync(intent)
    written_s = time.monotonic() - began
    await vms[-1].lease()
    ipv4_s = time.monotonic() - began
    await vms[-1].lease6()
    cold_s = time.monotonic() - began
    return [
        row(f"cold start, {count} ports, to first leases", cold_s, "s",
            note=f"files written {written_s:.2f} s, IPv4 {ipv4_s:.2f} s"),
        *await _latencies(vms, note, peer_s),
        *await _changes(site, count, note),
        await _killed(site, vms, note),
        _memory(site, place.DNSMASQ, note),
        _memory(site, place.RESPONDER, note),
    ]  # fmt: skip


def _booted(vms: list[Vm]) -> None:
    """Wait until every VM has its link-local address, which takes the kernel seconds for many."""
    count = inside(vms[0].guest.namespace, _link_locals)
    while count < len(vms):
        time.sleep(0.05)
        count = inside(vms[0].guest.namespace, _link_locals)


def _link_locals() -> int:
    return Path("/proc/thread-self/net/if_inet6").read_text().count("fe80")


async def _latencies(vms: list[Vm], note: str, peer_s: float) -> list[Row]:
    chosen = random.Random(1).sample([vm.guest for vm in vms], TRIES)
    await asyncio.to_thread(lambda: [guest.lease6() for guest in chosen])  # neighbours known
    lease = await asyncio.to_thread(lambda: [guest.lease_took_s() for guest in chosen])
    lease6 = await asyncio.to_thread(_all_timed, (guest.lease6 for guest in chosen))
    solicited = await asyncio.to_thread(_all_timed, (guest.advertisement for guest in chosen))
    goal = "20 ms"
    by_hand = "peer: dnsmasq by hand with as many hosts and one tap"
    return [
        row(f"IPv4 lease (4 messages), {note}", _p50_ms(lease), "ms", goal=goal,
            peer=peer_s * 1000, note=f"{_worst(lease)}; {by_hand}"),
        row(f"DHCPv6 lease (4 messages), {note}", _p50_ms(lease6), "ms", goal=goal,
            note=_worst(lease6)),
        row(f"router advertisement, {note}", _p50_ms(solicited), "ms",
            note=_worst(solicited)),
    ]  # fmt: skip


async def _changes(site: Site, count: int, note: str) -> list[Row]:
    """Measure from the change of an intent until a VM has what follows from it."""
    added: list[float] = []
    moved: list[float] = []
    synced: list[float] = []
    for number in itertools.count(count + 1):
        if len(added) == CHANGES:
            break
        new, vm = f"p{number}", site.tap(number, *GATEWAYS)
        site.values[f"host/net/ports/{new}"] = _port(number)
        intent = build(site.values)
        added.append(await _sync_and_lease(site, intent, new, vm))
        site.remove(new)
        without = build(site.values)
        began = time.monotonic()
        await site.service.sync(without, [new])
        synced.append(time.monotonic() - began)
        # The address goes to another port at once.
        other, heir = f"q{number}", site.tap(number + 10_000, *GATEWAYS)
        port = _port(number) | {"device": f"tap{number + 10_000}", "mac": mac(number + 10_000)}
        site.values[f"host/net/ports/{other}"] = port
        intent = build(site.values)
        moved.append(await _sync_and_lease(site, intent, other, heir))
    whole = [await _until(lambda: site.service.sync(build(site.values))) for _ in range(3)]
    return [
        row(f"new port to its lease, {note}", _p50_ms(added), "ms", note=_worst(added)),
        row(f"port removed, its reload under way, to another's lease, {note}", _p50_ms(moved),
            "ms", note=f"{_worst(moved)}; the removal itself {_p50_ms(synced):.1f} ms"),
        row(f"look at everything, nothing to do, {note}", _p50_ms(whole), "ms",
            note="intent built from values and all files compared"),
    ]  # fmt: skip


async def _sync_and_lease(site: Site, intent: Any, port: str, vm: Vm) -> float:
    took_s = await _until(lambda: site.service.sync(intent, [port]))
    return took_s + await asyncio.to_thread(vm.guest.lease_took_s)


async def _killed(site: Site, vms: list[Vm], note: str) -> Row:
    took = []
    for _ in range(3):
        pid = site.supervisor.get(place.DNSMASQ).pid
        assert pid
        os.kill(pid, signal.SIGKILL)
        began = time.monotonic()
        while await asyncio.to_thread(_is_silent, vms[0].guest):
            pass
        took.append(time.monotonic() - began)
    return row(
        f"dnsmasq killed until it answers, {note}", statistics.median(took), "s", goal="1 s",
        note=_worst(took),
    )  # fmt: skip


def _is_silent(guest: Guest) -> bool:
    """Return whether nobody offers anything at once; a VM's own retry comes after a second."""
    try:
        guest.discover(0.02)
    except Nobody:
        return True
    return False


def _memory(site: Site, world: str, note: str) -> Row:
    status = Path(f"/proc/{site.supervisor.get(world).pid}/status").read_text()
    kilobytes = next(int(line.split()[1]) for line in status.splitlines() if "VmRSS" in line)
    return row(f"resident memory of {world}, {note}", kilobytes / 1024, "MB")


async def _until(work: Callable[[], Awaitable[object]]) -> float:
    began = time.monotonic()
    await work()
    return time.monotonic() - began


def _timed(ask: Callable[[], object]) -> float:
    began = time.monotonic()
    ask()
    return time.monotonic() - began


def _all_timed(asks: Iterable[Callable[[], object]]) -> list[float]:
    return [_timed(ask) for ask in asks]


def _p50_ms(took: list[float]) -> float:
    return statistics.median(took) * 1000


def _worst(took: list[float]) -> str:
    return f"worst of {len(took)}: {max(took) * 1000:.1f} ms"
