"""`lab exec`, `lab link`, `lab grandmaster`, and what they say to mistakes."""

import json
import os
import subprocess
from pathlib import Path

import pytest

from labs import VISORCTL, Lab, until
from visords import NOBODY, as_user


@pytest.fixture
def lab_up(lab: Lab) -> Lab:
    lab.do("up", "--hosts", "0")
    return lab


def test_exec_is_the_command_itself(lab_up: Lab) -> None:
    words = [VISORCTL, "lab", "exec", "--name", lab_up.name, "--directory", str(lab_up.base)]
    script = "cat; echo $$; echo error >&2; exit 7"
    with subprocess.Popen(
        [*words, "gm1", "--", "sh", "-c", script],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        output, errors = process.communicate("input\n", timeout=30)
        assert (output, errors) == (f"input\n{process.pid}\n", "error\n")
    assert process.returncode == 7


def test_exec_is_in_the_nodes_network(lab_up: Lab) -> None:
    links = json.loads(lab_up.on("gm2", "ip", "-json", "address"))
    assert [link["ifname"] for link in links] == ["lo", "eth0"]
    eth0 = links[1]
    assert eth0["address"] == "02:c5:00:00:00:02"
    assert sorted(entry["local"] for entry in eth0["addr_info"]) == [
        "10.0.0.2",
        "fd43:6872:6f6e::2",
        "fe80::2",
    ]
    assert not any("tentative" in entry for entry in eth0["addr_info"])


def test_exec_finds_this_visorctl(lab_up: Lab) -> None:
    assert lab_up.on("gm1", "sh", "-c", "command -v visorctl").strip() == VISORCTL
    assert lab_up.on("gm1", "sh", "-c", "echo ${CHRONOVISOR_SOCKET-none}") == "none\n"


def test_a_pulled_cable_is_seen_by_the_node(lab_up: Lab) -> None:
    def carrier() -> bool:
        (link,) = json.loads(lab_up.on("gm2", "ip", "-json", "link", "show", "eth0"))
        return "LOWER_UP" in link["flags"]

    assert carrier()
    lab_up.do("link", "gm2", "down")
    until("no carrier", lambda: not carrier())
    assert lab_up.node("gm2")["link"] == "down"
    lab_up.do("link", "gm2", "up")
    until("carrier", carrier)
    assert lab_up.node("gm2")["link"] == "up"


def _port_state(lab: Lab, node: str) -> str:
    socket = f"{lab.base / lab.name / node}/ptp4l"
    said = lab.on(node, "pmc", "-u", "-b", "0", "-s", socket, "-i", f"{socket}.pmc",
                  "GET PORT_DATA_SET")  # fmt: skip
    return next(line.split()[1] for line in said.splitlines() if "portState" in line)


def test_a_better_grandmaster_takes_over_and_hands_back(lab_up: Lab) -> None:
    until("gm1 is master", lambda: _port_state(lab_up, "gm1") == "MASTER")
    assert "gm2 is up" in lab_up.run("grandmaster", "gm2", "up")[2]
    until("gm2 is master", lambda: _port_state(lab_up, "gm2") == "MASTER")
    until("gm1 follows", lambda: _port_state(lab_up, "gm1") == "UNCALIBRATED")
    assert lab_up.run("grandmaster", "gm2", "up")[2] == "lab: gm2 is up already\n"
    assert "gm2 is down" in lab_up.run("grandmaster", "gm2", "down")[2]
    assert lab_up.node("gm2")["state"] == "stopped"
    until("gm1 is master again", lambda: _port_state(lab_up, "gm1") == "MASTER")
    assert lab_up.run("up", "--hosts", "0")[2].endswith("nothing changed\n")
    assert lab_up.node("gm2")["state"] == "stopped"


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["exec", "gm3", "--", "true"], 4, "has no node 'gm3'\n  hint: did you mean gm"),
        (["exec", "zebra", "--", "true"], 4, "hint: it has gm1, gm2"),
        (["link", "gm11", "down"], 4, "did you mean gm1?"),
        (["grandmaster", "host1", "down"], 4, "has no grandmaster 'host1'"),
        (["exec", "gm1"], 2, "Missing argument"),
        (["link", "gm1", "sideways"], 2, "'sideways' is not one of"),
    ],
)
def test_a_mistake_is_named(lab_up: Lab, words: list[str], code: int, said: str) -> None:
    got, output, errors = lab_up.run(*words)
    assert (got, output) == (code, "")
    assert said in errors


@pytest.mark.parametrize(
    "words", [["status"], ["exec", "host1", "--", "true"], ["link", "a", "up"]]
)
def test_a_lab_that_is_not_there(lab: Lab, words: list[str]) -> None:
    code, _, errors = lab.run(*words)
    assert code == 4
    assert errors == (
        f"visorctl: there is no lab {lab.name!r}\n"
        f"  hint: build it with `visorctl lab up --name {lab.name}`\n"
    )


def test_every_bad_argument_of_up_is_named_at_once(lab: Lab) -> None:
    code, _, errors = lab.run("up", "--hosts", "99", "--domain", "200", "--start-grandmaster", "4")
    assert code == 3
    assert [line.split(":")[0].strip() for line in errors.splitlines()[1:]] == [
        "hosts",
        "domain",
        "start_grandmaster",
    ]


def test_only_root_may() -> None:
    done = subprocess.run(
        [*as_user(NOBODY), VISORCTL, "lab", "down"],
        capture_output=True,
        text=True,
        env=os.environ | {"HOME": "/"},
        check=False,
    )
    assert done.returncode == 6
    assert "only root can build a lab" in done.stderr


def test_a_directory_too_deep_for_sockets_is_refused(tmp_path: Path) -> None:
    lab = Lab(tmp_path / ("d" * 80))
    code, _, errors = lab.run("up", "--hosts", "0")
    assert code == 3
    assert "is too deep a directory for the sockets of lab" in errors
    assert "--directory, at most " in errors
    assert not lab.base.exists()
