"""ptpd as the engine: chosen, watched, killed and left again, as a user does it."""

import json
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from chronovisor.clock.ptp import ClockIdentity, PortIdentity
from chronovisor.clock.ptpd.statistics import COLUMNS
from grandmasters import announce
from labs import Host, Lab, until

GM1 = "02c500.fffe.000001"
GM1_PORT = PortIdentity(ClockIdentity(bytes.fromhex("02c500fffe000001")), 1)


@pytest.fixture
def ptpd(host: Host) -> Host:
    """Return the host once ptpd follows gm1."""
    host.do("clock", "set", "engine=ptpd")
    host.until("ptpd tracks", tracks)
    return host


@pytest.fixture
def recorded(host: Host) -> Iterator[Path]:
    """Return the file of a host that writes `ptpd.stats`."""
    path = host.directory / "run" / "clock" / "ptpd.stats"
    host.do("clock", "set", "statistics_log.enabled=true")
    yield path
    path.unlink(missing_ok=True)


def tracks(now: dict[str, Any]) -> bool:
    known = now["grandmaster"] is not None and now["grandmaster"]["identity"] == GM1
    measured = now["mean_path_delay_ns"] is not None
    return now["engine"]["name"] == "ptpd" and now["state"] == "tracking" and known and measured


def world(host: Host, name: str = "ptpd") -> dict[str, Any]:
    found = json.loads(host.do("world", "show", name, "--format", "json"))
    assert isinstance(found, dict)
    return found


def ptp_programs(host: Host) -> set[str]:
    """Return which PTP programs run with files of this host."""
    needle = f"{host.directory}/".encode()
    found = set()
    for process in Path("/proc").glob("[0-9]*"):
        try:
            words = (process / "cmdline").read_bytes()
            name = (process / "comm").read_text().strip()
        except OSError:
            continue
        if needle in words and name in ("ptp4l", "ptpd", "phc2sys"):
            found.add(name)
    return found


def rows(path: Path) -> list[list[str]]:
    """Return the lines of a statistics file by column; every line has to be whole."""
    text = path.read_text()
    assert text.endswith("\n")
    return [
        [column.strip() for column in one.split(",")]
        for one in text.splitlines()
        if not one.startswith("#")
    ]


def test_there_and_back_with_the_plan_shown_before(host: Host) -> None:
    before = host.api.get("/v1/clock/settings")
    plan = host.do("clock", "plan", "engine=ptpd")
    assert plan.index("stop ptp4l") < plan.index("start ptpd")
    host.do("clock", "set", "engine=ptpd")
    now = host.until("ptpd tracks", tracks)
    assert ptp_programs(host) == {"ptpd"}
    assert now["engine"]["release"] == "2.3.1"
    assert any("options.ptp4l" in notice for notice in now["notices"])
    (port,) = now["ports"]
    assert (port["state"], port["delay_mechanism"]) == ("SLAVE", "E2E")
    assert port["received"]["announce"] > 0
    assert (now["domain"], now["slave_only"], now["clock_identity"]) == (
        0,
        True,
        "02c500.fffe.000101",
    )
    master = now["grandmaster"]
    assert (master["address"], master["priority1"]) == ("10.0.0.1", 127)
    assert (master["steps_removed"], master["time_source"]) == (1, "INTERNAL_OSCILLATOR")
    plan = host.do("clock", "plan", "engine=linuxptp")
    assert plan.index("stop ptpd") < plan.index("start ptp4l")
    host.do("clock", "set", "engine=linuxptp")
    host.until("ptp4l tracks", lambda now: now["engine"]["name"] == "linuxptp")
    host.until_tracking(GM1)
    assert ptp_programs(host) == {"ptp4l"}
    assert host.api.get("/v1/clock/settings") == before


def test_the_words_of_esxcli(ptpd: Host) -> None:
    said = json.loads(ptpd.do("esxcli", "system", "ptp", "stats", "get", "--format", "json"))
    expected = {
        "Best master ID": str(GM1_PORT),
        "Best master IP": "10.0.0.1",
        "GM ID": GM1,
        "Interface": "eth0",
        "Port state": "PTP_SLAVE",
        "PTP Engine": "ptpd 2.3.1",
        "Transport": "ipv4, multicast",
    }
    assert expected.items() <= said.items()
    assert said["Offset from Master"].split()[0] != ""
    assert said["Sync received"] > 0


def test_its_offset_is_one_that_ptpd_wrote(ptpd: Host) -> None:
    packets = ptpd.directory / "run" / "clock" / "ptpd.packets"
    told = ptpd.clock()["offset"]["last_ns"]
    lines = [row for row in rows(packets) if len(row) == COLUMNS and row[8] == "S"]
    assert told in {round(float(row[4]) * 1e9) for row in lines}


def far_off(now: dict[str, Any]) -> bool:
    """Return whether it is tracked 37 s from the host's clock, which is that of gm1 itself."""
    return tracks(now) and abs(abs(now["offset"]["last_ns"]) - 37e9) < 1e9


async def test_the_timescale_of_the_master_decides(host: Host, lab: Lab) -> None:
    """gm1 says what is true, that its time is not of PTP's timescale; then that it is."""
    gm1 = lab.base / lab.name / "gm1" / "ptp4l"
    seen: list[dict[str, Any]] = []

    def tracks_and_is_noted(now: dict[str, Any]) -> bool:
        seen.append(now)
        return tracks(now)

    host.do("clock", "set", "enabled=false")  # then nothing is remembered
    host.until("nobody keeps time", lambda now: now["state"] == "freerunning")
    os.kill(lab.node("host1")["pid"], signal.SIGKILL)
    lab.do("up")
    host.do("clock", "set", "enabled=true", "engine=ptpd")
    now = host.until("ptpd tracks", tracks_and_is_noted)
    assert now["grandmaster"]["ptp_timescale"] is False
    assert not any(one["offset"] and abs(one["offset"]["max_abs_ns"]) > 1e9 for one in seen)
    pid = now["engine"]["pid"]
    os.kill(lab.node("host1")["pid"], signal.SIGKILL)
    lab.do("up")
    assert host.until("visord knows it again", tracks)["engine"]["pid"] == pid
    try:
        await announce(gm1, ptp_timescale=True)
        pid = host.until("the host is 37 s off by what gm1 says", far_off)["engine"]["pid"]
        await announce(gm1, ptp_timescale=True, valid=True)
        now = host.until(
            "gm1 calls its offset valid",
            lambda now: tracks(now) and now["grandmaster"]["utc_offset_valid"],
        )
        assert far_off(now)
        assert now["engine"]["pid"] == pid
        await announce(gm1, ptp_timescale=False, valid=True)
        now = host.until(
            "ptpd cannot follow", lambda now: "calls its UTC offset valid" in now["reason"]
        )
        assert now["state"] == "holdover"
        assert now["offset"] is None
    finally:
        await announce(gm1, ptp_timescale=False)
    now = host.until("it tracks as before", tracks)
    assert abs(now["offset"]["last_ns"]) < 1e9


def test_a_silent_grandmaster(ptpd: Host, lab: Lab) -> None:
    lab.do("grandmaster", "gm1", "down")
    ptpd.until("holdover", lambda now: now["state"] == "holdover")
    ptpd.until("the reason says why", lambda now: "no Announce message" in now["reason"])
    lab.do("grandmaster", "gm1", "up")
    ptpd.until("it tracks again", tracks)


def test_another_domain(ptpd: Host) -> None:
    ptpd.do("clock", "set", "ptp_config.domain=5")
    now = ptpd.until("the other domain is named", lambda now: "domain 0" in now["reason"])
    assert "no Announce message of domain 5" in now["reason"]
    ptpd.do("clock", "set", "ptp_config.domain=0")
    ptpd.until("it tracks again", tracks)


def test_a_killed_ptpd_is_restarted_and_counted(ptpd: Host) -> None:
    before = ptpd.clock()["engine"]
    os.kill(before["pid"], signal.SIGKILL)
    now = ptpd.until(
        "another ptpd tracks",
        lambda now: now["engine"]["pid"] not in (None, before["pid"]) and tracks(now),
    )
    assert now["engine"]["restarts"] == before["restarts"] + 1


def test_a_stopped_ptpd_is_silent(ptpd: Host) -> None:
    pid = ptpd.clock()["engine"]["pid"]
    os.kill(pid, signal.SIGSTOP)
    try:
        ptpd.until("silence", lambda now: "has not written its status" in now["reason"])
    finally:
        os.kill(pid, signal.SIGCONT)
    ptpd.until("it tracks again", tracks)


def test_a_killed_visord_leaves_ptpd_alone(ptpd: Host, lab: Lab) -> None:
    pid = ptpd.clock()["engine"]["pid"]
    os.kill(lab.node("host1")["pid"], signal.SIGKILL)
    started_s = time.monotonic()
    lab.do("up")
    now = ptpd.until("ptpd is known again", tracks)
    print(f"tracking {time.monotonic() - started_s:.2f} s after visord's restart")
    assert now["engine"]["pid"] == pid
    assert (world(ptpd)["pid"], world(ptpd)["adopted"]) == (pid, True)


def test_peer_delays(ptpd: Host) -> None:
    port = {"index": 0, "device": "eth0", "delay_mechanism": "P2P"}
    ptpd.do("clock", "set", f"ptp_config.port={json.dumps([port])}")
    now = ptpd.until("peer delays", lambda now: now["ports"][0]["delay_mechanism"] == "P2P")
    now = ptpd.until(
        "tracking by peer delay",
        lambda now: tracks(now) and now["ports"][0]["peer_mean_path_delay_ns"],
    )
    assert now["ports"][0]["received"]["pdelay_resp"] > 0


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("ptp_config.port[0].time_stamping=hardware", "software"),
        ('options.ptpd={"servo:kx": 1}', "ptpd has no setting servo:kx"),
        ('options.ptpd={"servo:kp": -1}', "0.000001"),
        ('options.ptpd={"clock:no_adjust": true}', "discipline"),
        ("ptp_config.role=boundary", "no boundary clock"),
    ],
)
def test_what_ptpd_cannot_do_is_refused(host: Host, words: str, said: str) -> None:
    before = host.clock()["engine"]
    code, output, errors = host.run("clock", "set", "engine=ptpd", words)
    assert code != 0
    assert said in output + errors
    assert host.clock()["engine"] == before


def test_options_of_a_file_reach_ptpd(ptpd: Host) -> None:
    ptpd.trx_conf.write_text("ptpd:servo:kp 0.25\n")
    conf = ptpd.directory / "run" / "clock" / "ptpd.conf"
    until("the option is written", lambda: "servo:kp = 0.25" in conf.read_text())
    ptpd.until("it tracks again", tracks)
    ptpd.trx_conf.write_text("ptpd:servo:kp fast\n")
    health = until("the file is refused", lambda: _problem(ptpd))
    assert "'fast' is not a number" in health
    assert "servo:kp = 0.25" in conf.read_text()


def _problem(host: Host) -> str:
    text = json.dumps(host.api.get("/v1/health"))
    return text if "is not applied" in text else ""


@pytest.mark.parametrize("engine", ["linuxptp", "ptpd"])
def test_ptpd_stats_of_either_engine(host: Host, lab: Lab, recorded: Path, engine: str) -> None:
    host.do("clock", "set", f"engine={engine}")
    until("lines are written", lambda: recorded.exists() and len(rows(recorded)) >= 3)
    assert all(len(row) == COLUMNS for row in rows(recorded))
    assert {row[2] for row in rows(recorded)} == {"02c500fffe000001(unknown)/1"}
    os.kill(lab.node("host1")["pid"], signal.SIGKILL)
    lab.do("up")
    before = rows(recorded)
    until("lines are appended", lambda: len(rows(recorded)) > len(before) + 2)
    after = rows(recorded)
    assert after[: len(before)] == before
    times = [row[0] for row in after]
    assert times == sorted(set(times))
    lab.do("grandmaster", "gm1", "down")
    host.until("nothing is measured", lambda now: now["state"] == "holdover")
    host.until("no master is followed", lambda now: "no Announce" in now["reason"])
    count = len(rows(recorded))
    lab.do("grandmaster", "gm1", "up")
    until("lines again", lambda: len(rows(recorded)) > count)
