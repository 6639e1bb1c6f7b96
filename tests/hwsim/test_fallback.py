"""PTP lost, NTP in its place, PTP back: one owner of the system clock at a time, and no step.

The NTP server's time is the grandmaster's own PHC, so it is right whatever the host's clock does,
and it lies when told to.
"""

import contextlib
import itertools
import json
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

import ntp_server
from chronovisor.errors import ChronovisorError
from hwsim import truth
from hwsim.conftest import MakeNamespace, Simulate
from hwsim.devices import Namespace, Nic, Port
from hwsim.heard import Event, Heard, heard_on
from hwsim.hosts import Host, host_in, settings
from hwsim.ptp import grandmaster
from hwsim.record import Recorder, Recording
from visords import short_directory, until

pytestmark = pytest.mark.long

NTP = "10.1.0.1"
LIE_S = 10.0
DEADLINE_S = 120.0

FASTEST_PPM = 600
"""A clock slewed at 500 ppm at most is slower than this; a step of more than the slack is not."""

SLACK_NS = 5_000
FAR_NS = 5_000_000
"""More than a fallback moves the clock: NTP's own noise in the guest, where packets are stamped by
programs that wait for a processor, with room."""

CALM = ("-4", "-E", *(f"--log{what}Interval=-1" for what in ("Announce", "Sync", "MinDelayReq")))
"""Two messages a second of each kind: the recorder, chronyd and its server want processors, too."""

LOOK_S = 1.0
"""How often visord is asked where nothing tells; it takes a tenth of a second of the guest."""

CLOSE_NS = {"hardware": 50_000, "software": 1_000_000}
"""How near PTP brings the clock before a test begins."""

RANDOM_KILLS = 3
"""How often visord is killed without looking in either direction: each time it starts anew, which
takes the guest ten seconds."""


@dataclass(frozen=True, slots=True)
class Site:
    """A grandmaster that can be taken away, an NTP server that can lie, and a host."""

    master: Port
    left: Namespace
    host: Host
    heard: Heard
    directory: Path
    lie: Path

    def master_up(self) -> None:
        """Start the grandmaster."""
        grandmaster(self.left, self.master, self.directory, *CALM)

    def master_down(self) -> int:
        """End the grandmaster as a crash does; return when, Unix time."""
        process = self.left.processes.pop()
        process.kill()
        process.wait()
        return time.time_ns()

    def close(self, stamps: str) -> None:
        """Wait until the clock really is near the grandmaster's, and stays so for a second."""
        expected = ("realtime", self.master.clock, -truth.UTC_OFFSET_NS)
        truth.until_within(CLOSE_NS[stamps], *expected, deadline_s=DEADLINE_S)

    def turn(self, owner: str) -> None:
        """Have this owner be the right one."""
        if owner == "ptp":
            self.master_up()
        else:
            self.master_down()

    def told(self, kind: str, since_ns: int, **wanted: object) -> Event:
        """Wait until visord has told this; show how it is if it does not."""
        try:
            return self.heard.until(kind, since_ns, DEADLINE_S, **wanted)
        except AssertionError:
            now = self.host.status()
            shown = {name: now[name] for name in ("state", "reason", "system_clock", "ntp")}
            print(json.dumps(shown, indent=1), self.host.log.read_text()[-2000:], sep="\n")
            for name in ("ptp4l", "chronyd"):
                print(f"--- {name}", *self.host.world(name)["last_lines"], sep="\n")
            raise

    def revive(self) -> None:
        """Start a visord that was killed."""
        assert self.host.process is not None
        self.host.process.wait()
        self.host.start()

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


BOTH = pytest.mark.parametrize("stamps", ["hardware", "software"])
HARDWARE = pytest.mark.parametrize("stamps", ["hardware"])


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
        truth.step(master.clock, truth.exact("realtime", master.clock) + truth.UTC_OFFSET_NS)
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
        heard = stack.enter_context(heard_on(base / "run" / "visord.sock"))
        host = stack.enter_context(host_in(base, right))
        site = Site(master, left, host, heard, tmp_path, lie)
        site.master_up()
        values = settings(
            port,
            ntp_config={"server": [{"address": NTP, "min_poll": 2, "max_poll": 3}]},
            fallback={"enabled": True, "after_s": 5, "return_after_s": 5},
        )
        values["ptp_config"]["port"][0]["time_stamping"] = stamps
        host.set_clock(values)
        site.owner("PTP owns the clock", owner="ptp", phase="following")
        site.close(stamps)
        until("NTP agrees", lambda: agreed(site), DEADLINE_S)
        yield site


def agreed(site: Site) -> bool:
    """Return whether chronyd follows its server and has the same time."""
    time.sleep(LOOK_S)
    ntp = site.host.status()["ntp"]
    return bool(ntp and ntp["available"] and abs(ntp["offset_ns"]) < FAR_NS)


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


def said(found: Recording, since: int, what: str) -> int:
    """Print what a phase did to the clock; return how many samples there are now."""
    rest = found.samples[since:]
    lasted_s = (rest[-1].raw_ns - rest[0].raw_ns) / 1e9
    print(f"{what}: {lasted_s:.1f} s, clock at most {found.worst_ns(since)} ns off the truth")
    return len(found.samples)


def parts(site: Site, began_ns: int, last: Event) -> None:
    """Print what happened when, up to an event, as visord stamped it."""
    before_ns = began_ns
    for event in site.heard.since(began_ns):
        if event.at_ns > last.at_ns:
            break
        took_s, since_s = (event.at_ns - before_ns) / 1e9, (event.at_ns - began_ns) / 1e9
        print(f"  {since_s:6.2f} s (+{took_s:5.2f}) {event}")
        before_ns = event.at_ns
    print(f"  load of the guest: {os.getloadavg()[0]:.1f} on {os.cpu_count()} processors")


def stay(seconds: float) -> None:
    """Let the clock run; what happens to it is recorded."""
    time.sleep(seconds)


@BOTH
def test_ntp_takes_over_and_ptp_returns_without_a_step(site: Site, stamps: str) -> None:
    with recorded(site) as recorder:
        stay(5)
        mark = said(recorder.now(), 0, "PTP")
        down_ns = site.master_down()
        taken = site.told("clock.owner", down_ns, owner="ntp", phase="fallback")
        assert taken.data["in_fallback_state"] is True
        steers = site.told("world.state", taken.at_ns, name="chronyd", state="running")
        follows = site.told("clock.ntp", steers.at_ns, available=True)
        print(
            f"PTP lost: decided after {(taken.at_ns - down_ns) / 1e9:.2f} s, chronyd steers after "
            f"{(steers.at_ns - down_ns) / 1e9:.2f} s, has its server's time after "
            f"{(follows.at_ns - down_ns) / 1e9:.2f} s"
        )
        parts(site, down_ns, follows)
        assert "-x" not in site.host.world("chronyd")["argv"]
        assert site.host.status()["in_fallback_state"] is True
        mark = said(recorder.now(), mark, "PTP lost until NTP is followed")
        stay(20)
        mark = said(recorder.now(), mark, "fallback")

        up_ns = time.time_ns()
        site.master_up()
        back = site.told("clock.owner", up_ns, owner="ntp", phase="returning")
        owned = site.told("clock.owner", back.at_ns, owner="ptp", phase="following")
        assert owned.data["in_fallback_state"] is False
        site.close(stamps)
        print("PTP back:")
        parts(site, up_ns, site.heard.events[-1])
        mark = said(recorder.now(), mark, "PTP back until the clock is close")
        stay(10)
        said(recorder.now(), mark, "PTP again")
    found = recorder.now()
    print(f"fastest {found.fastest_ppm():.1f} ppm over a second; seen: {sorted(found.writers)}")
    assert found.worst_ns() <= FAR_NS
    kinds = {writer.split()[0] for look in found.writers for writer in look}
    assert kinds == {"chronyd", "phc2sys" if stamps == "hardware" else "ptp4l"}


@HARDWARE
def test_a_server_that_lies_is_not_followed(site: Site) -> None:
    with recorded(site) as recorder:
        site.tell(LIE_S)
        until("chronyd believes the lie", lambda: lied_to(site), DEADLINE_S)
        site.master_down()
        now = until("NTP is refused", lambda: refused(site), DEADLINE_S)
        assert now["system_clock"]["owner"] == "ptp"
        assert now["system_clock"]["phase"] == "holdover"
        assert not now["in_fallback_state"]
        print(now["system_clock"]["reason"])
        truth_ns = time.time_ns()
        site.tell(0)
        taken = site.told("clock.owner", truth_ns, owner="ntp", phase="fallback")
        site.told("clock.ntp", taken.at_ns, available=True)
        stay(5)
        lie_ns = time.time_ns()
        site.tell(-LIE_S)
        left = site.told("clock.owner", lie_ns, owner="nobody", phase="holdover")
        print(f"left {(left.at_ns - lie_ns) / 1e9:.1f} s after the lie: {left.data['reason']}")
        stay(10)
    found = recorder.now()
    print(f"clock at most {found.worst_ns()} ns off the truth")
    assert found.worst_ns() <= FAR_NS


def lied_to(site: Site) -> bool:
    """Return whether chronyd says that the clock is off by about the lie."""
    time.sleep(LOOK_S)
    ntp = site.host.status()["ntp"]
    return abs(float(ntp["offset_ns"] or 0.0) if ntp else 0.0) > LIE_S * 1e9 / 2


def refused(site: Site) -> dict[str, Any] | None:
    """Return the status once NTP is not believed."""
    time.sleep(LOOK_S)
    now = site.host.status()
    return now if "not believed" in now["system_clock"]["reason"] else None


@HARDWARE
def test_visord_killed_at_each_action_of_the_switch_leaves_one_writer(site: Site) -> None:
    with recorded(site):
        for action in itertools.count(1):
            killed = [killed_at(site, action, owner) for owner in ("ntp", "ptp")]
            if not any(killed):
                break


def killed_at(site: Site, number: int, owner: str) -> bool:
    """Turn to this owner, kill visord as soon as it tells of its n-th action; return whether."""
    seen = 0
    assert site.host.process is not None
    process = site.host.process

    def kill(event: Event) -> None:
        nonlocal seen
        seen += event.kind == "clock.action"
        if event.kind == "clock.action" and seen == number:
            process.kill()

    site.heard.upon = kill
    site.turn(owner)
    until("killed, or switched", lambda: seen >= number or switched(site, owner), DEADLINE_S)
    site.heard.upon = lambda _: None
    killed = seen >= number
    if killed:
        site.revive()
    until_switched(site, owner)
    print(f"to {owner}: " + (f"killed at action {number}" if killed else f"{seen} actions"))
    return killed


def switched(site: Site, owner: str) -> bool:
    """Return whether this owner has the clock and nothing is left to be done."""
    time.sleep(LOOK_S)
    with contextlib.suppress(ChronovisorError, OSError):
        done: bool = site.host.status()["system_clock"]["owner"] == owner
        return done and not site.host.client.get("/v1/clock/plan")
    return False


def until_switched(site: Site, owner: str) -> None:
    """Wait until it is."""
    until(f"{owner} owns the clock", lambda: switched(site, owner), DEADLINE_S)


@HARDWARE
def test_visord_killed_again_and_again_leaves_one_writer(site: Site) -> None:
    with recorded(site):
        for owner in ("ntp", "ptp"):
            site.turn(owner)
            for _ in range(RANDOM_KILLS):
                assert site.host.process is not None
                site.host.process.kill()
                site.revive()
            until_switched(site, owner)
