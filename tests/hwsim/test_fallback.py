"""PTP lost, NTP in its place, PTP back: one owner of the system clock at a time, and no step.

The NTP server's time is the grandmaster's own PHC, so it is right whatever the host's clock does,
and it lies when told to.
"""

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

import ntp_server
from chronovisor.errors import ChronovisorError
from hwsim import truth
from hwsim.conftest import MakeNamespace, Simulate
from hwsim.devices import Namespace, Nic, Port
from hwsim.hosts import Host, host_in, settings
from hwsim.ptp import UDP_E2E, grandmaster
from hwsim.record import Recorder, Recording
from visords import short_directory, until

NTP = "10.1.0.1"
BEHIND_NS = 3 * 10**9
LIE_S = 10.0
DEADLINE_S = 180.0

FASTEST_PPM = 1000
"""A slewed clock is slower than this; a step of anything above the slack is not."""

SLACK_NS = 5_000
FAR_NS = 5_000_000
"""More than a fallback moves the clock: NTP's own noise in the guest, where packets are stamped by
programs that wait for a processor, with room."""

LOOK_S = 0.5
"""How often visord is asked: more often, and in the guest it does little else."""


CLOSE_NS = {"hardware": 50_000, "software": 1_000_000}
"""How near PTP brings the clock before a test begins."""


@dataclass(frozen=True, slots=True)
class Site:
    """A grandmaster that can be taken away, an NTP server that can lie, and a host."""

    master: Port
    left: Namespace
    host: Host
    directory: Path
    lie: Path

    def master_up(self) -> None:
        """Start the grandmaster."""
        grandmaster(self.left, self.master, self.directory, *UDP_E2E)

    def master_down(self) -> None:
        """End the grandmaster as a crash does."""
        process = self.left.processes.pop()
        process.kill()
        process.wait()

    def tell(self, lie_s: float) -> None:
        """Have the NTP server add this to the truth."""
        beside = self.lie.with_suffix(".new")
        beside.write_text(f"{lie_s}")
        beside.replace(self.lie)

    def owner(self, what: str, **wanted: object) -> dict[str, Any]:
        """Wait until the system clock's owner is so; return the status."""

        def so() -> dict[str, Any] | None:
            with contextlib.suppress(ChronovisorError, OSError):
                now = self.host.status()
                owned = now["system_clock"] | {"ntp": bool(now["ntp"] and now["ntp"]["available"])}
                if all(owned[key] == value for key, value in wanted.items()):
                    return now
            time.sleep(LOOK_S)
            return None

        return until(what, so, DEADLINE_S)


@pytest.fixture(params=["hardware", "software"])
def stamps(request: pytest.FixtureRequest) -> str:
    found: str = request.param
    return found


@pytest.fixture
def site(
    simulate: Simulate, namespace: MakeNamespace, tmp_path: Path, stamps: str
) -> Iterator[Site]:
    with short_directory() as base, contextlib.ExitStack() as stack:
        master, port, far, near = simulate(
            Nic(), Nic(error_ppb=9_000), Nic(phc=None), Nic(phc=None)
        )
        left, right, third = namespace(), namespace(), namespace()
        left.take(master, "10.0.0.1/24")
        right.take(port, "10.0.0.2/24")
        third.take(far, f"{NTP}/24")
        right.take(near, "10.1.0.2/24")
        truth.step(master.clock, truth.UTC_OFFSET_NS + BEHIND_NS)
        lie = tmp_path / "lie"
        stack.enter_context(
            ntp_server.running(
                NTP,
                clock=f"/dev/{master.clock}",
                lie=lie,
                offset_ns=-truth.UTC_OFFSET_NS,
                inside=tuple(third.argv()),
            )
        )
        host = stack.enter_context(host_in(base, right))
        site = Site(master, left, host, tmp_path, lie)
        site.master_up()
        values = settings(
            port,
            ntp_config={"server": [{"address": NTP, "min_poll": 2, "max_poll": 3}]},
            fallback={"enabled": True, "after_s": 5, "return_after_s": 5},
        )
        values["ptp_config"]["port"][0]["time_stamping"] = stamps
        host.set_clock(values)
        site.owner("PTP owns the clock", owner="ptp", phase="following", ntp=True)
        truth.until_within(CLOSE_NS[stamps], "realtime", master.clock, -truth.UTC_OFFSET_NS)
        yield site


@contextlib.contextmanager
def recorded(site: Site) -> Iterator[Recorder]:
    """Record the truth and the writers; in the end there was no step and one writer at most."""
    recorder = Recorder(site.directory)
    with recorder.running(site.master.clock, -truth.UTC_OFFSET_NS):
        yield recorder
    found = recorder.now()
    assert len(found.samples) > 100
    assert found.looks > 50
    together = [one for one in found.writers if len(one) > 1]
    assert not together, f"writers of one clock at the same time: {together}"
    jumps = found.jumps(FASTEST_PPM, SLACK_NS)
    assert not jumps, f"steps of the system clock (elapsed ns, change ns): {jumps[:5]}"


def said(found: Recording, since: int, what: str, began_s: float) -> int:
    """Print what a phase did to the clock; return how many samples there are now."""
    worst = found.worst_ns(since)
    print(f"{what}: {time.monotonic() - began_s:.1f} s, clock at most {worst} ns off the truth")
    return len(found.samples)


def stay(seconds: float) -> None:
    """Let the clock run; what happens to it is recorded."""
    time.sleep(seconds)


def test_ntp_takes_over_and_ptp_returns_without_a_step(site: Site, stamps: str) -> None:
    with recorded(site) as recorder:
        stay(5)
        mark = said(recorder.now(), 0, "PTP", time.monotonic() - 5)
        began_s, down_s = time.monotonic(), time.time()
        site.master_down()
        now = site.owner("NTP owns the clock", owner="ntp", phase="fallback")
        assert now["in_fallback_state"] is True
        since_s = datetime.fromisoformat(now["system_clock"]["since"]).timestamp()
        print(f"decided after {since_s - down_s:.1f} s: {now['system_clock']['reason']}")
        chronyd = until("chronyd steers", lambda: steering(site))
        print(f"chronyd steers after {chronyd['started_at_s'] - down_s:.1f} s")
        site.owner("chronyd follows its server", owner="ntp", ntp=True)
        mark = said(recorder.now(), mark, "PTP lost until NTP is followed", began_s)
        began_s = time.monotonic()
        stay(30)
        mark = said(recorder.now(), mark, "fallback", began_s)

        began_s = time.monotonic()
        site.master_up()
        site.owner("PTP is back", phase="returning", owner="ntp")
        now = site.owner("PTP owns the clock", owner="ptp", phase="following")
        assert now["in_fallback_state"] is False
        mark = said(recorder.now(), mark, "PTP back until it owns the clock", began_s)
        stay(20)
        said(recorder.now(), mark, "PTP again", began_s)
    found = recorder.now()
    print(f"fastest {found.fastest_ppm():.1f} ppm over a second; seen: {sorted(found.writers)}")
    assert found.worst_ns() <= FAR_NS
    kinds = {writer.split()[0] for look in found.writers for writer in look}
    assert kinds == {"chronyd", "phc2sys" if stamps == "hardware" else "ptp4l"}


def test_a_server_that_lies_is_not_followed(site: Site) -> None:
    with recorded(site) as recorder:
        site.tell(LIE_S)
        until("chronyd believes the lie", lambda: abs(offset_ns(site)) > LIE_S * 1e9 / 2, 90)
        site.master_down()
        now = until(
            "NTP is refused",
            lambda: (
                now
                if "not believed" in (now := site.host.status())["system_clock"]["reason"]
                else None
            ),
            60,
        )
        assert now["system_clock"]["owner"] == "ptp"
        assert now["system_clock"]["phase"] == "holdover"
        assert not now["in_fallback_state"]
        print(now["system_clock"]["reason"])
        site.tell(0)
        site.owner("NTP tells the truth and is followed", owner="ntp", ntp=True)
        stay(5)
        site.tell(-LIE_S)
        site.owner("NTP lies again and is left", owner="nobody", phase="holdover")
        stay(10)
    found = recorder.now()
    print(f"clock at most {found.worst_ns()} ns off the truth")
    assert found.worst_ns() <= FAR_NS


def steering(site: Site) -> dict[str, Any] | None:
    """Return the world chronyd once it runs and may set the clock."""
    world = site.host.world("chronyd")
    return world if world["state"] == "running" and "-x" not in world["argv"] else None


def offset_ns(site: Site) -> float:
    """Return how far chronyd says that the clock is off."""
    ntp = site.host.status()["ntp"]
    return float(ntp["offset_ns"] or 0.0) if ntp else 0.0


@contextlib.contextmanager
def killed_at(site: Site, action: int) -> Iterator[None]:
    """Have visord killed as soon as it announces its n-th action from now on, and started again."""
    words = ["-c", _KILLER, str(site.host.socket), str(action), str(_pid(site.host))]
    process = subprocess.Popen([sys.executable, *words], stdout=subprocess.PIPE)
    assert process.stdout
    process.stdout.readline()
    try:
        yield
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


_KILLER = """
import os, signal, sys
from pathlib import Path
from chronovisor.cli.client import Client
seen = 0
for kind, event in Client(Path(sys.argv[1])).stream("/v1/events", kind="clock.action"):
    if kind == "hello":
        print("ready", flush=True)
        continue
    seen += 1
    if seen == int(sys.argv[2]):
        os.kill(int(sys.argv[3]), signal.SIGKILL)
        break
"""


def _pid(host: Host) -> int:
    """Return visord's own pid, below the commands that brought it into its namespace."""
    found: int = host.client.get("/v1/health")["pid"]
    return found


@pytest.mark.parametrize("action", [1, 2, 3, 4])
def test_visord_killed_at_any_step_of_the_switch_leaves_one_writer(site: Site, action: int) -> None:
    with recorded(site):
        for there, what in ((False, "ntp"), (True, "ptp")):
            with killed_at(site, action):
                site.master_up() if there else site.master_down()
                switched_or_dead(site, what)
            if site.host.process is not None and site.host.process.poll() is not None:
                site.host.process = None
                site.host.start()
            site.owner(f"{what} owns the clock in the end", owner=what)
            until("what runs is what is wanted", lambda: not site.host.client.get("/v1/clock/plan"))


def switched_or_dead(site: Site, owner: str) -> None:
    """Wait until visord has been killed, or the switch is done without that many actions."""

    def so() -> bool:
        assert site.host.process is not None
        if site.host.process.poll() is not None:
            return True
        with contextlib.suppress(ChronovisorError, OSError):
            done = site.host.status()["system_clock"]["owner"] == owner
            return done and not site.host.client.get("/v1/clock/plan")
        return False

    until("visord is killed or the switch is done", so, DEADLINE_S)


def test_visord_killed_again_and_again_leaves_one_writer(site: Site) -> None:
    with recorded(site):
        for there, what in ((False, "ntp"), (True, "ptp")):
            site.master_up() if there else site.master_down()
            for _ in range(5):
                os.kill(_pid(site.host), signal.SIGKILL)
                assert site.host.process is not None
                site.host.process.wait()
                site.host.start()
            site.owner(f"{what} owns the clock in the end", owner=what)
