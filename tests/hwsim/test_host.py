"""A host of Chronovisor keeps time with a NIC's clock: visord, ptp4l and phc2sys, end to end.

Driven through `visorctl` alone and judged by the truth alone.
"""

import signal
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from hwsim import truth
from hwsim.conftest import MakeNamespace, Simulate
from hwsim.devices import Nic, Port
from hwsim.hosts import Host, host_in, kill, settings
from hwsim.ptp import UDP_E2E, grandmaster
from visords import short_directory

LIMIT_NS = 10_000
"""System clock to grandmaster: what ptp4l and phc2sys reach under TCG together, with room."""

BEHIND_NS = 7 * 10**9
"""How far the system clock is off at first."""


@dataclass(frozen=True, slots=True)
class Site:
    """A grandmaster, and a host that is locked to it."""

    master: Port
    port: Port
    host: Host

    def agree(self) -> None:
        """Wait until PHC and system clock really are the grandmaster's, and stay so."""
        expected = {self.port.clock: 0, "realtime": -truth.UTC_OFFSET_NS}
        truth.agree(LIMIT_NS, expected, self.master.clock)


@pytest.fixture
def site(simulate: Simulate, namespace: MakeNamespace, tmp_path: Path) -> Iterator[Site]:
    master, port = simulate(Nic(), Nic(error_ppb=15_000, driver="ice", device=0x1593))
    left, right = namespace(), namespace()
    left.take(master, "10.0.0.1/24")
    right.take(port, "10.0.0.2/24")
    for end in (master, port):
        end.do(delay_ns=2_000)
    truth.step(master.clock, truth.UTC_OFFSET_NS + BEHIND_NS)
    grandmaster(left, master, tmp_path, *UDP_E2E)
    with short_directory() as base, host_in(base, right) as host:
        host.set_clock(settings(port))
        host.until_locked()
        yield Site(master, port, host)


def test_the_clock_becomes_locked_and_stays_so_whatever_is_killed(site: Site) -> None:
    site.agree()
    now = site.host.clock()
    assert now["state"] == "locked", now["reason"]

    phc2sys = site.host.world("phc2sys")
    assert phc2sys["state"] == "running"
    kill(phc2sys["pid"])
    assert site.host.until_restarted("phc2sys", phc2sys["pid"])["restarts"] == 1
    site.host.until_locked()
    site.agree()

    ptp4l = site.host.world("ptp4l")
    kill(ptp4l["pid"])
    site.host.until_restarted("ptp4l", ptp4l["pid"])
    site.host.until_locked()
    site.agree()

    before = [site.host.world(name)["pid"] for name in ("ptp4l", "phc2sys")]
    site.host.stop(signal.SIGKILL)
    assert truth.worst("realtime", site.master.clock, -truth.UTC_OFFSET_NS) <= LIMIT_NS
    site.host.start()
    site.host.until_locked()
    worlds = [site.host.world(name) for name in ("ptp4l", "phc2sys")]
    assert [world["pid"] for world in worlds] == before
    assert all(world["adopted"] for world in worlds)
    site.agree()
