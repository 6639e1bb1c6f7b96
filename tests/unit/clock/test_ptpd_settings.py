"""From settings to ptpd's configuration, and what is refused on the way; the real ptpd judges."""

from pathlib import Path
from typing import Any

import pytest

from chronovisor.clock.catalogue import Release, catalogue
from chronovisor.clock.check import check_settings
from chronovisor.clock.plan import DAEMONS, Observed, Wanted, changes, plan
from chronovisor.clock.ptpd import check_settings as check_ptpd
from chronovisor.clock.ptpd import program
from chronovisor.clock.ptpd.engine import Ptpd, unused
from chronovisor.clock.ptpd.options import config, config_text
from chronovisor.clock.ptpd.paths import Paths
from chronovisor.clock.reading import TimeProperties
from chronovisor.clock.settings import SystemTime
from chronovisor.clock.trx_conf import export, overlay, parse, render
from chronovisor.clock.trx_conf import judge as judge_file
from chronovisor.errors import NotFound

KNOWN = catalogue(Release(3, 1, 1))
PATHS = Paths(Path("/run/chronovisor/clock"))
PTP = TimeProperties(utc_offset_s=37, utc_offset_valid=False, ptp_timescale=True)


def settings(port: dict[str, Any] | None = None, **given: Any) -> SystemTime:
    ptp = {"port": [{"index": 0, "device": "eth0"} | (port or {})], **given.pop("ptp_config", {})}
    whole = {"enabled": True, "engine": "ptpd", "ptp_config": ptp, **given}
    return SystemTime.model_validate(whole)


def ptpd_options(**options: Any) -> SystemTime:
    return settings(options={"ptpd": {key.replace("__", ":"): v for key, v in options.items()}})


def test_the_installed_ptpd_takes_what_is_rendered() -> None:
    path = program.program()
    assert path is not None
    asked = settings(
        {"delay_mechanism": "P2P", "network_transport": "L2"},
        calibration_delay_ns=-250,
        log_level=3,
        options={"ptpd": {"servo:kp": 0.2, "clock:step_startup": True}},
    )
    for steers in (True, False):
        keys = config(asked, PATHS, steers=steers, takes_off=steers)
        assert set(keys) <= set(program.keys(path))
        del keys["ptpengine:interface"]
        assert program.complaints(path, config_text(keys)) == ()


def test_the_same_settings_give_the_same_file() -> None:
    asked = settings(calibration_delay_ns=300, log_level=4, ptp_config={"domain": 5})
    keys = config(asked, PATHS, steers=False, takes_off=True)
    assert config_text(keys) == config_text(config(asked, PATHS, steers=False, takes_off=True))
    expected = {
        "clock:no_adjust": "Y",
        "global:foreground": "Y",
        "global:log_level": "LOG_WARNING",
        "ptpengine:announce_receipt_timeout": "3",
        "ptpengine:domain": "5",
        "ptpengine:inbound_latency": "300",
        "ptpengine:interface": "eth0",
        "ptpengine:outbound_latency": "-300",
        "ptpengine:preset": "slaveonly",
        "ptpengine:transport": "ipv4",
    }
    assert expected.items() <= keys.items()
    assert config(asked, PATHS, steers=True, takes_off=True)["clock:no_adjust"] == "N"


@pytest.mark.parametrize(
    ("asked", "where", "words"),
    [
        (settings({"time_stamping": "hardware"}), "ptp_config.port[0].time_stamping", "software"),
        (settings({"network_transport": "UDPv6"}), "ptp_config.port[0].network_transport", "IPv4"),
        (
            settings(ptp_config={"port": [{"index": n, "device": f"e{n}"} for n in (0, 1)]}),
            "ptp_config.port",
            "one port",
        ),
        (settings(ptp_config={"role": "boundary"}), "ptp_config.role", "no boundary clock"),
        (settings(ptp_config={"domain": 128}), "ptp_config.domain", "127"),
        (settings(ptp_config={"profile": "G.8275.1"}), "ptp_config.profile", "linuxptp"),
        (ptpd_options(ptpengine__domain=3), 'ptpengine:domain"]', "ptp_config.domain"),
        (ptpd_options(clock__no_adjust=0), 'clock:no_adjust"]', "discipline"),
        (ptpd_options(ntpengine__enabled=1), 'ntpengine:enabled"]', "fallback"),
        (ptpd_options(global__log_file="/x"), 'global:log_file"]', "Chronovisor"),
        (ptpd_options(global__log_level="LOG_ERR"), 'global:log_level"]', "log_level"),
        (ptpd_options(servo__kx=1), 'servo:kx"]', "no setting"),
        (ptpd_options(servo__kp="fast"), 'servo:kp"]', "not a number"),
        (ptpd_options(servo__kp="nan"), 'servo:kp"]', "not a number"),
        (ptpd_options(servo__kp=-1), 'servo:kp"]', "0.000001"),
        (ptpd_options(ptpengine__ip_mode="anycast"), 'ip_mode"]', "multicast unicast hybrid"),
        (ptpd_options(ptpengine__max_listen="2x"), 'max_listen"]', "whole number"),
        (ptpd_options(ptpengine__unicast_destinations="a;b"), 'destinations"]', "';'"),
        (ptpd_options(ptpengine__unicast_destinations="a\nb"), 'destinations"]', "meaning"),
        (ptpd_options(nonsense=1), "options.ptpd.nonsense", "<section>:<key>"),
        (
            ptpd_options(ptpengine__log_sync_interval=5, ptpengine__log_sync_interval_max=1),
            'log_sync_interval"]',
            "lower than",
        ),
    ],
)
def test_what_is_refused(asked: SystemTime, where: str, words: str) -> None:
    (problem,) = check_settings(asked, KNOWN)
    assert problem.where.endswith(where)
    assert words in str(problem)


def test_every_problem_is_named_at_once() -> None:
    asked = settings(
        {"time_stamping": "hardware", "network_transport": "UDPv6"},
        ptp_config={"role": "boundary", "domain": 200},
        options={"ptpd": {"servo:kx": 1, "servo:ki": "x"}},
    )
    assert len(check_ptpd(asked)) == 6


def test_without_ptpd_what_is_owned_is_refused_all_the_same(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert check_ptpd(ptpd_options(servo__kx=1)) == []
    assert len(check_ptpd(ptpd_options(ptpengine__domain=1))) == 1


def test_options_of_the_other_engine_are_kept_and_named() -> None:
    asked = settings(
        {"options": {"logSyncInterval": -3}},
        options={"ptp4l": {"priority1": 200}, "ptpd": {"servo:kp": 0.2}},
    )
    assert check_settings(asked, KNOWN) == []
    assert unused(asked) == ["options.ptp4l", "ptp_config.port[0].options"]
    assert check_settings(asked.model_copy(update={"engine": "linuxptp"}), KNOWN) == []


def test_options_of_the_other_engine_must_be_right() -> None:
    wrong = settings(options={"ptp4l": {"priority1": 999}})
    assert [problem.where for problem in check_settings(wrong, KNOWN)] == [
        "options.ptp4l.priority1"
    ]
    wrong = ptpd_options(servo__kp="x").model_copy(update={"engine": "linuxptp"})
    assert len(check_settings(wrong, KNOWN)) == 1


def test_options_in_a_file() -> None:
    asked = settings()
    file = parse("ptpd:servo:kp 0.25\nptpd:ptpengine:max_listen 4\n")
    assert judge_file(file, KNOWN, asked) == []
    laid = overlay(asked, file, KNOWN)
    assert laid.settings.options.ptpd == {"servo:kp": 0.25, "ptpengine:max_listen": 4}
    assert render(export(laid.settings)) == render(file)


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("ptpd:servo:kp x", "trx.conf:1:15: servo:kp: 'x' is not a number"),
        ("ptpd:servo:kp -1", "trx.conf:1:15: ptpd: option"),
        ("ptpd:ptpengine:domain 1", "trx.conf:1:6: ptpengine:domain is set by Chronovisor"),
        ("ptpd:servo:kx 1", "trx.conf:1:6: ptpd has no setting servo:kx"),
    ],
)
def test_a_wrong_option_in_a_file(line: str, words: str) -> None:
    (problem,) = judge_file(parse(line), KNOWN, settings())
    assert str(problem).startswith(words)


def test_a_change_of_engine_stops_before_it_starts(tmp_path: Path) -> None:
    engine = Ptpd(tmp_path)
    (ptpd,) = engine.daemons(settings(), steers=True, master_time=PTP)
    observed = Observed({"ptp4l": "a", "phc2sys": "b"}, {}, {}, frozenset())
    words = [str(action) for action in plan(Wanted(daemons=(ptpd,)), observed)]
    assert words == ["stop phc2sys", "stop ptp4l", f"write {tmp_path}/ptpd.conf", "start ptpd"]
    assert set(engine.worlds) <= set(DAEMONS)


def test_who_measures_only_says_so_on_its_command_line(tmp_path: Path) -> None:
    engine = Ptpd(tmp_path)
    (steering,), (measuring,) = (
        engine.daemons(settings(), steers=one, master_time=PTP) for one in (True, False)
    )
    assert (steering.steers, measuring.steers) == (True, False)
    assert ("-n" in steering.spec.argv, "-n" in measuring.spec.argv) == (False, True)
    assert steering.spec.generation != measuring.spec.generation
    assert changes(steering.text, measuring) == "clock:no_adjust N -> Y"


async def test_a_missing_ptpd_is_said(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    engine = Ptpd(tmp_path)
    await engine.detect()
    assert engine.release == Release(2, 3, 1)
    monkeypatch.setenv("PATH", str(tmp_path))
    await engine.detect()
    assert engine.release is None
    assert engine.notices(settings()) == ("ptpd is not installed",)
    with pytest.raises(NotFound, match="not installed") as caught:
        engine.daemons(settings(), steers=False, master_time=None)
    assert "apt-get install ptpd" in str(caught.value.hint)
