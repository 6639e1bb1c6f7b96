"""The part of `bench.clock_hardware` that runs in the guest; it prints its figures as one line."""

import contextlib
import functools
import json
import os
import re
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from chronovisor.clock.profiles import ProfileName
from chronovisor.errors import ChronovisorError
from hwsim import truth
from hwsim.devices import Namespace, Nic, Port, new_namespace, run, simulated
from hwsim.hosts import Host, host_in, settings
from hwsim.ptp import grandmaster
from hwsim.rendered import serving
from visords import until

RUNS = 3  # a median of two is a mean, and a guest that stalls once spoils it
STEADY_S = 20.0
LOCKED_NS = {"PHC": 1_000, "system clock": 10_000}
DEADLINE_S = 120.0
TELECOM = ProfileName.G_8275_1
DAEMONS = ("ptp4l", "phc2sys")
VARIATION_NS = 200
"""Packets take up to this much longer: what a quiet switch adds. Without it a servo has no work."""

PATIENCE = 3
"""Announce messages that may be late before a master counts as lost: the profile's own value."""

SAMPLE_S, SETTLED_S, FAILOVER_S = 0.02, 5.0, 10.0
MARK = "figures: "
_CHANGE = re.compile(r"ptp4l\[(\d+\.\d+)\]: port 2[^:]*: \w+ to (\w+) on")
_TICKS_PER_S = os.sysconf("SC_CLK_TCK")


class Figures(NamedTuple):
    """What one run of one kind measured; offsets are sizes in ns, times in s."""

    lock_s: dict[str, float]
    offsets_ns: dict[str, list[int]]
    chosen_s: float
    followed_s: float
    transient_ns: int
    cpu: dict[str, float]


@dataclass(frozen=True, slots=True)
class Site:
    """Two grandmasters that agree, and the two ports of the host."""

    first: Port
    second: Port
    ports: list[Port]
    left: Namespace
    ours: Namespace
    directory: Path

    def off_ns(self, master: Port) -> dict[str, int]:
        """Return how far the host's clocks are from a grandmaster's."""
        now = truth.now()
        theirs = now[master.clock]
        system_ns = now["realtime"] + truth.UTC_OFFSET_NS - theirs
        return {"PHC": abs(now[self.ports[0].clock] - theirs), "system clock": abs(system_ns)}


@contextlib.contextmanager
def site() -> Iterator[Site]:
    """Make cards anew; the system clock is three seconds off and has no correction of its rate."""
    with contextlib.ExitStack() as stack:
        name = stack.enter_context(tempfile.TemporaryDirectory(prefix="b"))
        nics = (Nic(), Nic(15_000, phc=1), Nic(15_000, phc=1), Nic())
        first, one, other, second = stack.enter_context(simulated(*nics))
        left, ours, right = (
            stack.enter_context(new_namespace(f"bench{number}")) for number in range(3)
        )
        left.take(first)
        ours.take(one)
        ours.take(other)
        right.take(second)
        for port in (first, one, other, second):
            port.do(delay_ns=300, delay_variation_ns=VARIATION_NS)
        run("phc_ctl", "CLOCK_REALTIME", "freq", "0")
        truth.step(first.clock, truth.UTC_OFFSET_NS + 3 * 10**9)
        truth.step(second.clock, truth.exact(first.clock, second.clock))
        directory = Path(name)
        grandmaster(left, first, directory, *serving(TELECOM), "--clockClass=6", name="gm1")
        grandmaster(right, second, directory, *serving(TELECOM), "--clockClass=7", name="gm2")
        yield Site(first, second, [one, other], left, ours, directory)


def _wanted(ports: list[Port]) -> dict[str, Any]:
    values = settings(*ports)
    values["ptp_config"]["profile"] = TELECOM.value
    values["options"]["ptp4l"] |= {"announceReceiptTimeout": PATIENCE}
    values["options"]["phc2sys"] = {"sanity_freq_limit": 0}
    return values


def _with_visord(kept: Path) -> Figures:
    with site() as made, host_in(made.directory, made.ours) as host:
        host.set_clock(_wanted(made.ports))
        pids = {}
        for name in DAEMONS:
            world = until(f"{name} runs", functools.partial(_running, host, name))
            pids[name] = world["pid"]
            _keep(kept, name, world["argv"])
        lock_s = _lock(made, _started_s(pids["ptp4l"]))
        pids["visord"] = host.client.get("/v1/health")["pid"]
        return _rest(made, lock_s, pids, lambda: _said_by(host))


def _running(host: Host, name: str) -> dict[str, Any] | None:
    with contextlib.suppress(ChronovisorError):
        world = host.world(name)
        return world if world["state"] == "running" else None
    return None


def _keep(kept: Path, name: str, argv: list[str]) -> None:
    """Keep how a daemon was started, for the same by hand.

    At once: with a clock that has been right, visord allows no step any more.
    """
    (kept / f"{name}.argv").write_text(json.dumps(argv))
    (kept / f"{name}.conf").write_bytes(Path(argv[argv.index("-f") + 1]).read_bytes())


def _said_by(host: Host) -> str:
    return host.do("world", "logs", "ptp4l", "--lines", "1000")


def _by_hand(kept: Path) -> Figures:
    with site() as made:
        socket, pids = made.directory / "ptp4l", {}
        for name in DAEMONS:
            argv = json.loads((kept / f"{name}.argv").read_text())
            file = made.directory / f"{name}.conf"
            text = (kept / f"{name}.conf").read_text()
            file.write_text(re.sub(r"(?m)^uds_address .*$", f"uds_address {socket}", text))
            argv[argv.index("-f") + 1] = str(file)
            if "-z" in argv:
                argv[argv.index("-z") + 1] = str(socket)
            pids[name] = made.ours.start(*argv, log=made.directory / f"{name}.log").pid
        lock_s = _lock(made, _started_s(pids["ptp4l"]))
        return _rest(made, lock_s, pids, (made.directory / "ptp4l.log").read_text)


def _started_s(pid: int) -> float:
    """Return when a process started, by CLOCK_MONOTONIC; a guest never sleeps."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return int(fields[19]) / _TICKS_PER_S  # starttime: proc(5)


def _lock(made: Site, began_s: float) -> dict[str, float]:
    """Return after how long each clock was within its limit, and stayed there for five seconds."""
    since_s: dict[str, float | None] = dict.fromkeys(LOCKED_NS)
    while True:
        now_s = time.monotonic()
        for clock, off_ns in made.off_ns(made.first).items():
            if off_ns > LOCKED_NS[clock]:
                since_s[clock] = None
            elif since_s[clock] is None:
                since_s[clock] = now_s
        found = {clock: at_s - began_s for clock, at_s in since_s.items() if at_s is not None}
        if len(found) == len(LOCKED_NS) and now_s - began_s - max(found.values()) > SETTLED_S:
            return found
        assert now_s - began_s < DEADLINE_S, f"not locked: {made.off_ns(made.first)}"
        time.sleep(SAMPLE_S)


def _rest(
    made: Site, lock_s: dict[str, float], pids: dict[str, int], said: Callable[[], str]
) -> Figures:
    """Measure a locked clock, then let its grandmaster die."""
    before = {name: _cpu_s(pid) for name, pid in pids.items()}
    began_s = time.monotonic()
    offsets_ns: dict[str, list[int]] = {clock: [] for clock in LOCKED_NS}
    while time.monotonic() - began_s < STEADY_S:
        for clock, off_ns in made.off_ns(made.first).items():
            offsets_ns[clock].append(off_ns)
        time.sleep(SAMPLE_S)
    elapsed_s = time.monotonic() - began_s
    cpu = {name: 100 * (_cpu_s(pid) - before[name]) / elapsed_s for name, pid in pids.items()}
    made.left.processes[0].kill()
    killed_s = time.monotonic()
    transient_ns = 0
    while time.monotonic() - killed_s < FAILOVER_S:
        transient_ns = max(transient_ns, made.off_ns(made.second)["system clock"])
        time.sleep(SAMPLE_S)
    chosen_s, followed_s = _taken_over(said(), killed_s)
    return Figures(lock_s, offsets_ns, chosen_s, followed_s, transient_ns, cpu)


def _taken_over(said: str, killed_s: float) -> tuple[float, float]:
    """Return after how long the second port was first UNCALIBRATED, and then first SLAVE.

    The first of each: in a guest that is busy a master may count as lost again later on.
    """
    changes = [(float(at), after) for at, after in _CHANGE.findall(said) if float(at) > killed_s]
    chosen = next((at for at, after in changes if after in ("UNCALIBRATED", "SLAVE")), None)
    assert chosen is not None, f"no other grandmaster after {killed_s}: {changes}\n{said[-3000:]}"
    followed = next((at for at, after in changes if after == "SLAVE"), None)
    assert followed is not None, f"not followed after {killed_s}: {changes}"
    return chosen - killed_s, followed - killed_s


def _cpu_s(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS_PER_S  # utime, stime: proc(5)


def main() -> None:
    """Measure in the guest and print the figures as one line."""
    found: dict[str, list[Figures]] = {"ours": [], "plain": []}
    with tempfile.TemporaryDirectory() as name:
        for number in range(RUNS):
            print(f"run {number + 1}", flush=True)
            found["ours"].append(_with_visord(Path(name)))
            found["plain"].append(_by_hand(Path(name)))
    print(MARK + json.dumps(found), flush=True)


if __name__ == "__main__":
    main()
