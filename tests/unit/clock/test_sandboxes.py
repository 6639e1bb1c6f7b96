"""Which sandbox each daemon of the clock is given: tables of settings and what follows."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from chronovisor.clock.catalogue import KNOWN, catalogue
from chronovisor.clock.containment import possible_without_device
from chronovisor.clock.plan import (
    Observed,
    RestartDaemon,
    StopDaemon,
    Wanted,
    WantedDaemon,
    plan,
)
from chronovisor.clock.sandboxes import Host, contained
from chronovisor.clock.settings import Containment, SystemTime
from chronovisor.worlds import Nic, OwnNetwork, Sandbox, WorldSpec

RUN = Path("/run/chronovisor/clock")
HOST = Host(RUN, phcs={"ens1": 3, "ens2": 4}, chrony_user="_chrony")
PHC2SYS = ("phc2sys", "-f", "x", "-s", "ens1", "-c", "CLOCK_REALTIME", "-w")
AUTOMATIC = ("phc2sys", "-f", "x", "-a", "-r")
SOCKETS = ((f"{RUN}/phc2sys", "/var/run"),)


def port(index: int = 0, kind: str = "virtual_nic", **more: Any) -> dict[str, Any]:
    return {"index": index, "device": f"ens{index + 1}", "device_type": kind, **more}


def settings(*ports: dict[str, Any], **more: Any) -> SystemTime:
    return SystemTime.model_validate({"ptp_config": {"port": ports or (port(),)}, **more})


def daemon(
    name: str, argv: tuple[str, ...] = (), generation: str = "g", **more: Any
) -> WantedDaemon:
    spec = WorldSpec(name, argv or (name,), generation=generation)
    return WantedDaemon(spec, RUN / f"{name}.conf", "", {}, **more)


def made(one: WantedDaemon, given: SystemTime, host: Host = HOST) -> WantedDaemon:
    (found,) = contained(Wanted((one,)), given, catalogue(KNOWN[0]), host).daemons
    return found


def box(one: WantedDaemon, given: SystemTime, host: Host = HOST) -> Sandbox:
    sandbox = made(one, given, host).spec.sandbox
    assert sandbox is not None
    return sandbox


UDP, RAW, NIC, CLOCK = "CAP_NET_BIND_SERVICE", "CAP_NET_RAW", "CAP_NET_ADMIN", "CAP_SYS_TIME"
PASSED = "pci_passthru_nic"


@pytest.mark.parametrize(
    ("name", "given", "steers", "expected"),
    [
        ("ptp4l", settings(), False, (UDP,)),
        ("ptp4l", settings(), True, (UDP, CLOCK)),
        ("ptp4l", settings(port(network_transport="UDPv6")), False, (UDP,)),
        ("ptp4l", settings(port(network_transport="L2")), False, (RAW,)),
        ("ptp4l", settings(port(), port(1, network_transport="L2")), False, (UDP, RAW)),
        ("ptp4l", settings(port(time_stamping="hardware")), False, (UDP, NIC)),
        ("ptp4l", settings(options={"ptp4l": {"socket_priority": 6}}), False, (UDP,)),
        ("ptp4l", settings(options={"ptp4l": {"socket_priority": 7}}), False, (UDP, NIC)),
        ("phc2sys", settings(port(time_stamping="hardware")), True, (CLOCK,)),
        ("phc2sys", settings(port(time_stamping="hardware")), False, ()),
        ("ptpd", settings(), False, (UDP,)),
        ("ptpd", settings(port(network_transport="L2")), True, (RAW, CLOCK)),
        ("chronyd", settings(), False, ()),
        ("chronyd", settings(), True, (CLOCK,)),
        ("chronyd", settings(options={"chrony": {"port": 123}}), False, (UDP,)),
        ("chronyd", settings(options={"chrony": {"port": 0}}), False, ()),
        ("chronyd", settings(options={"chrony": {"hwtimestamp": "*"}}), False, (NIC,)),
    ],
)
def test_capabilities(
    name: str, given: SystemTime, steers: bool, expected: tuple[str, ...]
) -> None:
    assert box(daemon(name, steers=steers), given).capabilities == expected


@pytest.mark.parametrize(
    ("name", "argv", "given", "expected"),
    [
        ("ptp4l", (), settings(), (None, None)),
        ("ptp4l", (), settings(port(0, PASSED)), (OwnNetwork((Nic("ens1"),)), None)),
        (  # a process has one network
            "ptp4l",
            (),
            settings(port(0, PASSED), port(1)),
            (None, None),
        ),
        ("ptpd", (), settings(port(0, PASSED)), (OwnNetwork((Nic("ens1"),)), None)),
        ("phc2sys", PHC2SYS, settings(port(0, PASSED)), (OwnNetwork(), None)),
        ("phc2sys", PHC2SYS, settings(), (OwnNetwork(), None)),
        ("phc2sys", AUTOMATIC, settings(), (None, None)),
        ("phc2sys", AUTOMATIC, settings(port(0, PASSED)), (None, "ptp4l")),
        ("chronyd", (), settings(port(0, PASSED)), (None, None)),
    ],
)
def test_networks(
    name: str,
    argv: tuple[str, ...],
    given: SystemTime,
    expected: tuple[OwnNetwork | None, str | None],
) -> None:
    found = box(daemon(name, argv), given)
    assert (found.network, found.network_of) == expected


def test_addresses_go_into_the_container_and_nowhere_else() -> None:
    ip_config = {"dhcp": False, "ip_address": "192.0.2.9", "subnet_mask": "255.255.255.0"}
    given = settings(port(0, PASSED, ip_config=ip_config))
    assigned = (("ens1", given.ptp_config.port[0].ip_config.interfaces()[0]),)
    goal = Wanted((daemon("ptp4l"),), assigned)
    found = contained(goal, given, catalogue(KNOWN[0]), HOST)
    sandbox = found.daemons[0].spec.sandbox
    assert sandbox is not None
    assert sandbox.network == OwnNetwork((Nic("ens1", ("192.0.2.9/24",)),))
    assert found.addresses == ()
    outside = given.model_copy(update={"sandbox": Containment.NONE})
    assert contained(goal, outside, catalogue(KNOWN[0]), HOST) == goal


def test_clocks_files_and_sockets() -> None:
    hardware = settings(port(0, PASSED, time_stamping="hardware"))
    speaker = box(daemon("ptp4l"), hardware)
    assert (speaker.devices, speaker.writable) == (("/dev/ptp3",), (str(RUN),))
    carrier = made(daemon("phc2sys", PHC2SYS), hardware)
    assert carrier.spec.argv[4] == "/dev/ptp3"  # for it sees no network device
    assert carrier.spec.sandbox is not None
    assert carrier.spec.sandbox.devices == ("/dev/ptp3",)
    assert carrier.spec.sandbox.writable == ()
    assert speaker.mapped == carrier.spec.sandbox.mapped == SOCKETS
    assert box(daemon("ptp4l"), settings()).devices == ()


def test_chronyd_is_no_root() -> None:
    given = settings(
        ntp_config={"server": ["192.0.2.1"], "key_file": "/etc/chrony/keys"},
        options={"chrony": {"refclock": "PHC /dev/ptp9:extpps poll 2"}},
    )
    found = made(daemon("chronyd", ("chronyd", "-d", "-f", "x")), given)
    assert found.spec.user == "_chrony"
    assert found.spec.argv == ("chronyd", "-U", "-u", "_chrony", "-d", "-f", "x")
    sandbox = found.spec.sandbox
    assert sandbox is not None
    assert sandbox.writable == (f"{RUN}/chrony",)
    assert sandbox.read_only == (f"{RUN}/chronyd.conf", "/etc/chrony/keys")
    assert sandbox.devices == ("/dev/ptp9",)
    alone = made(daemon("chronyd"), given, replace(HOST, chrony_user=None))
    assert (alone.spec.user, alone.spec.argv) == (None, ("chronyd",))


def test_a_program_elsewhere_is_seen() -> None:
    host = replace(HOST, programs={"ptp4l": "/opt/linuxptp/ptp4l"})
    assert box(daemon("ptp4l"), settings(), host).read_only == ("/opt/linuxptp/ptp4l",)


def test_a_generation_tells_what_differs() -> None:
    inside, outside = made(daemon("ptp4l"), settings()), daemon("ptp4l")
    harder = made(daemon("ptp4l", steers=True), settings())
    seen = {
        running: _reason(inside, running)
        for running in ("g", harder.spec.generation, "h", inside.spec.generation)
    }
    assert list(seen.values()) == [
        "it reads this only at its start: sandbox none -> crx",
        "it reads this only at its start: its sandbox",
        "it reads this only at its start: its command line or the order of its ports",
        "",
    ]
    assert "sandbox crx -> none" in _reason(outside, inside.spec.generation)


def _reason(wanted: WantedDaemon, running: str) -> str:
    observed = Observed({"ptp4l": running}, {wanted.file: ""}, {}, frozenset())
    return "".join(action.reason for action in plan(Wanted((wanted,)), observed))


def test_what_lost_its_nic_ends_where_it_should_restart() -> None:
    lent = RestartDaemon(made(daemon("ptp4l"), settings(port(0, PASSED))).spec, "changed")
    assert possible_without_device(lent) == StopDaemon("ptp4l", "its device is gone, and changed")
    stays = RestartDaemon(made(daemon("ptp4l"), settings()).spec, "changed")
    assert possible_without_device(stays) is stays
