"""PTP lost, NTP in its place, PTP back: one owner of the system clock at a time, and no step."""

import contextlib
import itertools
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from chronovisor.errors import ChronovisorError
from hwsim import truth
from hwsim.conftest import MakeNamespace, Simulate
from hwsim.fallback import (
    DEADLINE_S,
    FAR_NS,
    LOOK_S,
    NICS,
    Site,
    fallback_site,
    lose_and_return,
    stay,
)
from hwsim.heard import Event
from hwsim.record import Recorder
from visords import until

pytestmark = pytest.mark.long

LIE_S = 10.0

FASTEST_PPM = 600
"""A clock slewed at 500 ppm at most is slower than this; a step of more than the slack is not."""

SLACK_NS = 5_000

RANDOM_KILLS = 3
"""How often visord is killed without looking in either direction: each time it starts anew, which
takes the guest ten seconds."""

BOTH = pytest.mark.parametrize("stamps", ["hardware", "software"])
HARDWARE = pytest.mark.parametrize("stamps", ["hardware"])


@pytest.fixture
def site(
    simulate: Simulate, namespace: MakeNamespace, tmp_path: Path, stamps: str
) -> Iterator[Site]:
    ports, spaces = simulate(*NICS), [namespace() for _ in range(3)]
    with fallback_site(ports, spaces, tmp_path, stamps) as made:
        yield made


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


@BOTH
def test_ntp_takes_over_and_ptp_returns_without_a_step(site: Site, stamps: str) -> None:
    with recorded(site) as recorder:
        print(lose_and_return(site, recorder, stamps))
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
