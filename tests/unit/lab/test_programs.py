"""Command lines, ptp4l's configuration and a host's first settings."""

from pathlib import Path

import pytest

from chronovisor.clock.settings import SystemTime
from chronovisor.lab.programs import enter, host_settings, ptp4l_conf, world
from chronovisor.lab.spec import LabSpec, Rates, Transport
from chronovisor.lab.topology import Kind, nodes

HERE = Path("/run/lab/x")


def options(spec: LabSpec, name: str, release: tuple[int, ...] = (3, 1, 1)) -> dict[str, str]:
    node = next(node for node in nodes(spec) if node.name == name)
    head, *lines = ptp4l_conf(spec, node, HERE, release).splitlines()
    assert head == "[global]"
    return dict(line.split(" ", 1) for line in lines)


def test_no_clock_is_ever_adjusted() -> None:
    spec = LabSpec(grandmasters=8)
    for node in nodes(spec):
        if node.kind is not Kind.HOST:
            assert options(spec, node.name)["free_running"] == "1"
    assert host_settings(spec)["discipline"] == "monitor"


def test_nothing_runs_with_the_right_to_set_a_clock() -> None:
    for node in nodes(LabSpec()):
        argv = world(LabSpec(), node, HERE, "/usr/sbin").argv
        assert argv[: argv.index("setpriv") + 6] == (
            *("nsenter", f"--net=/run/netns/{node.namespace}", "--"),
            *("setpriv", "--bounding-set", "-sys_time", "--inh-caps", "-sys_time", "--"),
        )
    assert enter("ns", ("date",))[-1] == "date"


def test_programs_are_looked_for_where_they_were_found() -> None:
    for node in nodes(LabSpec()):
        assert world(LabSpec(), node, HERE, "/opt/linuxptp").env["PATH"].endswith(":/opt/linuxptp")


def test_a_later_grandmaster_is_better() -> None:
    spec = LabSpec(grandmasters=8)
    priorities = [int(options(spec, f"gm{number}")["priority1"]) for number in range(1, 9)]
    assert priorities == sorted(priorities, reverse=True)
    assert priorities[:2] == [127, 120]
    assert len(set(priorities)) == 8
    assert "priority1" not in options(spec, "switch1")


def test_switch_ports_alone_answer_peer_delay_and_never_ask() -> None:
    spec = LabSpec()
    assert options(spec, "gm1")["delay_mechanism"] == "E2E"
    switch = options(spec, "switch1")
    assert (switch["delay_mechanism"], switch["slaveOnly"]) == ("P2P", "1")
    assert int(switch["logMinPdelayReqInterval"]) > 20


@pytest.mark.parametrize(("release", "there"), [((3, 1, 1), False), ((4, 0), True), ((4, 4), True)])
def test_the_second_socket_is_moved_where_there_is_one(
    release: tuple[int, ...], there: bool
) -> None:
    assert ("uds_ro_address" in options(LabSpec(), "gm1", release)) is there


def test_rates_transport_and_domain_reach_everybody() -> None:
    spec = LabSpec(transport=Transport.ETHERNET, domain=24)
    assert options(spec, "gm1")["logSyncInterval"] == "-3"
    assert options(spec, "gm1")["network_transport"] == "L2"
    assert options(spec, "gm1")["domainNumber"] == "24"
    settings = SystemTime.model_validate(host_settings(spec))
    assert settings.ptp_config.domain == 24
    assert settings.ptp_config.port[0].network_transport == "L2"
    assert settings.options.ptp4l["logSyncInterval"] == -3


def test_default_rates_set_no_interval() -> None:
    spec = LabSpec(rates=Rates.DEFAULT)
    assert "logSyncInterval" not in options(spec, "gm1")
    assert SystemTime.model_validate(host_settings(spec)).options.ptp4l == {}


def test_a_change_of_the_lab_is_another_generation() -> None:
    first, other = LabSpec(), LabSpec(domain=1)
    generations = {
        world(spec, nodes(spec)[0], HERE, "/usr/sbin").generation for spec in (first, other)
    }
    assert len(generations) == 2
