"""What dies, goes silent or is unplugged: the state says so, and all comes back by itself."""

import json
import os
import signal
from pathlib import Path

from labs import Host, Lab


def test_a_better_grandmaster_takes_over_and_hands_back(host: Host, lab: Lab) -> None:
    pid = host.clock()["engine"]["pid"]
    for grandmaster, address, way in (("2", "10.0.0.2", "up"), ("1", "10.0.0.1", "down")):
        lab.do("grandmaster", "gm2", way)
        now = host.until_tracking(f"02c500.fffe.00000{grandmaster}")
        assert now["grandmaster"]["address"] == address
        said = host.do("esxcli", "system", "ptp", "stats", "get")
        (line,) = (line for line in said.splitlines() if line.startswith("Best master IP"))
        assert line.split()[-1] == address
    assert host.clock()["engine"]["pid"] == pid


def test_a_silent_grandmaster(host: Host, lab: Lab) -> None:
    lab.do("grandmaster", "gm1", "down")
    lost = host.until("holdover", lambda now: now["state"] == "holdover")
    assert "02c500.fffe.000001" in lost["reason"]
    host.until("the reason says why", lambda now: "no Announce message" in now["reason"])
    assert host.run("host", "health")[0] == 1
    lab.do("grandmaster", "gm1", "up")
    host.until_tracking()
    assert host.run("host", "health")[0] == 0


def test_a_pulled_cable(host: Host, lab: Lab) -> None:
    pid = host.clock()["engine"]["pid"]
    lab.do("link", "host1", "down")
    lost = host.until("the link is seen", lambda now: not now["ports"][0]["link_up"])
    lost = host.until("holdover", lambda now: now["state"] == "holdover")
    assert "eth0" in lost["reason"]
    assert "link is down" in lost["reason"]
    lab.do("link", "host1", "up")
    host.until_tracking()
    assert host.clock()["engine"]["pid"] == pid


def test_ptp4l_killed_is_restarted_and_counted(host: Host) -> None:
    before = host.clock()["engine"]
    os.kill(before["pid"], signal.SIGKILL)
    now = host.until(
        "another ptp4l tracks",
        lambda now: (
            now["engine"]["pid"] not in (None, before["pid"]) and now["state"] == "tracking"
        ),
    )
    assert now["engine"]["restarts"] == before["restarts"] + 1
    world = json.loads(host.do("world", "show", "ptp4l", "--format", "json"))
    assert world["restarts"] == before["restarts"] + 1
    assert world["total_failures"] >= 1
    assert "ptp4l" in host.do("world", "list")


def test_visord_killed_leaves_ptp4l_alone(host: Host, lab: Lab) -> None:
    before = host.clock()
    ptp4l = before["engine"]["pid"]
    start = _start_ticks(ptp4l)
    os.kill(lab.node("host1")["pid"], signal.SIGKILL)
    assert lab.node("host1")["state"] == "failed"
    assert _start_ticks(ptp4l) == start
    lab.do("up")
    now = host.until_tracking()
    assert (now["engine"]["pid"], _start_ticks(ptp4l)) == (ptp4l, start)
    assert now["engine"]["restarts"] == before["engine"]["restarts"]
    assert now["grandmaster"]["identity"] == "02c500.fffe.000001"
    world = json.loads(host.do("world", "show", "ptp4l", "--format", "json"))
    assert (world["pid"], world["adopted"]) == (ptp4l, True)


def test_both_killed(host: Host, lab: Lab) -> None:
    ptp4l = host.clock()["engine"]["pid"]
    for pid in (lab.node("host1")["pid"], ptp4l):
        os.kill(pid, signal.SIGKILL)
    lab.do("up")
    now = host.until_tracking()
    assert now["engine"]["pid"] not in (None, ptp4l)


def test_a_visord_that_is_told_to_stop_leaves_ptp4l_alone(host: Host, lab: Lab) -> None:
    ptp4l = host.clock()["engine"]["pid"]
    start = _start_ticks(ptp4l)
    visord = lab.node("host1")["pid"]
    os.kill(visord, signal.SIGTERM)
    lab.do("up")  # visord may still be on its way out
    assert lab.node("host1")["pid"] != visord
    assert host.until_tracking()["engine"]["pid"] == ptp4l
    assert _start_ticks(ptp4l) == start


def _start_ticks(pid: int) -> str:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19]
