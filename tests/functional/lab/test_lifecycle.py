"""A lab goes up, is repaired, and leaves nothing; also when `up` is killed at any point."""

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from labs import Lab, until

NETWORK_ONLY = ("--hosts", "0")
STUBBORN = ("sh", "-c", "trap '' TERM; echo ready; exec sleep 600")


def test_up_and_down(lab: Lab) -> None:
    assert lab.leftovers() == []
    _, output, errors = lab.run("up", *NETWORK_ONLY)
    assert output == ""
    assert errors.splitlines() == [
        "lab: wiring 2 nodes",
        "lab: starting gm1",
        f"lab: lab {lab.name!r} is up",
    ]
    status = lab.status()
    assert status["state"] == "up"
    states = {node["name"]: (node["state"], node["link"]) for node in status["nodes"]}
    assert states == {
        "gm1": ("running", "up"),
        "gm2": ("stopped", "up"),
    }
    if Path("/sys/fs/cgroup/pids").is_dir():
        assert any(word.startswith("cgroup ") for word in lab.leftovers())
    pids = [node["pid"] for node in status["nodes"] if node["pid"]]
    assert lab.run("down")[0] == 0
    assert lab.leftovers() == []
    assert not any(map(_alive, pids))
    assert "nothing to do" in lab.run("down")[2]


def test_a_second_up_changes_nothing_and_says_so(lab: Lab) -> None:
    lab.do("up", *NETWORK_ONLY)
    before = lab.status()
    _, _, errors = lab.run("up", *NETWORK_ONLY)
    assert errors == f"lab: lab {lab.name!r} is up already; nothing changed\n"
    assert lab.status() == before


def test_up_with_other_settings_is_refused_and_changes_nothing(lab: Lab) -> None:
    lab.do("up", *NETWORK_ONLY)
    before = lab.status()
    code, _, errors = lab.run("up", "--hosts", "0", "--domain", "3", "--grandmasters", "3")
    assert code == 5
    assert "is up, but with grandmasters 2 (asked for 3), domain 0 (asked for 3)" in errors
    assert "lab down --name" in errors
    assert lab.status() == before


def test_up_starts_what_has_died_and_nothing_else(lab: Lab) -> None:
    words = [*NETWORK_ONLY, "--grandmasters", "3"]
    words += ["--start-grandmaster", "1", "--start-grandmaster", "2"]
    lab.do("up", *words)
    gm1, gm2, gm3 = lab.status()["nodes"]
    os.kill(gm1["pid"], signal.SIGKILL)
    dead = until("gm1 is seen dead", lambda: lab.status()["state"] == "partial" and lab.status())
    assert dead["nodes"][0] == gm1 | {"state": "failed", "pid": None}
    assert "lab: started gm1 again" in lab.run("up", *words)[2]
    after = lab.status()["nodes"]
    assert after[1:] == [gm2, gm3]
    assert after[0]["state"] == "running"
    assert after[0]["pid"] != gm1["pid"]


def test_up_builds_anew_what_lost_a_namespace(lab: Lab) -> None:
    lab.do("up", *NETWORK_ONLY)
    subprocess.run(["ip", "netns", "delete", f"cv-{lab.name}-gm2"], check=True)
    assert "removed what an earlier lab" in lab.run("up", *NETWORK_ONLY)[2]
    assert lab.status()["state"] == "up"


def test_down_needs_no_record(lab: Lab) -> None:
    lab.do("up", *NETWORK_ONLY)
    pids = [node["pid"] for node in lab.status()["nodes"] if node["pid"]]
    shutil.rmtree(lab.base / lab.name)
    assert lab.run("status")[0] == 4
    lab.do("down")
    assert lab.leftovers() == []
    until("its processes are gone", lambda: not any(map(_alive, pids)))


def test_down_ends_processes_of_others_in_its_namespaces(lab: Lab) -> None:
    lab.do("up", *NETWORK_ONLY)
    stubborn = subprocess.Popen(
        ["ip", "netns", "exec", f"cv-{lab.name}-gm2", *STUBBORN],
        stdout=subprocess.PIPE,
    )
    with stubborn:
        assert stubborn.stdout is not None
        assert stubborn.stdout.readline() == b"ready\n"
        lab.do("down")
        assert stubborn.wait(timeout=10) == -signal.SIGKILL


def _alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_two_at_once_build_one_lab(lab: Lab) -> None:
    both = [lab.spawn("up", *NETWORK_ONLY) for _ in range(2)]
    said = sorted(process.communicate(timeout=60)[0].splitlines()[-1] for process in both)
    assert [process.returncode for process in both] == [0, 0]
    assert said == [
        f"lab: lab {lab.name!r} is up",
        f"lab: lab {lab.name!r} is up already; nothing changed",
    ]


def test_labs_of_other_names_stand_side_by_side(new_lab: Callable[[str | None], Lab]) -> None:
    one = new_lab(None)
    other = new_lab(f"{one.name}-gm1")  # the name of a node, and the first one's as a prefix
    starting = [lab.spawn("up", *NETWORK_ONLY) for lab in (one, other)]
    outputs = [process.communicate(timeout=60)[0] for process in starting]
    assert [process.returncode for process in starting] == [0, 0], outputs
    before = other.status()
    one.do("down")
    assert other.status() == before
    assert before["state"] == "up"


# Runs `visorctl lab up` and dies at the N-th call of a function of the lab; prints N calls if
# it got through.
_DIES_AT = """
import os, signal, sys
from chronovisor.cli.main import main
calls, last = 0, int(sys.argv.pop(1))
def count(frame, event, argument):
    global calls
    if event == "call" and "/chronovisor/lab/" in frame.f_code.co_filename:
        calls += 1
        if calls == last:
            os.kill(os.getpid(), signal.SIGKILL)
sys.setprofile(count)
try:
    main()
finally:
    sys.setprofile(None)
    print(calls)
"""


def _up_that_dies_at(lab: Lab, call: int) -> tuple[int, str]:
    words = [sys.executable, "-c", _DIES_AT, str(call)]
    words += ["lab", "up", "--name", lab.name, "--directory", str(lab.base), *NETWORK_ONLY]
    done = subprocess.run(words, capture_output=True, text=True, timeout=60, check=False)
    return done.returncode, done.stdout


@pytest.mark.parametrize("way", ["up", "down"])
def test_up_killed_at_many_points_is_cleared_by_the_next_command(lab: Lab, way: str) -> None:
    code, output = _up_that_dies_at(lab, 0)
    assert code == 0
    calls = int(output)
    lab.do("down")
    killed = 0
    for point in range(calls // 20, calls, max(calls // 6, 1)):
        code, _ = _up_that_dies_at(lab, point)
        killed += code == -signal.SIGKILL  # waiting takes fewer calls at times, so it got through
        if way == "up":
            lab.do("up", *NETWORK_ONLY)
            assert lab.status()["state"] == "up"
            lab.do("down")
        else:
            lab.do("down")
        assert lab.leftovers() == [], f"killed at call {point} of {calls}"
    assert killed >= 4


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_down_that_is_cut_off_is_finished_by_the_next(lab: Lab, number: signal.Signals) -> None:
    lab.do("up", *NETWORK_ONLY)
    down = lab.spawn("down")
    # When its first process is stopped, it is in the middle of its work.
    until("down is at work", lambda: down.poll() is not None or _some_process_ended(lab))
    down.send_signal(number)
    down.communicate(timeout=60)
    lab.do("down")
    assert lab.leftovers() == []


def _some_process_ended(lab: Lab) -> bool:
    place = lab.base / lab.name / "worlds"
    return any('"stopped"' in _text(path) for path in place.glob("*/wanted.json"))


def _text(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:
        return ""
