"""Unicast masters and roles: what settings mean, what is refused, what ptp4l is given."""

from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from chronovisor.clock.catalogue import Release, catalogue, first_refusal
from chronovisor.clock.linuxptp import Paths, Rendered, check_settings, classify, render_ptp4l
from chronovisor.clock.linuxptp.engine import Linuxptp
from chronovisor.clock.ptp_settings import UnicastMasterTable, transport_of
from chronovisor.clock.settings import SystemTime

OLD = Release(3, 1, 1)
PATHS = Paths(Path("/run/chronovisor/clock"))
MASTERS = {"masters": ["192.0.2.1", "192.0.2.2"]}


def host(*ports: dict[str, Any], **more: Any) -> SystemTime:
    config = more.pop("ptp_config", {})
    listed = [{"index": i, "device": f"eth{i}", **port} for i, port in enumerate(ports)]
    return SystemTime.model_validate(
        {"enabled": True, "ptp_config": {"port": listed, **config}, **more}
    )


def rendered(wanted: SystemTime) -> Rendered:
    assert check_settings(wanted, catalogue(OLD)) == []
    return render_ptp4l(wanted, OLD, PATHS)


@pytest.mark.parametrize(
    ("address", "transport"),
    [
        ("192.0.2.1", "UDPv4"),
        ("2001:db8::1", "UDPv6"),
        ("fe80::1", "UDPv6"),
        ("02:00:5E:00:53:01", "L2"),
        ("01:1B:19:00:00:00", ""),
        ("224.0.1.129", ""),
        ("0.0.0.0", ""),
        ("ff0e::181", ""),
        ("fe80::1%eth0", ""),
        ("192.0.2", ""),
        ("192.0.2.1 ", ""),
        ("grandmaster.example", ""),
        ("2:0:5E:0:53:1", ""),
        ("", ""),
    ],
)
def test_an_address_tells_its_transport(address: str, transport: str) -> None:
    assert transport_of(address) == transport


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ({"masters": []}, "at least 1"),
        ({"masters": ["192.0.2.1", "192.0.2.1"]}, "192.0.2.1 is there more than once"),
        ({"masters": ["02:00:5e:00:53:0A", "02:00:5E:00:53:0a"]}, "more than once"),
        ({"masters": ["gm.example"]}, "'gm.example' is not the IPv4, IPv6 or MAC address"),
        ({"masters": ["192.0.2.1\n[global]"]}, "is not the IPv4"),
        ({**MASTERS, "peer_address": "x"}, "'x' is not the IPv4"),
        ({**MASTERS, "table_id": 0}, "greater than or equal to 1"),
        ({**MASTERS, "log_query_interval": 17}, "less than or equal to 16"),
    ],
)
def test_tables_that_cannot_be(value: dict[str, Any], said: str) -> None:
    with pytest.raises(ValidationError) as caught:
        UnicastMasterTable.model_validate(value)
    assert said in str(caught.value)


def test_tables_stand_at_the_end_and_ports_name_them() -> None:
    table = {**MASTERS, "log_query_interval": 2, "table_id": 7}
    other = {"masters": ["2001:db8::1"]}
    text = rendered(
        host(
            {"unicast_master_table": table},
            {"unicast_master_table": other, "network_transport": "UDPv6"},
        )
    ).text
    assert text.endswith(
        "[eth0]\ndelay_mechanism E2E\nnetwork_transport UDPv4\nunicast_master_table 7\n"
        "\n[eth1]\ndelay_mechanism E2E\nnetwork_transport UDPv6\nunicast_master_table 2\n"
        "\n[unicast_master_table]\ntable_id 7\nlogQueryInterval 2\n"
        "UDPv4 192.0.2.1\nUDPv4 192.0.2.2\n"
        "\n[unicast_master_table]\ntable_id 2\nlogQueryInterval 0\nUDPv6 2001:db8::1\n"
    )
    assert first_refusal(text.encode(), catalogue(OLD)) is None


def test_a_peer_is_written_before_the_masters() -> None:
    table = {"masters": ["192.0.2.1"], "peer_address": "192.0.2.9"}
    text = rendered(host({"unicast_master_table": table, "delay_mechanism": "P2P"})).text
    assert "logQueryInterval 0\npeer_address 192.0.2.9\nUDPv4 192.0.2.1\n" in text


def test_another_master_is_a_change_that_restarts() -> None:
    old = rendered(host({"unicast_master_table": {"masters": ["192.0.2.1"]}}))
    new = rendered(host({"unicast_master_table": MASTERS}))
    assert old.generation != new.generation
    (change,) = classify(old, new)
    assert change.section == "unicast_master_table 1"
    assert change.new == "logQueryInterval 0; UDPv4 192.0.2.1; UDPv4 192.0.2.2"


@pytest.mark.parametrize(
    ("wanted", "said"),
    [
        (
            host({"unicast_master_table": {"masters": ["192.0.2.1", "2001:db8::1"]}}),
            [
                "ptp_config.port[0].unicast_master_table.masters[1]: PTP port 0 (eth0): master "
                "2001:db8::1 is reached over UDPv6, the port's network_transport is UDPv4"
            ],
        ),
        (
            host({"unicast_master_table": MASTERS, "options": {"network_transport": "l2"}}),
            [
                "ptp_config.port[0].unicast_master_table.masters[0]: PTP port 0 (eth0): master "
                "192.0.2.1 is reached over UDPv4",
                "ptp_config.port[0].unicast_master_table.masters[1]",
            ],
        ),
        (
            host({"unicast_master_table": {**MASTERS, "peer_address": "192.0.2.9"}}),
            [
                "ptp_config.port[0].unicast_master_table.peer_address: PTP port 0 (eth0): "
                "peer_address is asked only with delay_mechanism P2P, not E2E"
            ],
        ),
        (
            host({}, ptp_config={"role": "boundary"}),
            ["ptp_config.role: a boundary clock needs two ports or more"],
        ),
        (
            host({}, {}, ptp_config={"role": "boundary"}, discipline="monitor"),
            ["discipline: a boundary clock hands on the time of its own clock"],
        ),
        (
            host({}, {}, ptp_config={"role": "boundary"}, options={"ptp4l": {"slaveOnly": 1}}),
            ["options.ptp4l.slaveOnly: slaveOnly 1 keeps a boundary clock from serving"],
        ),
    ],
)
def test_what_is_wrong_is_named(wanted: SystemTime, said: list[str]) -> None:
    problems = [str(problem) for problem in check_settings(wanted, catalogue(OLD))]
    assert len(problems) == len(said), problems
    for problem, start in zip(problems, said, strict=True):
        assert problem.startswith(start)


@pytest.mark.parametrize("first", [{"table_id": 2}, {"table_id": 5}])
def test_a_table_belongs_to_one_port(first: dict[str, int]) -> None:
    second = {**MASTERS, "table_id": 5} if first["table_id"] == 5 else MASTERS  # index 1: table 2
    with pytest.raises(ValidationError, match=r"table_id [25] is used by more than one port"):
        host({"unicast_master_table": {**MASTERS, **first}}, {"unicast_master_table": second})


def test_a_boundary_clock_may_serve() -> None:
    wanted = host({}, {}, ptp_config={"role": "boundary"})
    assert "\nslaveOnly 0\n" in rendered(wanted).text
    assert "\nslaveOnly 1\n" in rendered(host({}, {})).text


@pytest.mark.parametrize(
    ("release", "masters", "warned"),
    [(OLD, 2, True), (OLD, 1, False), (Release(4, 0), 2, False)],
)
def test_what_an_old_ptp4l_makes_of_two_masters_is_a_notice(
    release: Release, masters: int, *, warned: bool
) -> None:
    engine = Linuxptp(PATHS.directory)
    engine.release = release
    wanted = host({"unicast_master_table": {"masters": MASTERS["masters"][:masters]}})
    assert any("better unicast master" in one for one in engine.notices(wanted)) == warned
