"""A real host: Debian 12 under systemd, installed as docs/install.md says, booted, cut off, booted.

Here systemd is PID 1, cgroups are those of version 2, and the clock may be set: all three are what
the machine that runs the tests may not have. The guest has no network; the packages that pip would
fetch are those of the environment that runs the tests.
"""

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement

from qemu import Machine, debian_kernel
from qemu.debian import debian_root
from visords import until

pytestmark = pytest.mark.long

ROOT = Path(__file__).parents[2]
INSTALL = (ROOT / "docs/install.md").read_text(encoding="utf-8")
NETWORKING = (ROOT / "docs/howto/vm-networking.md").read_text(encoding="utf-8")
DEBIAN = ("systemd-sysv", "dbus", "kmod")
VENV = "/opt/chronovisor"
SERVICE = "/sys/fs/cgroup/system.slice/visord.service"
# Nobody logs in, and without udev systemd would wait 90 s for the console's device
QUICK = "systemd.mask=serial-getty@ttyS0.service systemd.mask=getty.target"

MONITORED = """
ip link add ptp0 type veth peer name ptp1
ip link set ptp0 up
ip link set ptp1 up
visorctl clock set enabled=true discipline=monitor \
  'ptp_config={"port": [{"index": 0, "device": "ptp0"}]}'
"""
"""A clock to be kept, so that there is a world that must outlive visord."""


def documented_packages() -> set[str]:
    """Return the Debian packages that the documentation has an operator install."""
    lines = re.findall(r"apt-get install -y (.*)", INSTALL + NETWORKING)
    assert len(lines) == 2
    return {package for line in lines for package in line.split()} - {"git"}  # for the checkout


def documented_start() -> str:
    """Return the commands of docs/install.md that install and start the unit."""
    found = re.search(r"(groupadd --system chronovisor\n.*?)```", INSTALL, re.DOTALL)
    assert found
    return found[1]


class Host:
    """The guest, asked through visorctl and systemctl."""

    def __init__(self, machine: Machine) -> None:
        self.machine = machine

    def do(self, script: str, deadline_s: float = 120) -> str:
        """Run a script that has to succeed; return what it wrote."""
        return self.machine.check("bash", "-euc", script, deadline_s=deadline_s).text

    def json(self, words: str) -> Any:
        """Return what visorctl says as JSON."""
        return json.loads(self.do(f"visorctl {words} --format json"))

    def world(self, name: str) -> dict[str, Any]:
        """Return a world by name; empty where there is none."""
        worlds: list[dict[str, Any]] = self.json("world list")
        return next((world for world in worlds if world["name"] == name), {})

    def main_pid(self) -> int:
        """Return visord's process."""
        return int(self.do("systemctl show -P MainPID visord"))

    def until(self, what: str, probe: Callable[[], Any]) -> Any:
        """Return what `probe` gives as soon as it is true."""
        return until(what, probe, deadline_s=120)


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Return a Debian 12 with the packages of docs/install.md and Chronovisor in its venv."""
    base = tmp_path_factory.mktemp("booted")
    root = base / "root"
    subprocess.run(
        ["cp", "-a", debian_root([*DEBIAN, *documented_packages()]), root], check=True, timeout=120
    )
    install_chronovisor(root, base)
    patience = root / "etc/systemd/system.conf.d/emulated.conf"
    patience.parent.mkdir(parents=True)
    patience.write_text("[Manager]\nDefaultTimeoutStartSec=300s\n")
    yield root
    shutil.rmtree(root)


def install_chronovisor(root: Path, base: Path) -> None:
    """Do what `pip install .` does there, without a network."""
    quiet = ("--disable-pip-version-check", "--no-deps", "--no-index", "--quiet")
    wheel = ("wheel", *quiet, "--no-build-isolation", "--wheel-dir", base, ROOT)
    subprocess.run([sys.executable, "-m", "pip", *wheel], check=True, timeout=120)
    (built,) = base.glob("chronovisor-*.whl")
    subprocess.run(["chroot", root, "python3", "-m", "venv", VENV], check=True, timeout=120)
    site = root / VENV[1:] / "lib/python3.11/site-packages"
    for name in requirements("chronovisor"):
        copy_distribution(name, site)
    shutil.copy(built, root / "tmp" / built.name)
    install = ("-m", "pip", "install", *quiet, f"/tmp/{built.name}")
    subprocess.run(["chroot", root, f"{VENV}/bin/python", *install], check=True, timeout=120)
    (root / "usr/local/bin/visorctl").symlink_to(f"{VENV}/bin/visorctl")


def requirements(name: str) -> set[str]:
    """Return the distributions that one needs to run, and those that they need."""
    found: set[str] = set()
    waiting = {name}
    while waiting:
        for text in metadata.distribution(waiting.pop()).requires or ():
            wanted = Requirement(text)
            if wanted.marker is None or wanted.marker.evaluate({"extra": ""}):
                waiting |= {wanted.name} - found
                found.add(wanted.name)
    return found


def copy_distribution(name: str, site: Path) -> None:
    """Copy what pip installed of a distribution, but for its programs."""
    for file in metadata.distribution(name).files or ():
        if ".." not in file.parts and (source := Path(str(file.locate()))).is_file():
            (site / file).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(source, site / file)  # with its time, by which compiled files are judged


def boot(root: Path) -> Machine:
    return Machine(
        debian_kernel(),
        root=root,
        init="/sbin/init",
        writable=True,
        append=QUICK,
        boot_deadline_s=240,
    )


@pytest.fixture(scope="module")
def host(tree: Path) -> Iterator[Host]:
    """Return the host at its second boot: installed at the first, which ended by a power cut."""
    with boot(tree) as machine:
        first = Host(machine)
        first.do(documented_start(), deadline_s=300)
        assert first.do("systemctl is-active visord").strip() == "active"
        assert first.json("host health")["condition"] == "ok"
        first.do("visorctl clock set log_level=5")
        machine.shell("sync")
    with boot(tree) as machine:
        yield Host(machine)


def test_enabled_host_is_up_after_a_power_cut_with_its_settings(host: Host) -> None:
    host.until(
        "systemd has started visord",
        lambda: host.machine.run("systemctl", "is-active", "-q", "visord").code == 0,
    )
    assert host.json("host health")["condition"] == "ok"
    assert host.json("config current get -c host -g system -k system_time")["log_level"] == 5
    assert host.do("systemctl list-units --failed --no-legend visord.service") == ""


def test_worlds_outlive_visord_however_it_ends(host: Host) -> None:
    host.do(MONITORED)
    ptp4l = host.until("ptp4l runs", lambda: running(host, "ptp4l"))

    for end in ("systemctl restart visord", "systemctl stop visord && systemctl start visord"):
        host.do(end)
        assert host.world("ptp4l")["pid"] == ptp4l, end
    before = host.main_pid()
    host.do(f"kill -9 {before}")
    host.until("systemd has started another visord", lambda: answers(host, other_than=before))
    assert host.world("ptp4l")["pid"] == ptp4l
    assert host.world("ptp4l")["restarts"] == 0


def test_stuck_visord_is_ended_by_the_watchdog(host: Host) -> None:
    before = host.main_pid()
    host.do(f"kill -STOP {before}")
    host.until("the watchdog has ended it", lambda: answers(host, other_than=before))
    assert "watchdog" in host.do("journalctl -q --no-pager -u visord -g '[Ww]atchdog'")


def test_limits_are_those_of_a_cgroup_of_version_2(host: Host) -> None:
    host.do("visorctl net enable")
    pid = host.until("the metadata proxy runs", lambda: running(host, "net-metadata"))
    group = cgroup(host, pid)
    assert group.startswith(SERVICE)
    assert int(host.do(f"cat {group}/memory.max")) == 512 << 20
    (enforced,) = [it for it in host.world("net-metadata")["enforced"] if "memory" in it["limit"]]
    assert "cgroup" in enforced["by"]

    # Less than it has: the kernel ends it, and it alone
    others = {world["name"]: world["pid"] for world in host.json("world list")}
    host.do(f"echo 1M >{group}/memory.max")
    host.until(
        "it is ended and started again", lambda: running(host, "net-metadata") not in (None, pid)
    )
    now = {world["name"]: world["pid"] for world in host.json("world list")}
    assert {name for name in others if others[name] != now[name]} == {"net-metadata"}
    assert "out of memory" in host.world("net-metadata")["reason"]
    group = cgroup(host, now["net-metadata"])
    assert int(host.do(f"cat {group}/memory.max")) == 512 << 20

    # visord starts anew although controllers are handed down to worlds that still run
    pid = now["net-metadata"]
    host.do("systemctl restart visord")
    assert host.world("net-metadata")["pid"] == pid
    assert int(host.do(f"cat {group}/memory.max")) == 512 << 20


def test_nothing_runs_after_uninstalling_as_documented(host: Host) -> None:
    host.do("visorctl net disable")
    steps = re.search(r"(visorctl clock set enabled=false\n.*?)```", INSTALL, re.DOTALL)
    assert steps
    host.until(
        "the worlds have ended", lambda: host.do("visorctl clock set enabled=false >&2") or True
    )
    host.do(steps[1])
    assert host.machine.run("systemctl", "is-enabled", "visord").code != 0
    assert host.machine.run("pidof", "ptp4l", "dnsmasq").code != 0


def running(host: Host, name: str) -> int | None:
    """Return a world's process while it runs."""
    world = host.world(name)
    return world["pid"] if world and world["state"] == "running" else None


def cgroup(host: Host, pid: int) -> str:
    """Return the directory of a process's cgroup."""
    (line,) = host.do(f"cat /proc/{pid}/cgroup").splitlines()
    return "/sys/fs/cgroup" + line.removeprefix("0::")


def answers(host: Host, other_than: int) -> bool:
    """Return whether a visord answers that is not this process."""
    pid = host.main_pid()
    return pid not in (0, other_than) and host.machine.run("visorctl", "world", "list").code == 0
