"""Wiring of taps: one port, a tap that appears, cold starts, and routes beside `ip -batch`.

Peers do by hand what leaves the kernel in the same state. One port: a process of `ip` or `sysctl`
for each step, as agents do that run commands. A cold start: one `sysctl -p` and one `ip -batch` of
all steps; there is no quicker way with the usual tools, so it shows what the kernel itself takes.

Everything happens in network namespaces of its own, one for each number of ports: this module
runs itself there and reads what it prints.
"""

import asyncio
import contextlib
import json
import os
import resource
import subprocess
import sys
import time
from collections.abc import Iterator
from ipaddress import IPv4Address
from typing import Any

from bench.result import Row, progress, row
from chronovisor.net.intent import Intent, build, changed
from chronovisor.net.marks import GATEWAY_MAC, METADATA_IPV6, ROUTE_PROTOCOL
from chronovisor.net.wiring import Wiring, drift
from chronovisor.net.wiring.netlink import link as links
from chronovisor.net.wiring.netlink import message as m
from chronovisor.net.wiring.netlink import route as routes
from chronovisor.net.wiring.netlink.channel import Channel
from chronovisor.net.wiring.plan import host_route

SIZES = (100, 1000, 3000)
GOALS_S = {1000: "1 s", 3000: "2.7 s"}
CHANGES = {100: 100, 1000: 200, 3000: 50}
HAND_CHANGES = 5
APPEARANCES = 20
ROUTES = 10_000

_NETWORK = {
    "subnets": [
        {"prefix": "10.0.0.0/8", "gateway": "10.0.0.1"},
        {"prefix": "2001:db8::/64", "gateway": "2001:db8::1"},
    ]
}


def measure() -> list[Row]:
    """Return the figures of the wiring at each number of ports, and of routes."""
    rows: list[Row] = []
    for ports in SIZES:
        progress(f"wiring with {ports} ports")
        by_hand = _inside("hand", str(ports))
        rows += _rows(ports, _inside("ports", str(ports)), by_hand)
    progress(f"{ROUTES} routes beside ip -batch")
    found = _inside("routes", "0")
    rows.append(
        row(
            "routes added a second",
            found["ours"],
            "1/s",
            goal="0.5 x ip -batch",
            peer=found["peer"],
            note=f"{ROUTES} host routes, IPv4; peer: ip -batch with its start",
        )
    )
    return rows


def _rows(ports: int, found: dict[str, Any], by_hand: dict[str, Any]) -> list[Row]:
    goal = {1000: ("5 ms", "25 ms", "50 ms")}.get(ports, ("", "", ""))
    of = f"{ports} ports present"
    changes, taps = sorted(found["changes_ms"]), sorted(found["appearances_ms"])
    return [
        row(
            f"port wired, p50, {of}",
            _at(changes, 0.5),
            "ms",
            goal=goal[0],
            peer=_at(sorted(by_hand["ports_ms"]), 0.5),
            note="peer: ip and sysctl, a process for each step",
        ),
        row(f"port wired, p99, {of}", _at(changes, 0.99), "ms", goal=goal[1]),
        row(f"tap appears until wired, p50, {of}", _at(taps, 0.5), "ms", goal=goal[2]),
        row(f"tap appears until wired, worst, {of}", taps[-1], "ms", goal=goal[2]),
        row(
            f"cold start, {ports} ports, nothing wired",
            found["cold_s"],
            "s",
            goal=GOALS_S.get(ports, ""),
            peer=by_hand["cold_s"],
            note="settings to last tap wired, Python's start aside; peer: sysctl -p, ip -batch",
        ),
        row(
            f"cold start, {ports} ports, all adopted",
            found["warm_s"],
            "s",
            goal=GOALS_S.get(ports, ""),
            note="the same with nothing to do: a restart",
        ),
        row(f"resident memory of the process, {of}", found["rss_mb"], "MB"),
    ]


def _at(values: list[float], share: float) -> float:
    return values[min(len(values) - 1, int(len(values) * share))]


def _inside(what: str, count: str) -> dict[str, Any]:
    """Run a part of this module in a network namespace of its own."""
    name = f"cvb{os.getpid()}-{what}{count}"
    subprocess.run(["ip", "netns", "add", name], check=True)
    try:
        done = subprocess.run(
            ["ip", "netns", "exec", name, sys.executable, "-m", __name__, what, count],
            stdout=subprocess.PIPE,
            check=True,
        )
    finally:
        _remove_taps(name)
        subprocess.run(["ip", "netns", "delete", name], check=True)
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def _remove_taps(namespace: str) -> None:
    """Remove the taps and wait for it: the kernel else does it while the next part is measured."""
    listed = ["ip", "-json", "-n", namespace, "link", "show", "type", "tun"]
    shown = subprocess.run(listed, capture_output=True, check=True).stdout
    lines = [f"link set {one['ifname']} group 7" for one in json.loads(shown)]
    text = "\n".join([*lines, "link delete group 7"]) + "\n"
    subprocess.run(["ip", "-n", namespace, "-batch", "-"], input=text, text=True, check=True)


def _port(number: int) -> dict[str, Any]:
    tail = f"{number >> 8:02x}:{number & 255:02x}"
    return {
        "device": f"tap{number}",
        "mac": f"02:00:00:00:{tail}",
        "network": "net",
        "addresses": [f"10.1.{number >> 8}.{number & 255}", f"2001:db8::1:{number:x}"],
    }


def _batch(lines: Iterator[str] | list[str]) -> None:
    text = "\n".join(lines) + "\n"
    subprocess.run(["ip", "-batch", "-"], input=text, text=True, check=True)


async def _ports(count: int) -> dict[str, Any]:
    numbers, last = range(1, count + 1), count + CHANGES[count]
    _batch([f"tuntap add dev tap{one} mode tap" for one in range(1, last + 1)])
    values: dict[str, object] = {"host/net/networks/net": _NETWORK}
    values |= {f"host/net/ports/p{number}": _port(number) for number in numbers}
    cold_s, _ = await _cold_start(values)
    warm_s, intent = await _cold_start(values)
    heard: asyncio.Queue[tuple[str, bool]] = asyncio.Queue()
    wiring = Wiring(lambda _, data: heard.put_nowait((data["id"], data["wired"])))
    async with _running(wiring, intent):
        changes_ms = []
        for number in range(count + 1, last + 1):
            began = time.perf_counter()
            intent = changed(intent, {f"host/net/ports/p{number}": _port(number)})
            wiring.want(intent)
            await wiring.settled()
            changes_ms.append((time.perf_counter() - began) * 1000)
        assert all(one.wired for one in wiring.states.values())
        appearances_ms = [
            await _appearance(wiring, intent, heard, last + 1 + one) for one in range(APPEARANCES)
        ]
    left = drift(intent).actions
    assert not left, left[:3]
    return {
        "cold_s": cold_s,
        "warm_s": warm_s,
        "changes_ms": changes_ms,
        "appearances_ms": appearances_ms,
        "rss_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    }


async def _cold_start(values: dict[str, object]) -> tuple[float, Intent]:
    began = time.perf_counter()
    intent = build(values)
    wiring = Wiring()
    async with _running(wiring, intent):
        took_s = time.perf_counter() - began
        assert all(one.wired and not one.problem for one in wiring.states.values())
    return took_s, intent


@contextlib.asynccontextmanager
async def _running(wiring: Wiring, intent: Intent) -> Any:
    wiring.want(intent)
    task = asyncio.create_task(wiring.run())
    await wiring.settled()
    try:
        yield
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


async def _appearance(
    wiring: Wiring, intent: Intent, heard: "asyncio.Queue[tuple[str, bool]]", number: int
) -> float:
    """Return how long a tap that is made, wanted already, takes until it is wired."""
    name = f"p{number}"
    wiring.want(changed(intent, {f"host/net/ports/{name}": _port(number)}))
    await wiring.settled()
    while not heard.empty():
        heard.get_nowait()
    process = await asyncio.create_subprocess_exec(
        "ip", "tuntap", "add", "dev", f"tap{number}", "mode", "tap"
    )
    began = time.perf_counter()
    while await heard.get() != (name, True):
        pass
    took_ms = (time.perf_counter() - began) * 1000
    await process.wait()
    wiring.want(intent)
    await wiring.settled()
    _batch([f"link delete tap{number}"])
    return took_ms


def _steps(number: int) -> tuple[list[str], list[str]]:
    """Return what wires a tap by hand: lines for `sysctl -p` and for `ip -batch`."""
    value, tap = _port(number), f"tap{number}"
    four, six = value["addresses"]
    ipv4 = {"proxy_arp": 1, "forwarding": 1, "rp_filter": 1, "accept_redirects": 0}
    ipv4 |= {"send_redirects": 0, "secure_redirects": 0, "arp_announce": 2}
    ipv6 = {"accept_ra": 0, "accept_redirects": 0, "forwarding": 1}
    switches = [f"net.ipv4.conf.{tap}.{name}={one}" for name, one in ipv4.items()]
    switches += [f"net.ipv6.conf.{tap}.{name}={one}" for name, one in ipv6.items()]
    switches.append(f"net.ipv4.neigh.{tap}.proxy_delay=0")
    lines = [f"link set {tap} mtu 1500 address {GATEWAY_MAC} addrgenmode none"]
    addresses = ("169.254.169.254/32", "10.0.0.1/8", "2001:db8::1/64 nodad")
    lines += [f"address add {address} dev {tap} noprefixroute" for address in addresses]
    lines += [f"address add {METADATA_IPV6}/64 dev {tap} nodad", f"link set {tap} up"]
    for address in (four, six):
        lines.append(f"neighbour replace {address} lladdr {value['mac']} dev {tap} nud permanent")
        lines.append(f"route add {address} dev {tap} proto {ROUTE_PROTOCOL}")
    return switches, lines


def _by_hand(count: int) -> dict[str, Any]:
    """Return how long it takes by hand to wire `count` taps at once, and each of some more."""
    last = count + HAND_CHANGES
    _batch([f"tuntap add dev tap{one} mode tap" for one in range(1, last + 1)])
    every = [_steps(number) for number in range(1, last + 1)]
    began = time.perf_counter()
    switches = "\n".join(line for lines, _ in every[:count] for line in lines)
    subprocess.run(["sysctl", "-q", "-p", "-"], input=switches, text=True, check=True)
    _batch([line for _, lines in every[:count] for line in lines])
    cold_s = time.perf_counter() - began
    ports_ms = []
    for switches_of_one, lines in every[count:]:
        began = time.perf_counter()
        for line in switches_of_one:
            subprocess.run(["sysctl", "-q", "-w", line], check=True)
        for line in lines:
            subprocess.run(["ip", *line.split()], check=True)
        ports_ms.append((time.perf_counter() - began) * 1000)
    return {"cold_s": cold_s, "ports_ms": ports_ms}


def _routes() -> dict[str, float]:
    _batch(["tuntap add dev tap1 mode tap", "link set tap1 up"])
    base = int(IPv4Address("10.1.0.0"))
    hosts = [IPv4Address(base + one) for one in range(ROUTES)]
    with Channel() as channel:
        answers, _ = channel.ask(links.GET, links.ask("tap1"))
        index = links.Link.unpack(answers[0].body).index
        ours, peer = [], []
        for _ in range(3):
            began = time.perf_counter()
            refused = channel.batch(
                [
                    (routes.NEW, m.CREATE | m.EXCLUSIVE, host_route(host, index).pack())
                    for host in hosts
                ]
            )
            ours.append(ROUTES / (time.perf_counter() - began))
            assert not refused
            subprocess.run(["ip", "route", "flush", "proto", str(ROUTE_PROTOCOL)], check=True)
            lines = [f"route add {host} dev tap1 proto {ROUTE_PROTOCOL}" for host in hosts]
            began = time.perf_counter()
            _batch(lines)
            peer.append(ROUTES / (time.perf_counter() - began))
            subprocess.run(["ip", "route", "flush", "proto", str(ROUTE_PROTOCOL)], check=True)
    return {"ours": sorted(ours)[1], "peer": sorted(peer)[1]}


def main() -> None:
    what, count = sys.argv[1:]
    found: dict[str, Any]
    if what == "routes":
        found = _routes()
    else:
        found = _by_hand(int(count)) if what == "hand" else asyncio.run(_ports(int(count)))
    sys.stdout.write(json.dumps(found) + "\n")


if __name__ == "__main__":
    main()
