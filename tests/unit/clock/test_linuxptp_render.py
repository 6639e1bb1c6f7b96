import re
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chronovisor.clock.catalogue import (
    KNOWN,
    OptionType,
    Release,
    Scope,
    catalogue,
    first_refusal,
)
from chronovisor.clock.linuxptp import (
    Change,
    Effect,
    Paths,
    Rendered,
    check_settings,
    classify,
    management_sdo_id,
    needs_phc2sys,
    render,
    render_phc2sys,
    render_ptp4l,
)
from chronovisor.clock.ptp_settings import PtpRole
from chronovisor.clock.settings import (
    DelayMechanism,
    Discipline,
    Options,
    PassthroughOptions,
    PtpConfig,
    PtpPort,
    SystemTime,
    TimeStamping,
    Transport,
)
from chronovisor.errors import InvalidInput

OLD, NEW = Release(3, 1, 1), Release(4, 4)
PATHS = Paths(Path("/run/chronovisor/clock"))
HARDWARE = TimeStamping.HARDWARE


def host(
    *ports: PtpPort,
    ptp4l: Options | None = None,
    phc2sys: Options | None = None,
    discipline: Discipline = Discipline.SYSTEM_CLOCK,
    domain: int = 0,
    calibration_delay_ns: int = 0,
    role: PtpRole = PtpRole.CLIENT,
) -> SystemTime:
    return SystemTime(
        enabled=True,
        discipline=discipline,
        ptp_config=PtpConfig(domain=domain, role=role, port=ports or (port(0),)),
        calibration_delay_ns=calibration_delay_ns,
        options=PassthroughOptions(ptp4l=ptp4l or {}, phc2sys=phc2sys or {}),
    )


def port(index: int, stamping: TimeStamping = TimeStamping.SOFTWARE, **options: str) -> PtpPort:
    return port_with(index, options, stamping)


def port_with(
    index: int, options: dict[str, str], stamping: TimeStamping = TimeStamping.SOFTWARE
) -> PtpPort:
    device = f"eth{index}"
    return PtpPort(index=index, device=device, time_stamping=stamping, options=dict(options))


def sections(rendered: Rendered) -> dict[str, dict[str, str]]:
    found: dict[str, dict[str, str]] = {}
    for line in rendered.text.splitlines():
        if line.startswith("["):
            section = found.setdefault(line.strip("[]"), {})
        elif line and not line.startswith("#"):
            name, value = line.split(" ", 1)
            section[name] = value
    return found


def ptp4l_of(wanted: SystemTime, release: Release = OLD) -> dict[str, dict[str, str]]:
    assert check_settings(wanted, catalogue(release)) == []
    return sections(render_ptp4l(wanted, release, PATHS))


def test_the_whole_file_of_a_host_that_watches() -> None:
    wanted = SystemTime(
        enabled=True,
        discipline=Discipline.MONITOR,
        ptp_config=PtpConfig(
            domain=24,
            port=(
                PtpPort(
                    index=0,
                    device="eth0",
                    network_transport=Transport.ETHERNET,
                    delay_mechanism=DelayMechanism.E2E,
                    options={"logSyncInterval": -3, "delay_mechanism": "p2p"},
                ),
            ),
        ),
        calibration_delay_ns=-120,
        log_level=5,
        options=PassthroughOptions(ptp4l={"clockClass": "0x87", "userDescription": "rack 4; u 7"}),
    )
    assert render_ptp4l(wanted, OLD, PATHS).text == (
        "# Written by Chronovisor from host/system/system_time; changes here are lost.\n"
        "\n"
        "[global]\n"
        "clockClass 135\n"
        "delayAsymmetry -120\n"
        "delay_mechanism P2P\n"
        "domainNumber 24\n"
        "free_running 1\n"
        "logging_level 5\n"
        "priority1 128\n"
        "priority2 128\n"
        "slaveOnly 1\n"
        "summary_interval 6\n"
        "time_stamping software\n"
        "uds_address /run/chronovisor/clock/ptp4l\n"
        "use_syslog 0\n"
        "userDescription rack 4; u 7\n"
        "verbose 1\n"
        "\n"
        "[eth0]\n"
        "delay_mechanism P2P\n"
        "logSyncInterval -3\n"
        "network_transport L2\n"
    )


def test_the_release_decides_names_and_sockets() -> None:
    old, new = ptp4l_of(host(), OLD)["global"], ptp4l_of(host(), NEW)["global"]
    assert old["slaveOnly"] == new["clientOnly"] == "1"
    assert "clientOnly" not in old
    assert "slaveOnly" not in new
    assert "uds_ro_address" not in old
    assert new["uds_ro_address"] == "/run/chronovisor/clock/ptp4l-ro"


@pytest.mark.parametrize("release", [OLD, NEW], ids=str)
@pytest.mark.parametrize(
    ("wanted", "client_only"),
    [
        (host(), "1"),
        (host(port(0), port(1)), "1"),
        (host(ptp4l={"slaveOnly": 0}), "0"),
        (host(ptp4l={"masterOnly": 1}), "0"),
        (host(port(0), port(1, masterOnly="1")), "0"),
        (host(port(0), port(1, masterOnly="0")), "1"),
        (host(ptp4l={"gmCapable": 0}), "0"),
    ],
)
def test_a_host_never_serves_unless_told_to(
    wanted: SystemTime, client_only: str, release: Release
) -> None:
    found = ptp4l_of(wanted, release)["global"]
    assert found[catalogue(release).canonical("slaveOnly")] == client_only


def test_calibration_delay_is_the_asymmetry_of_every_port_but_those_with_their_own() -> None:
    found = ptp4l_of(host(port(0), port(1, delayAsymmetry="7"), calibration_delay_ns=50))
    assert found["global"]["delayAsymmetry"] == "50"
    assert "delayAsymmetry" not in found["eth0"]
    assert found["eth1"]["delayAsymmetry"] == "7"


def test_ports_stand_in_the_order_of_their_index_and_unused_slots_nowhere() -> None:
    none = PtpPort.model_validate({"index": 1, "device_type": "none"})
    text = render_ptp4l(host(port(2), none, port(0)), OLD, PATHS).text
    assert re.findall(r"^\[.*\]$", text, re.MULTILINE) == ["[global]", "[eth0]", "[eth2]"]


def test_time_stamping_of_a_port_goes_to_the_whole() -> None:
    found = ptp4l_of(host(port(0, HARDWARE, time_stamping="OneStep")))
    assert found["global"]["time_stamping"] == "onestep"
    assert "time_stamping" not in found["eth0"]


def test_several_nics_with_clocks_of_their_own_are_allowed() -> None:
    assert (
        ptp4l_of(host(port(0, HARDWARE), port(1, HARDWARE)))["global"]["boundary_clock_jbod"] == "1"
    )
    assert "boundary_clock_jbod" not in ptp4l_of(host(port(0), port(1)))["global"]


@pytest.mark.parametrize(
    ("wanted", "needed"),
    [
        (host(), False),
        (host(port(0, HARDWARE)), True),
        (host(port(0, HARDWARE), discipline=Discipline.MONITOR), False),
        (host(port(0, HARDWARE, time_stamping="software")), False),
        (host(port(0, time_stamping="p2p1step")), True),
    ],
)
def test_phc2sys_runs_where_a_nic_has_the_time(wanted: SystemTime, needed: bool) -> None:
    assert needs_phc2sys(wanted, catalogue(OLD)) == needed
    programs = [rendered.program for rendered in render(wanted, OLD, PATHS)]
    assert programs == (["ptp4l", "phc2sys"] if needed else ["ptp4l"])


def phc2sys_of(wanted: SystemTime) -> Rendered:
    assert check_settings(wanted, catalogue(OLD)) == []
    rendered = render_phc2sys(wanted, OLD, PATHS)
    assert rendered is not None
    return rendered


def test_phc2sys_of_one_port() -> None:
    options: Options = {"R": 8, "pi_integral_const": 0.1, "pi_proportional_const": "0.5", "N": 7}
    options |= {"step_threshold": 1, "kernel_leap": False}
    wanted = host(port(0, HARDWARE), domain=24, phc2sys=options, ptp4l={"transportSpecific": "0x1"})
    rendered = phc2sys_of(wanted)
    assert " ".join(rendered.argv) == (
        "phc2sys -f /run/chronovisor/clock/phc2sys.conf -z /run/chronovisor/clock/ptp4l -n 24 "
        "-s eth0 -c CLOCK_REALTIME -w -N 7 -R 8.0 -I 0.1 -P 0.5 -u 64"
    )
    assert sections(rendered) == {
        "global": {
            "kernel_leap": "0",
            "logging_level": "6",
            "step_threshold": "1.0",
            "transportSpecific": "1",
            "use_syslog": "0",
            "verbose": "1",
        }
    }
    assert management_sdo_id(wanted, catalogue(OLD)) == 1


def test_phc2sys_of_several_ports_follows_ptp4l() -> None:
    argv = phc2sys_of(host(port(0, HARDWARE), port(1, HARDWARE), phc2sys={"u": 1})).argv
    assert argv[-4:] == ("-a", "-r", "-u", "1")
    assert "-s" not in argv


def test_nothing_runs_when_disabled() -> None:
    assert render(host().model_copy(update={"enabled": False}), OLD, PATHS) == ()


def changes(old: SystemTime, new: SystemTime) -> tuple[Change, ...]:
    one, other = render_ptp4l(old, OLD, PATHS), render_ptp4l(new, OLD, PATHS)
    found = classify(one, other)
    restarts = any(change.effect is Effect.RESTART for change in found)
    assert restarts == (one.generation != other.generation)
    assert bool(found) == (one.text != other.text or one.argv != other.argv)
    return found


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        (host(), host(), []),
        (
            host(),
            host(ptp4l={"priority1": 5}),
            [Change("global", "priority1", None, "5", Effect.LIVE)],
        ),
        (
            host(ptp4l={"priority2": 9}),
            host(),
            [Change("global", "priority2", "9", None, Effect.LIVE)],
        ),
        (
            host(),
            host(domain=4),
            [Change("global", "domainNumber", None, "4", Effect.RESTART)],
        ),
        (
            host(),
            host(port(0, logSyncInterval="-3")),
            [Change("eth0", "logSyncInterval", None, "-3", Effect.RESTART)],
        ),
        (host(ptp4l={"clockClass": 135}), host(ptp4l={"clockClass": "0x87"}), []),
        (
            host(),
            host(ptp4l={"clockClass": 248}),
            [Change("file", "form", None, None, Effect.NOTHING)],
        ),
        (
            host(PtpPort(index=0, device="a"), PtpPort(index=1, device="b")),
            host(PtpPort(index=1, device="a"), PtpPort(index=0, device="b")),
            [Change("file", "order of ports", None, None, Effect.RESTART)],
        ),
    ],
)
def test_a_change_takes_what_it_must(
    old: SystemTime, new: SystemTime, expected: list[Change]
) -> None:
    assert list(changes(old, new)) == expected


def test_live_options_are_there_with_their_defaults() -> None:
    assert render_ptp4l(host(), OLD, PATHS).live == {"priority1": 128, "priority2": 128}
    assert render_ptp4l(host(ptp4l={"priority1": "0x7"}), OLD, PATHS).live["priority1"] == 7


def test_another_command_line_is_a_restart() -> None:
    old, new = (phc2sys_of(host(port(0, HARDWARE), phc2sys={"R": rate})) for rate in (1, 8))
    (change,) = classify(old, new)
    assert (change.section, change.old, change.new) == ("argv", "1.0", "8.0")
    assert change.effect is Effect.RESTART


@pytest.mark.parametrize(
    ("directory", "said"),
    [
        ("/run/" + "d" * 100, "a socket takes 107"),
        ("/run/\n[global]", "cannot be written in a configuration file"),
    ],
)
def test_a_run_directory_that_cannot_be_used(directory: str, said: str) -> None:
    with pytest.raises(InvalidInput, match=said):
        Paths(Path(directory))


@st.composite
def accepted(draw: st.DrawFn) -> tuple[SystemTime, Release]:
    """Settings that `check_settings` takes, with options of every kind, for some release."""
    release = draw(st.sampled_from(KNOWN))
    known = catalogue(release)

    def options(scope: Scope) -> dict[str, str]:
        chosen: dict[str, str] = {}
        for name in draw(st.lists(st.sampled_from(sorted(known.options)), max_size=12)):
            option = known.options[name]
            if option.type is OptionType.ENUM:
                text = draw(st.sampled_from(option.values))
            elif option.is_number:
                least, most = max(option.minimum, -1e6), min(option.maximum, 1e6)
                text = draw(st.sampled_from((str(option.default), f"{least:g}", f"{most:g}")))
            else:
                text = draw(st.text(max_size=12))
            if known.judge("ptp4l", scope, name, text) is None:
                chosen[known.canonical(name)] = text
        return chosen

    ports = [port_with(index, options(Scope.PORT)) for index in range(draw(st.integers(1, 3)))]
    return host(*ports, ptp4l=dict(options(Scope.GLOBAL))), release


@settings(max_examples=150)
@given(accepted())
def test_what_we_render_ptp4l_takes(case: tuple[SystemTime, Release]) -> None:
    wanted, release = case
    rendered = render_ptp4l(wanted, release, PATHS)
    assert first_refusal(rendered.text.encode(), catalogue(release)) is None
    assert render_ptp4l(wanted, release, PATHS) == rendered
    phc2sys = render_phc2sys(wanted, release, PATHS)
    if phc2sys is not None:
        assert first_refusal(phc2sys.text.encode(), catalogue(release)) is None


PORTS = (port(0, HARDWARE), port(1, HARDWARE))


@pytest.mark.parametrize(
    ("clocks", "several"),
    [
        (None, True),
        ({}, True),
        ({"eth0": 3}, True),
        ({"eth0": 3, "eth1": 4}, True),
        ({"eth0": 3, "eth1": 3}, False),
    ],
)
def test_ports_with_one_clock_need_no_jbod(clocks: dict[str, int] | None, several: bool) -> None:
    """What is not known counts as another clock."""
    ptp4l, phc2sys = render(host(*PORTS), OLD, PATHS, clocks)
    assert ("boundary_clock_jbod 1" in ptp4l.text) == several
    assert ("-a" in phc2sys.argv) == several
    assert (phc2sys.argv[5 + 2 : 5 + 5] == ("-s", "eth0", "-c")) == (not several)


@pytest.mark.parametrize(
    ("wanted", "clocks", "needs"),
    [
        pytest.param(host(port(0, HARDWARE)), None, False, id="client"),
        pytest.param(host(*PORTS), {"eth0": 3, "eth1": 3}, False, id="one-clock"),
        pytest.param(host(*PORTS), {"eth0": 3, "eth1": 4}, True, id="clocks-of-their-own"),
        pytest.param(
            host(*PORTS, role=PtpRole.BOUNDARY), {"eth0": 3, "eth1": 3}, True, id="boundary-clock"
        ),
        pytest.param(
            host(port(0, HARDWARE), ptp4l={"clientOnly": 0}), None, True, id="may-become-master"
        ),
    ],
)
def test_phc2sys_needs_a_master_where_a_clock_may_be_nobodys(
    wanted: SystemTime, clocks: dict[str, int] | None, needs: bool
) -> None:
    for steers in (True, False):
        phc2sys = render_phc2sys(wanted, NEW, PATHS, clocks, steers=steers)
        assert phc2sys is None or phc2sys.needs_master == needs


def test_an_option_decides_before_the_clocks() -> None:
    wanted = host(*PORTS, ptp4l={"boundary_clock_jbod": 1})
    ptp4l = render_ptp4l(wanted, OLD, PATHS, {"eth0": 3, "eth1": 3})
    assert "boundary_clock_jbod 1" in ptp4l.text


@pytest.mark.parametrize(
    ("role", "clocks", "argv"),
    [
        ("boundary", {"eth0": 3, "eth1": 4}, True),
        ("boundary", {"eth0": 3, "eth1": 3}, False),
        ("client", {"eth0": 3, "eth1": 4}, False),
    ],
)
def test_a_boundary_clock_keeps_its_clocks_together_whosever_the_system_clock_is(
    role: str, clocks: dict[str, int], argv: bool
) -> None:
    """Otherwise it would serve a clock that nobody sets, as soon as its own master is back."""
    wanted = host(*PORTS, role=PtpRole(role))
    phc2sys = render_phc2sys(wanted, OLD, PATHS, clocks, steers=False)
    assert (phc2sys is not None) == argv
    if phc2sys is not None:
        assert "-a" in phc2sys.argv
        assert "-r" not in phc2sys.argv
