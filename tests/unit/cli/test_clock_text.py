"""How the clock is shown to people, from documents as visord answers."""

import pytest

from chronovisor.cli.clock_text import actions_text, duration, sample_text, status_text
from chronovisor.cli.esxcli_stats import statistics
from chronovisor.clock.status import ClockStatus
from clock_documents import counters, locked, port, silent

WIDTH = 100


def test_the_documents_are_those_of_the_api() -> None:
    for document in (locked(), silent()):
        assert ClockStatus.model_validate(document).model_dump(mode="json") == document


@pytest.mark.parametrize(
    ("value_ns", "text"),
    [
        (None, "unknown"),
        (0, "0 ns"),
        (0.25, "0.25 ns"),
        (-123, "-123 ns"),
        (999.4, "999 ns"),
        (4500, "4.5 µs"),
        (-1.5e6, "-1.5 ms"),
        (2.5e9, "2.5 s"),
        (3.6e12, "3600 s"),
        (-1.8e18, "-1800000000 s"),
        (float("inf"), "inf ns"),
    ],
)
def test_durations_have_their_natural_unit(value_ns: float | None, text: str) -> None:
    assert duration(value_ns) == text


def test_status_of_a_locked_clock() -> None:
    lines = status_text(locked()).splitlines()
    assert lines[0] == "locked: grandmaster 02c500.fffe.000001: typical offset 123 ns"
    text = "\n".join(lines)
    for part in (
        "-123 ns (median 12 ns, 95 % within 400 ns, worst 1.5 ms of 64 in 63.2 s)",
        "Mean path delay: 4.5 µs",
        "Engine: linuxptp 4.4, running (pid 4711, 1 restarts)",
        "   Address: 10.0.0.1",
        "UTC offset: 37 s (valid)",
    ):
        assert part in text
    assert lines[-1].split() == ["0", "eth0", "SLAVE", "UDPv4", "E2E", "hardware", "up", "10.0.0.2"]


def test_status_of_a_silent_clock() -> None:
    text = status_text(silent())
    assert text.startswith("unsynchronized: ptp4l does not answer")
    assert "Grandmaster" not in text
    assert "Last synchronized: never" in text
    assert "Mean path delay: unknown" in text
    assert text.endswith("notice: linuxptp 9.9 is newer than any release known here")


def test_status_fits_a_terminal() -> None:
    wide = locked() | {"ports": [port(number, f"enp1s0f{number}np{number}") for number in range(4)]}
    for document in (locked(), silent(), wide):
        assert max(map(len, status_text(document).splitlines())) <= WIDTH


def test_without_linuxptp_status_says_so() -> None:
    engine = {"release": None, "pid": None, "state": "stopped", "reason": "never started"}
    text = status_text(locked() | {"engine": locked()["engine"] | engine})
    assert "linuxptp not installed, stopped (never started, 1 restarts)" in text


def test_events_are_lines() -> None:
    sample = {
        "kind": "clock.sample",
        "at_ns": 1,
        "state": "tracking",
        "offset_ns": -123.0,
        "mean_path_delay_ns": None,
        "grandmaster": "gm",
    }
    assert sample_text(sample) == "tracking       offset    -123 ns  delay    unknown  gm"
    change = {"kind": "clock.state", "at_ns": 1, "state": "holdover", "reason": "it left"}
    assert sample_text(change) == "clock.state: state holdover, reason it left"


@pytest.mark.parametrize(
    ("kinds", "effect"),
    [
        ([], "nothing"),
        (["SetLive"], "live"),
        (["WriteFile"], "nothing restarts"),
        (["WriteFile", "SetLive"], "live"),
        (["WriteFile", "StartDaemon"], "start or stop of a daemon"),
        (["StopDaemon", "SetLive"], "start or stop of a daemon"),
        (["SetLive", "RestartDaemon", "StartDaemon"], "restart of a daemon"),
    ],
)
def test_a_plan_tells_its_effect_first(kinds: list[str], effect: str) -> None:
    rows = [{"kind": kind, "action": f"do {kind}", "reason": "why"} for kind in kinds]
    lines = actions_text(rows).splitlines()
    assert lines == [f"effect: {effect}", *(f"  do {kind}  (why)" for kind in kinds)]


def test_the_rows_of_esxi_have_real_values() -> None:
    rows = statistics(locked())
    assert list(rows) == sorted(rows, key=str.lower)
    expected = {
        "Announce received": 101,
        "Best master ID": "02c500.fffe.000001-1",
        "Best master IP": "10.0.0.1",
        "Clock Source": "GNSS",
        "Clock correction": "-12.500 ppm",
        "Delay mechanism": "E2E",
        "DelayReq sent": 204,
        "DelayResp received": 105,
        "Follow-up received": 103,
        "GM priority": "Priority1 127, Priority2 128, clockClass 6",
        "Interface": "eth0",
        "Mean Path Delay": "0.000004500 s",
        "Offset from Master": "-0.000000123 s, median 0.000000012 s",
        "PTP domain": 24,
        "Port state": "PTP_SLAVE",
        "State transitions": 2,
        "Sync received": 102,
        "Transport": "ipv4, multicast",
        "UTC properties": "UTC valid: Y, UTC offset: 37",
    }
    assert {name: rows[name] for name in expected} == expected
    assert rows["Clock status"].startswith("in control, locked: ")
    assert rows["Host info"].endswith(", PID 4711")


def test_the_rows_of_esxi_are_there_while_nothing_is_known() -> None:
    rows = statistics(silent())
    assert set(rows) >= set(statistics(locked())) - {"GM ID", "Steps removed"}
    assert (rows["Best master ID"], rows["Best master IP"]) == ("", "")
    assert (rows["Offset from Master"], rows["Sync received"]) == ("", 0)
    assert rows["Clock status"].startswith("no control, unsynchronized: ")


def test_several_ports_are_told_together() -> None:
    other = port(1, "eth1") | {
        "state": "PASSIVE",
        "delay_mechanism": "P2P",
        "received": counters(0),
    }
    rows = statistics(locked() | {"ports": [port(0, "eth0"), other]})
    assert rows["Interface"] == "eth0; eth1"
    assert rows["Port state"] == "PTP_SLAVE; PTP_PASSIVE"
    assert rows["Delay mechanism"] == "E2E; P2P"
    assert rows["Announce received"] == 101 + 1
    assert rows["Transport"] == "ipv4, multicast"
