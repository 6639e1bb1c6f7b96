"""Labs with hosts beside one another, and one that is killed while it is built."""

import os
import signal
from pathlib import Path

from labs import Host, Lab, until


def test_two_labs_do_not_hear_each_other(host: Host, short_directory: Path) -> None:
    other = Lab(short_directory)
    try:
        other.do("up", "--hosts", "2", "--domain", "5")
        first, second = Host(other), Host(other, "host2")
        assert first.until_tracking()["domain"] == 5
        assert second.until_tracking()["clock_identity"] != first.clock()["clock_identity"]
        # One host on P2P beside one on E2E, and neither minds the other.
        second.trx_conf.write_text("ptp4l:port0:delay_mechanism P2P\n")
        second.until_measured_by("P2P")
        assert first.clock()["ports"][0]["delay_mechanism"] == "E2E"
        assert host.clock()["domain"] == 0
        first.until_tracking()
    finally:
        other.remove()
    assert host.until_tracking()["domain"] == 0


def test_a_lab_killed_while_it_starts_its_hosts(short_directory: Path) -> None:
    lab = Lab(short_directory)
    try:
        up = lab.spawn("up", "--hosts", "2")
        visords = short_directory / lab.name
        until(
            "a visord makes its directories",
            lambda: up.poll() is not None or any(visords.glob("host*/var/*")),
        )
        up.send_signal(signal.SIGKILL)
        up.communicate(timeout=60)
        lab.do("up", "--hosts", "1")  # other settings: nothing of the killed one counts
        now = Host(lab).until_tracking()
        pids = [now["engine"]["pid"], *(node["pid"] for node in lab.status()["nodes"])]
    finally:
        lab.remove()
    assert not any(_runs(pid) for pid in pids if pid)


def _runs(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_down_ends_ptp4l_also_when_visord_is_dead(short_directory: Path) -> None:
    lab = Lab(short_directory)
    try:
        lab.do("up")
        ptp4l = Host(lab).until_tracking()["engine"]["pid"]
        cgroups = Path(f"/proc/{ptp4l}/cgroup").read_text().splitlines()
        os.kill(lab.node("host1")["pid"], signal.SIGKILL)
    finally:
        lab.remove()
    assert not _runs(ptp4l)
    for line in cgroups:
        place = line.split(":", 2)[2]
        if "/chronovisor/" in place:
            assert list(Path("/sys/fs/cgroup").glob(f"*{place}")) == []
