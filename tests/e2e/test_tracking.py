"""From cold start to a clock that is known, and all the ways to read it."""

import csv
import io
import json
from pathlib import Path

import pytest
import yaml

from labs import Host, Lab, until

ADDRESSES = {"UDPv4": "10.0.0.1", "UDPv6": "fd43:6872:6f6e::1", "L2": "02:c5:00:00:00:01"}
"""Where gm1's Announce messages come from, by transport."""


@pytest.mark.parametrize("transport", ADDRESSES)
def test_cold_start_to_tracking(short_directory: Path, transport: str) -> None:
    lab = Lab(short_directory)
    try:
        lab.do("up", "--transport", transport, "--grandmasters", "1")
        host = Host(lab)
        said = lab.on("host1", "visorctl", "clock", "status", "--wait", "tracking")
        assert said.startswith("tracking: grandmaster 02c500.fffe.000001: ")
        now = host.clock()
        assert now["discipline"] == "monitor"
        assert now["ports"][0]["transport"] == transport
        # Both clocks are one, so the offset is an error of measurement. Loose: a shared machine.
        assert abs(now["offset"]["median_ns"]) < 200_000
        address = {"UDPv4": "10.0.0.1", "UDPv6": "fd43:6872:6f6e::1", "L2": "02:c5:00:00:00:01"}[
            transport
        ]
        assert now["grandmaster"]["address"] == address
        assert host.run("host", "health")[0] == 0
        assert lab.node("host1")["clock"] == "tracking"
    finally:
        lab.remove()


def test_the_states_on_the_way_are_events(host: Host) -> None:
    # One of each: the stream is opened before the change is made, and tells what it brings.
    host.api.call("PATCH", "/v1/config/host/system/system_time", {"enabled": False})
    host.until("freerunning", lambda now: now["state"] == "freerunning")
    seen: list[str] = []
    for kind, event in host.api.stream("/v1/events", kind="clock.state", timeout_s=30):
        if kind == "hello":
            host.api.call("PATCH", "/v1/config/host/system/system_time", {"enabled": True})
        else:
            seen.append(event["state"])
            assert event["reason"]
            if event["state"] == "tracking":
                break
    assert "acquiring" in seen


def test_every_format_tells_the_same(host: Host) -> None:
    identity = "02c500.fffe.000001"
    status = ("clock", "status", "--format")
    assert json.loads(host.do(*status, "json"))["grandmaster"]["identity"] == identity
    assert yaml.safe_load(host.do(*status, "yaml"))["grandmaster"]["identity"] == identity
    (row,) = csv.DictReader(io.StringIO(host.do(*status, "csv")))
    assert row["grandmaster.identity"] == identity
    pairs = dict(line.split("=", 1) for line in host.do(*status, "keyvalue").splitlines())
    assert pairs["grandmaster.identity"] == identity
    assert f"Identity: {identity}" in host.do("clock", "status")


def test_watch_prints_offsets_as_they_come(host: Host) -> None:
    lines = host.do("clock", "watch", "--count", "3", "--format", "json")
    assert lines.count('"kind": "clock.') == 3


def test_metrics_have_the_clock(host: Host) -> None:
    text = host.do("host", "metrics")
    for word in ("offset", "path_delay", "port_state", "clock_state", "world_restarts", "revision"):
        assert any(word in line and line[0] != "#" for line in text.splitlines()), word


def test_the_discipline_of_a_lab_touches_no_clock(host: Host) -> None:
    pid = host.clock()["engine"]["pid"]
    conf = (host.directory / "run" / "clock" / "ptp4l.conf").read_text()
    assert "free_running 1" in " ".join(conf.split())
    words = Path(f"/proc/{pid}/status").read_text().split()
    assert not int(words[words.index("CapBnd:") + 1], 16) >> 25 & 1  # CAP_SYS_TIME


def test_esxcli_rows_are_real(host: Host) -> None:
    said = host.do("esxcli", "system", "ptp", "stats", "get")
    rows = {line[:21].strip(): line[21:].strip() for line in said.splitlines()[2:]}
    for counted in (
        *("Announce received", "Sync received", "Follow-up received"),
        *("DelayReq sent", "DelayResp received"),
    ):
        assert int(rows[counted]) > 0, counted
    assert rows["Best master ID"] == "02c500.fffe.000001-1"
    assert rows["Best master IP"] == "10.0.0.1"
    assert rows["Delay mechanism"] == "E2E"
    assert rows["GM priority"].startswith("Priority1 127")
    assert rows["Interface"] == "eth0"
    assert rows["PTP domain"] == "0"
    assert rows["Transport"].startswith("ipv4")
    for filled in (
        *("Clock Source", "Clock correction", "Clock status", "Host info", "UTC properties"),
        *("Offset from Master", "Mean Path Delay", "Port state", "State transitions"),
    ):
        assert rows[filled], filled
    before = int(rows["Sync received"])

    def later() -> bool:
        said = host.do("esxcli", "system", "ptp", "stats", "get")
        (line,) = (line for line in said.splitlines() if line.startswith("Sync received"))
        return int(line.split()[-1]) > before

    until("Sync messages are counted", later)


def test_esxcli_sets_what_clock_status_shows(host: Host) -> None:
    assert "Domain: 0" in host.do("esxcli", "system", "ptp", "get")
    assert "eth0" in host.do("esxcli", "system", "ptp", "port", "get")
    assert host.run("esxcli", "system", "ptp", "set", "--help")[0] == 0
