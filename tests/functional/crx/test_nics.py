"""A NIC that a container has comes back when that ends, however it ends."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from chronovisor.worlds.launcher import start_ticks

HERE = Path(__file__).parent
TESTS = HERE.parents[1]
NIC_DRIVER = HERE / "nic_driver.py"
KILL_DRIVER = HERE.parent / "worlds" / "kill_driver.py"
MAC = "02:00:00:00:00:07"


class Host:
    """A network namespace with `nic0` in it, in which supervisors run one after another."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.name = f"cv-{directory.name[-8:]}"
        self.inside = ("nsenter", f"--net=/run/netns/{self.name}")
        self.pin = directory / "worlds" / "w" / "netns"
        self.ran("ip", "netns", "add", self.name)
        try:
            self.furnish()
        except subprocess.CalledProcessError:
            self.end()
            raise

    def furnish(self) -> None:
        self.ip("link", "add", "nic0", "address", MAC, "type", "veth", "peer", "name", "peer0")
        self.ip("link", "set", "peer0", "up")
        self.ip("address", "add", "192.0.2.7/24", "dev", "nic0")
        self.ip("address", "add", "2001:db8::7/64", "dev", "nic0")
        self.ip("link", "set", "nic0", "up")

    def ran(self, *argv: str) -> str:
        return subprocess.run(argv, check=True, capture_output=True, text=True).stdout

    def ip(self, *words: str) -> str:
        return self.ran(*self.inside, "ip", *words)

    def nic(self, pin: Path | None = None) -> tuple[bool, list[str]] | None:
        """Return whether nic0 is up, and its addresses; None if it is not there."""
        words = ("ip", "-json", "address", "show")
        enter = self.inside if pin is None else ("nsenter", f"--net={pin}")
        links = {link["ifname"]: link for link in json.loads(self.ran(*enter, *words))}
        if "nic0" not in links:
            return None
        found = links["nic0"]["addr_info"]
        addresses = [f"{one['local']}/{one['prefixlen']}" for one in found]
        kept = sorted(one for one in addresses if not one.startswith("fe80"))
        return "UP" in links["nic0"]["flags"], kept

    def visord(self, *deeds: str) -> list[dict[str, Any]]:
        """Run a supervisor that does `deeds`; return how the world was after each."""
        argv = [*self.inside, sys.executable, str(NIC_DRIVER), str(self.directory), *deeds]
        env = os.environ | {"PYTHONPATH": str(TESTS)}
        done = subprocess.run(argv, capture_output=True, text=True, env=env, check=False)
        assert done.returncode == (-signal.SIGKILL if "die" in deeds else 0), done.stderr
        return [json.loads(line) for line in done.stdout.splitlines()]

    def end(self) -> None:
        subprocess.run(["ip", "netns", "del", self.name], capture_output=True, check=False)


@pytest.fixture
def host(tmp_path: Path) -> Iterator[Host]:
    host = Host(tmp_path)
    yield host
    host.end()


BEFORE = (True, ["192.0.2.7/24", "2001:db8::7/64"])


def test_goes_in_with_its_addresses_and_comes_back_with_them(host: Host) -> None:
    _, running = host.visord("adopt", "ensure")
    assert running["state"] == "running"
    shown = "\n".join(running["lines"])
    assert "192.0.2.7/24" in shown
    assert "2001:db8::7/64" in shown
    assert host.nic() is None
    assert host.nic(host.pin) == BEFORE
    host.visord("adopt", "stop")
    assert host.nic() == BEFORE
    assert not host.pin.exists()
    assert not host.pin.with_name("loan.json").exists()


def test_gets_other_addresses_inside_if_told_so(host: Host) -> None:
    host.visord("ensure:198.51.100.1/30,2001:db8:1::1/64")
    assert host.nic(host.pin) == (True, ["198.51.100.1/30", "2001:db8:1::1/64"])
    host.visord("adopt", "stop")
    assert host.nic() == BEFORE


def test_a_nic_that_was_down_and_bare_is_so_again(host: Host) -> None:
    host.ip("address", "flush", "dev", "nic0")
    host.ip("link", "set", "nic0", "down")
    host.visord("ensure:192.0.2.1/24")
    assert host.nic(host.pin) == (True, ["192.0.2.1/24"])
    host.visord("adopt", "stop")
    assert host.nic() == (False, [])


def test_container_killed(host: Host) -> None:
    last = host.visord("ensure", "kill", "end")[-1]
    assert last["reason"].startswith("killed by SIGKILL")
    assert host.nic() == BEFORE


def test_container_killed_while_visord_is_dead(host: Host) -> None:
    """The NIC waits, unharmed, in the pinned namespace until the next visord."""
    pid = host.visord("ensure", "die")[-1]["pid"]
    os.kill(pid, signal.SIGKILL)
    deadline = time.monotonic() + 30
    while start_ticks(pid) is not None:
        assert time.monotonic() < deadline
    assert host.nic() is None
    assert host.nic(host.pin) == BEFORE
    host.visord("adopt")
    assert host.nic() == BEFORE
    assert not host.pin.exists()


def test_adopted_with_its_nic(host: Host) -> None:
    pid = host.visord("ensure", "die")[-1]["pid"]
    adopted = host.visord("adopt", "ensure")[-1]
    assert (adopted["pid"], adopted["state"]) == (pid, "running")
    assert host.nic(host.pin) == BEFORE


def test_renamed_inside_it_has_its_name_again(host: Host) -> None:
    host.visord("ensure")
    host.ran("nsenter", f"--net={host.pin}", "ip", "link", "set", "nic0", "down")
    host.ran("nsenter", f"--net={host.pin}", "ip", "link", "set", "nic0", "name", "other")
    host.visord("adopt", "stop")
    assert host.nic() == BEFORE


def test_a_name_that_was_taken_meanwhile_is_said_and_tried_again(host: Host) -> None:
    host.visord("ensure")
    host.ip("link", "add", "nic0", "type", "veth", "peer", "name", "peer1")
    stopped = host.visord("adopt", "stop")[-1]
    assert "nic0 cannot come back" in stopped["reason"]
    host.ip("link", "del", "nic0")
    host.visord("adopt", "stop")
    assert host.nic() == BEFORE


def test_killed_between_note_and_move(host: Host) -> None:
    host.visord("ensure", "stop")
    lent = {"name": "nic0", "mac": MAC, "up": True, "addresses": list(BEFORE[1])}
    host.pin.with_name("loan.json").write_text(json.dumps({"lent": [lent]}))
    host.visord("adopt")
    assert host.nic() == BEFORE
    assert not host.pin.with_name("loan.json").exists()


def test_killed_between_return_and_addresses(host: Host) -> None:
    host.visord("ensure", "die")
    host.ran("nsenter", f"--net={host.pin}", "ip", "link", "set", "nic0", "netns", host.name)
    assert host.nic() == (False, [])
    host.visord("adopt", "stop")
    assert host.nic() == BEFORE


@pytest.mark.parametrize("text", ["", "{", "[]", '{"lent": [{}]}', '{"lent": 3}', "null", "\0"])
def test_a_damaged_note_stops_nothing(host: Host, text: str) -> None:
    host.visord("ensure", "stop")
    host.pin.with_name("loan.json").write_text(text)
    assert host.visord("adopt", "ensure", "stop")[-1]["state"] == "stopped"
    assert host.nic() == BEFORE


def test_a_nic_that_is_not_there_ends_nothing_that_runs(host: Host) -> None:
    first, second = host.visord("ensure", "ensure-other:nic1")
    assert "network device nic1, which is to go into the container, is not there" in second["error"]
    assert (second["pid"], second["state"]) == (first["pid"], "running")
    host.visord("adopt", "stop")
    fresh = host.visord("ensure-other:nic1")[-1]
    assert "nic1" in fresh["reason"]
    assert host.nic() == BEFORE


def test_all_of_them_killed_over_and_over(host: Host) -> None:
    """visord, launcher, runc and init killed at random: one container or none, the NIC home."""
    argv = [*host.inside, sys.executable, str(KILL_DRIVER), str(host.directory), "24", "3", "nic0"]
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    assert result["violations"] == []
    assert result["told"]["c"] > 3
    assert host.nic() == BEFORE
    assert list((host.directory / "crx").iterdir()) == []
    assert not host.pin.exists()
