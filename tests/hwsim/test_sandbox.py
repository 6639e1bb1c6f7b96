"""Hardware stamps, a NIC's clock and the system clock, all from containers: judged by the truth."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from hwsim import truth
from hwsim.conftest import MakeNamespace, Simulate
from hwsim.devices import Namespace, Nic, Port
from hwsim.hosts import Host, host_in, kill, settings
from hwsim.ptp import UDP_E2E, grandmaster
from visords import short_directory, until

LIMIT_NS = 10_000
"""System clock to grandmaster: what ptp4l and phc2sys reach under TCG together, with room."""

ADDRESS = "10.0.0.2/24"

DEADLINE_S = 600.0
"""For containers in an emulated machine, each of which takes seconds."""


@dataclass(frozen=True, slots=True)
class Site:
    """A grandmaster, and a host of NICs with clocks of their own; the first is cabled to it."""

    master: Port
    ports: tuple[Port, ...]
    inside: Namespace
    host: Host

    def lock(self) -> None:
        """Have the daemons run in containers, until all clocks are the grandmaster's."""
        self.host.set_clock(settings(*self.ports, sandbox="crx"))
        self.agree()

    def agree(self) -> None:
        """Wait until the clock is said to be locked, and all really are right."""
        self.host.until_locked(DEADLINE_S)
        expected = {port.clock: 0 for port in self.ports} | {"realtime": -truth.UTC_OFFSET_NS}
        truth.agree(LIMIT_NS, expected, self.master.clock)

    def containers(self) -> dict[str, dict[str, Any]]:
        """Return what `visorctl crx ps` knows, by name."""
        return {one["name"]: one for one in self.host.client.get("/v1/crx")}

    def place(self, port: Port) -> str | None:
        """Return whose network a NIC is in, None while there is none of its name."""
        rows = self.host.client.get("/v1/clock/devices")
        return next((row["place"] for row in rows if row["name"] == port.name), None)


@pytest.fixture
def site(
    request: pytest.FixtureRequest, simulate: Simulate, namespace: MakeNamespace, tmp_path: Path
) -> Iterator[Site]:
    """Return a site whose host has as many NICs as the test asks for."""
    errors_ppb = [15_000 - 20_000 * number for number in range(request.param)]
    pairs = [(Nic(), Nic(error, driver="ice", device=0x1593)) for error in errors_ppb]
    made = simulate(*(nic for pair in pairs for nic in pair))
    master, ports = made[0], tuple(made[1::2])
    left, right = namespace(), namespace()
    left.take(master, "10.0.0.1/24")
    for number, one in enumerate(ports):
        right.take(one, f"10.0.{number}.2/24")
    for end in (master, ports[0]):
        end.do(delay_ns=2_000)
    truth.step(master.clock, truth.UTC_OFFSET_NS + 7 * 10**9)
    grandmaster(left, master, tmp_path, *UDP_E2E)
    with short_directory() as base, host_in(base, right) as host:
        yield Site(master, ports, right, host)


@pytest.mark.parametrize("site", [1], indirect=True)
def test_ptp4l_and_phc2sys_lock_from_their_containers(site: Site) -> None:
    site.lock()
    found = site.containers()
    assert {name: set(one["capabilities"]) for name, one in found.items()} == {
        "ptp4l": {"CAP_NET_BIND_SERVICE", "CAP_NET_ADMIN"},
        "phc2sys": {"CAP_SYS_TIME"},
    }
    assert "net" in found["ptp4l"]["namespaces"]
    assert site.place(site.ports[0]) == "container ptp4l"


@pytest.mark.long
@pytest.mark.parametrize("site", [2], indirect=True)
def test_phc2sys_looks_up_several_clocks_in_the_network_of_ptp4l(site: Site) -> None:
    site.lock()
    assert [site.place(port) for port in site.ports] == ["container ptp4l"] * 2
    ptp4l, phc2sys = (
        Path(f"/proc/{site.host.world(name)['pid']}/ns/net").readlink()
        for name in ("ptp4l", "phc2sys")
    )
    assert ptp4l == phc2sys


@pytest.mark.long
@pytest.mark.parametrize("site", [1], indirect=True)
def test_killed_daemons_are_back_in_containers_of_their_own(site: Site) -> None:
    site.lock()
    for name in ("phc2sys", "ptp4l"):
        pid = site.host.world(name)["pid"]
        kill(pid)
        site.host.until_restarted(name, pid)
        site.agree()
    assert site.place(site.ports[0]) == "container ptp4l"


@pytest.mark.long
@pytest.mark.parametrize("site", [1], indirect=True)
def test_a_nic_that_comes_back_goes_back_into_its_container(site: Site) -> None:
    site.lock()
    (port,) = site.ports
    before = {name: site.host.world(name)["pid"] for name in ("ptp4l", "phc2sys")}
    port.unplug()
    until("the loss is seen", lambda: site.host.clock()["state"] != "locked")
    port.replug()
    site.inside.take(port, ADDRESS)
    for name, pid in before.items():
        site.host.until_restarted(name, pid)
    site.agree()
    assert site.place(port) == "container ptp4l"
