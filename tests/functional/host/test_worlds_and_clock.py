"""Worlds and the clock plane under a real visord: what runs on, what is missing, what fails."""

import json
import shutil
import signal
import subprocess
from pathlib import Path
from typing import Any

import pytest

from visords import DEADLINE_S, KEY, MONITORED, Visord, until

_ADD = ("ip", "link", "add", "down0", "type", "veth", "peer", "name", "other0")
FAKE = """#!/bin/sh
[ "$1" = -v ] && {{ echo 3.1.1; exit 0; }}
{rest}
"""


def ptp4l_of(visord: Visord) -> dict[str, Any] | None:
    worlds = {world["name"]: world for world in visord.client.get("/v1/worlds")}
    return worlds.get("ptp4l")


def running(visord: Visord) -> dict[str, Any]:
    """Return the world of ptp4l once it runs."""

    def probe() -> dict[str, Any] | None:
        world = ptp4l_of(visord)
        return world if world and world["state"] == "running" else None

    return until("ptp4l runs", probe)


def alive(pid: int) -> bool:
    """Say whether a process runs; one that waits to be reaped does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


@pytest.fixture
def path(base: Path) -> Path:
    """Return a directory that is the whole PATH of a visord, with all but linuxptp in it."""
    directory = base / "bin"
    directory.mkdir()
    for place in ("/usr/sbin", "/usr/bin"):
        for program in ("sh", "ip", "setpriv", "unshare", "sleep"):
            if (found := Path(place, program)).exists() and not (directory / program).exists():
                (directory / program).symlink_to(found)
    return directory


def fake(path: Path, rest: str) -> None:
    """Put a ptp4l into the PATH that knows its version and does `rest`."""
    program = path / "ptp4l"
    program.with_suffix(".new").write_text(FAKE.format(rest=rest))
    program.with_suffix(".new").chmod(0o755)
    program.with_suffix(".new").replace(program)


def test_a_world_runs_on_without_visord_and_is_known_again(visord: Visord) -> None:
    visord.start()
    visord.set(**MONITORED)
    pid = running(visord)["pid"]
    listed = visord.do("world", "list")
    assert "ptp4l  running" in listed
    assert str(pid) in listed
    assert visord.stop() == 0
    assert alive(pid)
    visord.start()
    world = ptp4l_of(visord)
    assert world is not None
    assert (world["pid"], world["adopted"], world["restarts"]) == (pid, True, 0)
    visord.stop(signal.SIGKILL)
    visord.start("--stop-worlds")
    assert running(visord)["pid"] == pid
    assert visord.stop() == 0
    assert not alive(pid)


def test_show_logs_follow_restart(visord: Visord) -> None:
    visord.start()
    visord.set(**MONITORED)
    pid = running(visord)["pid"]
    until("ptp4l says what it does", lambda: "INITIALIZING" in visord.do("world", "logs", "ptp4l"))
    shown = visord.do("world", "show", "ptp4l")
    assert f"pid: {pid}" in shown
    assert "last lines:\n" in shown
    assert len(visord.do("world", "logs", "ptp4l", "-n", "1").splitlines()) == 1
    with visord.following("host", "events", "--kind", "world,config.commit") as (_, events):
        until("it listens", lambda: "hello {}" in events.read_text())
        out = visord.do("world", "restart", "ptp4l")
        until("the restart is told", lambda: '"state": "running"' in events.read_text())
        visord.client.call("PATCH", KEY, {"log_level": 5})
        until("the commit is told", lambda: "\nconfig.commit {" in events.read_text())
    assert out.startswith("ptp4l: running, pid ")
    assert running(visord)["pid"] != pid
    assert not alive(pid)
    code, _, errors = visord.ctl("world", "restart", "ptp5l")
    assert (code, "hint: worlds: ptp4l" in errors) == (4, True)


def test_lines_of_a_world_are_followed(visord: Visord) -> None:
    visord.start()
    visord.set(**MONITORED)
    running(visord)
    with visord.following("world", "logs", "ptp4l", "-f", "-n", "0") as (_, said):
        until(
            "lines come",
            lambda: visord.client.call("POST", "/v1/worlds/ptp4l/restart") and said.read_text(),
        )
        assert "ptp4l[" in said.read_text()


def test_missing_linuxptp_is_said_and_found_when_it_appears(visord: Visord, path: Path) -> None:
    visord.env = {"PATH": str(path)}
    visord.start()
    visord.set(**MONITORED)
    now = visord.until_status("it is told", lambda now: "not installed" in str(now["notices"]))
    assert now["state"] == "unsynchronized"
    assert now["engine"]["release"] is None
    code, output, _ = visord.ctl("host", "health")
    assert code == 1
    assert "ptp4l is not installed" in output
    code, _, errors = visord.ctl("clock", "plan")
    assert (code, "apt-get install linuxptp" in errors) == (4, True)
    real = shutil.which("ptp4l")
    assert real is not None
    (path / "ptp4l").symlink_to(real)
    running(visord)
    assert visord.status()["engine"]["release"] is not None
    assert "not installed" not in visord.ctl("host", "health")[1]


def test_a_ptp4l_that_exits_at_once_is_told_with_its_last_line(visord: Visord, path: Path) -> None:
    """It is the one of visord's own PATH, whose version was asked for."""
    fake(path, "echo 'the oscillator fell off' >&2; exit 3")
    visord.env = {"PATH": str(path)}
    visord.start()
    visord.set(**MONITORED)
    waiting = visord.until_status("it waits", lambda now: now["engine"]["state"] == "backoff")
    assert waiting["state"] == "unsynchronized"
    assert waiting["reason"].startswith("ptp4l is backoff: exited with status 3 after ")
    assert waiting["reason"].endswith(": the oscillator fell off")

    def told() -> bool:
        health = visord.client.get("/v1/health")
        return health["condition"] == "degraded" and "the oscillator fell off" in str(health)

    until("health tells of it", told)
    assert "the oscillator fell off" in visord.do("world", "show", "ptp4l")
    fake(path, "exec sleep 1000")
    visord.do("world", "restart", "ptp4l")
    running(visord)


@pytest.mark.parametrize(
    ("port", "said"),
    [
        ({"device": "nosuch0"}, "PTP port 0 (nosuch0): there is no such device on this host"),
        ({"device": "lo", "time_stamping": "hardware"}, "makes no hardware time stamps"),
        ({"device": "down0"}, "ip link set down0 up"),
    ],
)
def test_a_device_that_cannot_do_it_is_refused_at_once(
    shared: Visord, port: dict[str, Any], said: str
) -> None:
    process = shared.process
    assert process is not None
    inside = ("nsenter", f"--net=/proc/{process.pid}/ns/net", "--")
    if port["device"] == "down0":
        subprocess.run([*inside, *_ADD], check=True)
    try:
        value = MONITORED | {"ptp_config": {"port": [{"index": 0, **port}]}}
        status, _, document = shared.ask("PUT", KEY, _json(value))
        assert status == 422
        assert said in document["detail"]
        assert shared.client.get("/v1/config") == []
        assert all(world["pid"] is None for world in shared.client.get("/v1/worlds"))
    finally:
        if port["device"] == "down0":
            subprocess.run([*inside, "ip", "link", "delete", "down0"], check=True)


def _json(value: Any) -> bytes:
    return json.dumps(value).encode()


def test_two_ports_with_one_device_are_refused(shared: Visord) -> None:
    ports = [{"index": 0, "device": "lo"}, {"index": 1, "device": "lo"}]
    code, _, errors = shared.ctl(
        *("config", "current", "set", "-c", "host", "-g", "system", "-k", "system_time"),
        *("--value", _json({"ptp_config": {"port": ports}}).decode()),
    )
    assert code == 3
    assert "port device lo is used by more than one port" in errors


def test_plan_tells_beforehand_and_drift_tells_what_differs(visord: Visord) -> None:
    visord.start()
    text = _json(MONITORED["ptp_config"]["port"]).decode()  # type: ignore[index]
    words = ("enabled=true", "discipline=monitor", f"ptp_config.port={text}")
    planned = visord.do("clock", "plan", *words)
    assert planned.startswith("effect: start or stop of a daemon\n")
    assert visord.client.get("/v1/config") == [], "a plan changes nothing"
    visord.do("clock", "set", *words)
    running(visord)
    until("nothing differs", lambda: visord.ctl("clock", "drift") == (0, "effect: nothing\n", ""))
    assert visord.do("clock", "plan", "options.ptp4l.priority1=5").startswith("effect: live\n")
    assert visord.do("clock", "plan", "ptp_config.domain=5").startswith("effect: restart of a")
    pid = running(visord)["pid"]
    visord.do("clock", "set", "options.ptp4l.priority1=5")
    visord.until_status("it is set live", lambda now: now["priority1"] == 5)
    assert running(visord)["pid"] == pid
    visord.do("clock", "set", "enabled=false")
    until("ptp4l is stopped", lambda: (ptp4l_of(visord) or {})["state"] == "stopped")
    assert not alive(pid)
    assert visord.status()["state"] == "freerunning"


def test_status_in_every_format_and_in_the_words_of_esxi(visord: Visord) -> None:
    visord.start()
    visord.set(**MONITORED)
    running(visord)
    visord.until_status("ptp4l answers", lambda now: now["clock_identity"] is not None)
    for form, part in (
        ("json", '"clock_identity": "'),
        ("yaml", "clock_identity: "),
        ("csv", ",clock_identity,"),
        ("keyvalue", "\nclock_identity="),
    ):
        assert part in visord.do("clock", "status", "--format", form)
    stats = visord.do("esxcli", "system", "ptp", "stats", "get")
    rows = dict(line.split("  ", 1) for line in stats.splitlines()[2:] if "  " in line)
    assert rows["Interface"].strip() == "lo"
    assert "Transport" in rows
    assert visord.do("esxcli", "system", "ptp", "get").splitlines()[1] == "   Enabled: true"
    visord.do("esxcli", "system", "ptp", "port", "set", "-p", "3", "-t", "none")
    visord.do("esxcli", "system", "ptp", "set", "--domain", "7")
    assert visord.client.get(KEY)["value"]["ptp_config"] == {
        "domain": 7,
        "port": [{"index": 0, "device": "lo"}, {"index": 3, "device_type": "none"}],
    }
    assert visord.do("esxcli", "system", "ptp", "port", "get").splitlines()[3].split()[:2] == [
        "3",
        "none",
    ]


def test_waiting_for_a_state_ends_in_time(shared: Visord) -> None:
    shared.do("clock", "status", "--wait", "freerunning")
    code, _, errors = shared.ctl("clock", "status", "--wait", "locked", "--timeout", "200ms")
    assert (code, errors.splitlines()[0]) == (7, "visorctl: the clock is not locked after 0.2 s")
    assert shared.ctl("clock", "status", "--wait", "lucky")[0] == 3


def test_a_world_whose_visord_died_at_its_end_is_ended(visord: Visord) -> None:
    visord.start("--stop-worlds")
    visord.set(**MONITORED)
    pid = running(visord)["pid"]
    assert visord.process is not None
    visord.process.send_signal(signal.SIGTERM)
    visord.process.send_signal(signal.SIGTERM)
    assert visord.process.wait(DEADLINE_S) == 0
    assert not alive(pid)
