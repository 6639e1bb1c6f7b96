"""Who runs and who steers, by owner; and that a clock which has been right is not stepped."""

from dataclasses import replace
from pathlib import Path

import pytest

from chronovisor.clock.arbiter import Owner
from chronovisor.clock.catalogue import Release
from chronovisor.clock.chrony.daemon import Paths
from chronovisor.clock.engine import Engine
from chronovisor.clock.plan import Wanted, WantedDaemon
from chronovisor.clock.ptpd.utc import OPTION
from chronovisor.clock.reading import TimeProperties
from chronovisor.clock.settings import SystemTime
from chronovisor.clock.wanted import LOCK, wanted

HERE = Path("/run/chronovisor/clock")


def goal(
    owner: Owner,
    *,
    stamps: str = "hardware",
    may_step: bool = True,
    master_time: TimeProperties | None = None,
    **more: object,
) -> Wanted:
    """Return what runs under an owner."""
    engine = Engine(HERE)
    engine.linuxptp.release = Release(3, 1, 1)
    settings = SystemTime.model_validate(
        {
            "enabled": True,
            "ptp_config": {"port": [{"index": 0, "device": "eth0", "time_stamping": stamps}]},
            "ntp_config": {"server": ["10.0.0.1"]},
            "fallback": {"enabled": True},
            **more,
        }
    )
    paths = Paths(HERE)
    return wanted(settings, engine, paths, owner, may_step=may_step, master_time=master_time)


CASES = [
    (Owner.PTP, "hardware", ["ptp4l", "phc2sys", "chronyd"], ["phc2sys"]),
    (Owner.NTP, "hardware", ["ptp4l", "chronyd"], ["chronyd"]),
    (Owner.NOBODY, "hardware", ["ptp4l", "chronyd"], []),
    (Owner.PTP, "software", ["ptp4l", "chronyd"], ["ptp4l"]),
    (Owner.NTP, "software", ["ptp4l", "chronyd"], ["chronyd"]),
    (Owner.NOBODY, "software", ["ptp4l", "chronyd"], []),
]


@pytest.mark.parametrize(("owner", "stamps", "runs", "steers"), CASES)
def test_who_runs_and_who_steers(
    owner: Owner, stamps: str, runs: list[str], steers: list[str]
) -> None:
    found = goal(owner, stamps=stamps).daemons
    assert [one.spec.name for one in found] == runs
    assert [one.spec.name for one in found if one.steers] == steers
    assert [one.spec.name for one in found if one.spec.lock == LOCK] == steers
    chronyd = found[-1]
    assert ("-x" in chronyd.spec.argv) is (owner is not Owner.NTP)
    ptp4l = found[0]
    free = stamps == "software" and owner is not Owner.PTP
    assert f"free_running {int(free)}\n" in ptp4l.text


@pytest.mark.parametrize("stamps", ["hardware", "software"])
def test_a_clock_that_has_been_right_is_not_stepped_and_nothing_restarts(stamps: str) -> None:
    first = {one.spec.name: one for one in goal(Owner.PTP, stamps=stamps).daemons}
    later = {one.spec.name: one for one in goal(Owner.PTP, stamps=stamps, may_step=False).daemons}
    (steering,) = [name for name, one in later.items() if one.steers]
    for name, one in later.items():
        assert one.spec.generation == first[name].spec.generation
        assert ("first_step_threshold 0.0\n" in one.text) is (name == steering)
        assert ("max_frequency 500000\n" in one.text) is (name == steering)
    assert all("max_frequency" not in one.text for one in first.values())
    assert all("first_step_threshold" not in one.text for one in first.values())


def test_ptpd_sets_the_clock_once_it_is_known_how_its_master_counts() -> None:
    def ptpd(*, may_step: bool = True, ptp_timescale: bool | None = None) -> WantedDaemon:
        known = TimeProperties(utc_offset_s=37, ptp_timescale=ptp_timescale)
        found = goal(
            Owner.PTP, stamps="software", may_step=may_step, master_time=known, engine="ptpd"
        )
        return found.daemons[0]

    unknown, ahead, utc = ptpd(), ptpd(ptp_timescale=True), ptpd(ptp_timescale=False)
    assert [one.steers for one in (unknown, ahead, utc)] == [False, True, True]
    assert [one.spec.lock for one in (unknown, ahead, utc)] == [None, LOCK, LOCK]
    lines = [f"{OPTION} = {word}\n" for word in ("Y", "Y", "N")]
    assert [line in one.text for line, one in zip(lines, (unknown, ahead, utc), strict=True)] == [
        True
    ] * 3
    later = ptpd(may_step=False, ptp_timescale=False)
    assert later.spec.generation == utc.spec.generation
    assert "clock:no_reset = 1\n" in later.text
    assert "clock:step_startup = 0\n" in later.text
    assert f"{OPTION} = N\n" in later.text


def test_an_option_of_the_operator_about_steps_stands() -> None:
    options = {"phc2sys": {"first_step_threshold": 0.5}}
    for may_step in (True, False):
        phc2sys = goal(Owner.PTP, may_step=may_step, options=options).daemons[1]
        assert "first_step_threshold 0.5\n" in phc2sys.text


def test_with_protocol_ntp_chronyd_runs_alone() -> None:
    (chronyd,) = goal(Owner.NTP, protocol="ntp", fallback={}).daemons
    assert chronyd.steers
    (chronyd,) = goal(Owner.NOBODY, protocol="ntp", fallback={}, discipline="monitor").daemons
    assert not chronyd.steers


def test_without_fallback_there_is_no_chronyd() -> None:
    assert [one.spec.name for one in goal(Owner.PTP, fallback={}).daemons] == ["ptp4l", "phc2sys"]


def test_the_rate_is_handed_to_a_chronyd_that_steers_alone() -> None:
    assert goal(Owner.NTP).daemons[-1].rate_file == Paths(HERE).drift
    assert goal(Owner.PTP).daemons[-1].rate_file is None


def test_disabled_nothing_runs() -> None:
    assert goal(Owner.NOBODY, enabled=False) == replace(Wanted())
