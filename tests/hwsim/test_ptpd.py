"""ptpd steers the system clock, hands it over to linuxptp and back, or leaves it alone."""

import asyncio
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from chronovisor.clock.ptpd import utc
from grandmasters import announce
from hwsim import truth
from hwsim.conftest import MakeNamespace, Simulate
from hwsim.devices import Nic, Port
from hwsim.hosts import Host, host_in, kill, settings
from hwsim.ptp import UDP_E2E, grandmaster
from hwsim.record import Recorder
from visords import short_directory, until

pytestmark = pytest.mark.long

LIMIT_NS = 5_000_000
"""System clock to grandmaster with time stamps of programs that wait for a processor of the guest,
itself a program of a busy machine: 2 ms were seen."""

BEHIND_NS = 3 * 10**9
DEADLINE_S = 240.0
LOOK_S = 2.0
"""How often visord is asked; more often, and the guest does little else."""

FASTEST_PPM, SLACK_NS = 600, 5_000
"""A clock slewed at 500 ppm at most is slower; a step of more than the slack is not."""

SLEWS_PPM = 300
"""No clock is so fast that is not slewed."""


@dataclass(frozen=True, slots=True)
class Site:
    """A grandmaster, and a host whose engine is ptpd."""

    master: Port
    host: Host
    socket: Path

    def agree(self, who: str, *, ahead_ns: int = truth.UTC_OFFSET_NS) -> None:
        """Wait until the system clock really is the grandmaster's, and stays so.

        `ahead_ns` is how far that one is ahead of UTC.
        """
        expected = ("realtime", self.master.clock, -ahead_ns)
        taken_s = truth.until_within(LIMIT_NS, *expected, deadline_s=DEADLINE_S)
        worst_ns = truth.worst(*expected, for_s=5.0)
        print(f"{who}: agreed after {taken_s:.0f} s, then within {worst_ns} ns")
        assert worst_ns <= LIMIT_NS

    def steers(self, *, takes_off: bool) -> None:
        """Wait until ptpd sets the clock, told to take the UTC offset off or not to."""
        word = utc.argument(takes_off=takes_off)

        def told() -> bool:
            argv = self.host.world("ptpd")["argv"]
            return word in argv and "-n" not in argv

        until(f"ptpd steers with {word}", told, DEADLINE_S)

    def engine(self, name: str) -> None:
        """Choose an engine and wait until its offsets are good."""
        self.host.set_clock({"engine": name})

        def measures() -> bool:
            time.sleep(LOOK_S)
            now = self.host.status()
            return now["state"] in ("tracking", "locked") and now["engine"]["name"] == name

        until(f"{name} measures", measures, DEADLINE_S)


@pytest.fixture
def site(simulate: Simulate, namespace: MakeNamespace, tmp_path: Path) -> Iterator[Site]:
    master, port = simulate(Nic(), Nic(phc=None))
    left, right = namespace(), namespace()
    left.take(master, "10.0.0.1/24")
    right.take(port, "10.0.0.2/24")
    truth.step(master.clock, truth.UTC_OFFSET_NS + BEHIND_NS)
    grandmaster(left, master, tmp_path, *UDP_E2E)
    with short_directory() as base, host_in(base, right) as host:
        values = settings(port, engine="ptpd")
        values["ptp_config"]["port"][0]["time_stamping"] = "software"
        host.set_clock(values)
        yield Site(master, host, tmp_path / "gm.sock")


def test_ptpd_sets_the_clock_and_comes_back(site: Site) -> None:
    site.agree("ptpd")
    now = site.host.clock()
    assert now["engine"]["name"] == "ptpd"
    assert now["system_clock"]["owner"] == "ptp"
    kill(site.host.world("ptpd")["pid"])
    site.agree("ptpd after a kill")


def test_engines_take_over_from_each_other_without_a_step(site: Site, tmp_path: Path) -> None:
    site.agree("ptpd")
    recorder = Recorder(tmp_path)
    with recorder.running(site.master.clock, -truth.UTC_OFFSET_NS):
        for engine in ("linuxptp", "ptpd"):
            site.engine(engine)
            site.agree(f"{engine}, taking over")
    found = recorder.now()
    print(f"clock at most {found.worst_ns()} ns off, fastest {found.fastest_ppm():.1f} ppm")
    assert found.worst_ns() <= LIMIT_NS
    assert not [one for one in found.writers if len(one) > 1], "two writers of one clock"
    assert {writer.split()[0] for look in found.writers for writer in look} == {"ptp4l", "ptpd"}
    jumps = found.jumps(FASTEST_PPM, SLACK_NS)
    assert not jumps, f"steps of the system clock (elapsed ns, change ns): {jumps[:5]}"


def test_a_master_that_changes_its_timescale_moves_no_clock(site: Site, tmp_path: Path) -> None:
    """Its clock goes from TAI to UTC and back, and it says so with its next Announce."""
    site.agree("ptpd")
    recorder = Recorder(tmp_path)
    with recorder.running("raw", 0):
        for step_ns, ahead_ns in ((-truth.UTC_OFFSET_NS, 0), (truth.UTC_OFFSET_NS,) * 2):
            truth.step(site.master.clock, step_ns)
            asyncio.run(announce(site.socket, ptp_timescale=ahead_ns > 0))
            site.steers(takes_off=ahead_ns > 0)
            site.agree(f"ptpd, its master {ahead_ns} ns ahead of UTC", ahead_ns=ahead_ns)
    found = recorder.now()
    print(f"fastest {found.fastest_ppm():.1f} ppm against raw time")
    jumps = found.jumps(FASTEST_PPM, SLACK_NS)
    assert not jumps, f"steps of the system clock (elapsed ns, change ns): {jumps[:5]}"


def test_a_clock_that_has_been_right_is_not_stepped_after_its_master(
    site: Site, tmp_path: Path
) -> None:
    """Its master's clock jumps and stays there; after its minute ptpd follows, at 500 ppm."""
    site.agree("ptpd")

    def told() -> bool:
        return "SIGHUP received" in site.host.do("world", "logs", "ptpd", "--lines", "1000")

    until("ptpd has read that it may not step", told, DEADLINE_S)
    truth.step(site.master.clock, BEHIND_NS)
    recorder = Recorder(tmp_path)
    with recorder.running("raw", 0):
        until("it slews", lambda: recorder.now().fastest_ppm() > SLEWS_PPM, DEADLINE_S)
    found = recorder.now()
    print(f"fastest {found.fastest_ppm():.1f} ppm against raw time")
    jumps = found.jumps(FASTEST_PPM, SLACK_NS)
    assert not jumps, f"steps of the system clock (elapsed ns, change ns): {jumps[:5]}"


def test_a_monitoring_ptpd_leaves_the_clock_alone(site: Site) -> None:
    site.agree("ptpd")
    site.host.set_clock({"discipline": "monitor"})
    until("it measures only", lambda: "-n" in site.host.world("ptpd")["argv"], DEADLINE_S)
    truth.step("realtime", BEHIND_NS)
    off_ns = truth.exact("realtime", site.master.clock) + truth.UTC_OFFSET_NS

    def seen() -> bool:
        offset = site.host.clock()["offset"]
        return offset is not None and abs(offset["last_ns"] - BEHIND_NS) < BEHIND_NS / 10

    until("the offset is seen", seen, DEADLINE_S)
    still_ns = truth.exact("realtime", site.master.clock) + truth.UTC_OFFSET_NS
    assert abs(still_ns - off_ns) < BEHIND_NS / 10
