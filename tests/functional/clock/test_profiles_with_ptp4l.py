"""Every profile, and unicast masters, with the installed ptp4l: it starts, and it measures."""

import subprocess
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest

from chronovisor.clock.catalogue import Catalogue, Release, catalogue
from chronovisor.clock.linuxptp import Paths, check_settings, render_ptp4l
from chronovisor.clock.linuxptp.options import ptp4l_options
from chronovisor.clock.profile_report import row
from chronovisor.clock.profiles import ProfileName, profile, profiles
from chronovisor.clock.settings import SystemTime
from ptp4l_sites import Run, Site, site

NEAR_NS = 2_000_000
"""All clocks are one; software stamps on a busy machine may be late."""

NAMES = [one.name for one in profiles()]
QUICK = {
    "logSyncInterval": -3,
    "logAnnounceInterval": -2,
    "logMinDelayReqInterval": -3,
    "announceReceiptTimeout": 2,
}


@pytest.fixture(scope="module")
def known() -> Catalogue:
    said = subprocess.run(["ptp4l", "-v"], capture_output=True, text=True, check=True)
    return catalogue(Release.parse(said.stdout))


@pytest.fixture
def two() -> Iterator[Site]:
    with site(2) as made:
        yield made


class Clocks:
    """Clocks of a test with their files."""

    def __init__(self, place: Site, known: Catalogue, base: Path) -> None:
        self.place, self.known, self.base = place, known, base

    def run(self, node: int, settings: SystemTime, *more: str) -> Run:
        """Run a clock; a line for each Sync message."""
        directory = self.base / str(node)
        directory.mkdir(exist_ok=True)
        rendered = render_ptp4l(settings, self.known.release, Paths(directory))
        rendered.path.write_text(rendered.text)
        whole = ptp4l_options(settings, self.known).whole
        port = settings.ptp_config.port[0].options
        interval = port.get("logSyncInterval") or (
            whole["logSyncInterval"].text if "logSyncInterval" in whole else 0
        )
        return self.place.run(node, (*rendered.argv, f"--summary_interval={interval}", *more))

    def serve(self, node: int, settings: SystemTime, *more: str) -> Run:
        """Run a grandmaster: the same settings, but it may serve, and is the best by far."""
        client_only = self.known.canonical("slaveOnly")
        run = self.run(
            node, settings, f"--{client_only}=0", "--gmCapable=1", "--clockClass=6", *more
        )
        run.first_with("assuming the grand master role")
        return run


@pytest.fixture
def clocks(known: Catalogue, two: Site) -> Iterator[Clocks]:
    with TemporaryDirectory(prefix="cv-", dir="/tmp") as directory:  # short: it holds sockets
        yield Clocks(two, known, Path(directory))


def settings(
    port: dict[str, Any], ptp4l: dict[str, Any] | None = None, **config: Any
) -> SystemTime:
    return SystemTime.model_validate(
        {
            "enabled": True,
            "ptp_config": {"port": [{"index": 0, "device": "eth0", **port}], **config},
            "options": {"ptp4l": ptp4l or {}},
        }
    )


def following(name: ProfileName, known: Catalogue) -> tuple[SystemTime, SystemTime]:
    """Return the settings of a host and of its grandmaster, with what this place asks for."""
    config: dict[str, Any] = {"profile": name.value}
    if row(profile(name), known).problems:
        config["domain"] = 93  # C37.238's own needs 4.0; this is that of 61850-9-3
    # A hardware stamp's link delay is below 800 ns, that of a veth is not.
    ptp4l = {"neighborPropDelayThresh": 50_000_000} if name is ProfileName.IEEE_802_1AS else {}
    unicast = profile(name).unicast == "required"
    port = {"unicast_master_table": {"masters": ["192.0.2.1"]}} if unicast else {}
    return settings(port, ptp4l, **config), settings({}, ptp4l, **config)


@pytest.mark.parametrize("name", NAMES, ids=str)
def test_a_host_measures_its_grandmaster_under_a_profile(
    name: ProfileName, known: Catalogue, clocks: Clocks
) -> None:
    host, server = following(name, known)
    assert check_settings(host, known) == []
    listens = ("--unicast_listen=1",) if profile(name).unicast == "required" else ()
    clocks.serve(1, server, *listens)
    assert abs(clocks.run(2, host).offset_ns()) < NEAR_NS


@pytest.mark.parametrize("name", [name for name in NAMES if profile(name).boundary], ids=str)
def test_a_boundary_clock_starts_under_a_profile(
    name: ProfileName, known: Catalogue, clocks: Clocks
) -> None:
    host, _ = following(name, known)
    document = host.model_dump(exclude_unset=True)
    config = document["ptp_config"]
    second = {"index": 1, "device": "lo"}
    document["ptp_config"] = {**config, "role": "boundary", "port": [*config["port"], second]}
    boundary = SystemTime.model_validate(document)
    assert check_settings(boundary, known) == []
    run = clocks.run(2, boundary)
    for number in (1, 2):
        assert "FAULTY" not in run.first_with(f"port {number}: ", f"port {number} (")


def masters(*addresses: str, **table: Any) -> dict[str, Any]:
    return {"unicast_master_table": {"masters": list(addresses), **table}}


@pytest.mark.parametrize(
    ("transport", "address"), [("UDPv4", "192.0.2.1"), ("UDPv6", "2001:db8::1")]
)
def test_time_comes_by_unicast(
    transport: str, address: str, known: Catalogue, clocks: Clocks
) -> None:
    server = settings({"network_transport": transport, "options": QUICK})
    alone = ("--unicast_listen=1", "--inhibit_multicast_service=1")  # it announces to nobody else
    clocks.serve(1, server, *alone)
    host = settings({"network_transport": transport, "options": QUICK, **masters(address)})
    assert check_settings(host, known) == []
    assert abs(clocks.run(2, host).offset_ns()) < NEAR_NS


def test_without_its_table_a_host_gets_nothing_from_such_a_master(clocks: Clocks) -> None:
    """The test above would pass by multicast otherwise."""
    alone = ("--unicast_listen=1", "--inhibit_multicast_service=1")
    clocks.serve(1, settings({"options": QUICK}), *alone)
    run = clocks.run(2, settings({"options": QUICK}))
    run.first_with("INITIALIZING to LISTENING")
    # The time is up in which it would have heard several Announce messages
    assert "local clock" in run.first_with("selected", "new foreign master")


def test_the_second_master_of_the_table_takes_over(known: Catalogue) -> None:
    alone = ("--unicast_listen=1", "--inhibit_multicast_service=1")
    with site(3) as place, TemporaryDirectory(prefix="cv-", dir="/tmp") as directory:
        clocks = Clocks(place, known, Path(directory))
        first = clocks.serve(1, settings({"options": QUICK}), *alone, "--priority1=1")
        own = "".join(first.seen).split("selected local clock ")[1].split()[0]
        host = settings({"options": QUICK, **masters("192.0.2.1", "192.0.2.2")})
        run = clocks.run(3, host)
        run.first_with(f"selected best master clock {own}")
        assert abs(run.offset_ns()) < NEAR_NS
        # Only now: ptp4l 3.1.1 that hears the worse one first may never ask the better one for Sync
        clocks.serve(2, settings({"options": QUICK}), *alone, "--priority1=2")
        first.end()
        while own in run.first_with("selected best master clock"):
            pass
        assert abs(run.offset_ns()) < NEAR_NS
