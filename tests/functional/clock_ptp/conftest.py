"""Two namespaces, a veth between them, and real ptp4l in each; no clock is ever adjusted."""

import contextlib
import ctypes
import itertools
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

_COUNTER = itertools.count()
_CLONE_NEWNET = 0x40000000
_LIBC = ctypes.CDLL(None, use_errno=True)

FAST = {
    "free_running": "1",
    "time_stamping": "software",
    "logSyncInterval": "-3",
    "logMinDelayReqInterval": "-3",
    "logAnnounceInterval": "-2",
}


def run(*argv: str) -> str:
    """Run a command that must succeed and return its output."""
    return subprocess.run(argv, check=True, capture_output=True, text=True, timeout=20).stdout


@contextlib.contextmanager
def in_namespace(name: str) -> Iterator[None]:
    """Put this thread into a network namespace for a while."""
    with Path("/proc/thread-self/ns/net").open() as home, Path(f"/run/netns/{name}").open() as away:
        assert _LIBC.setns(away.fileno(), _CLONE_NEWNET) == 0
        try:
            yield
        finally:
            assert _LIBC.setns(home.fileno(), _CLONE_NEWNET) == 0


@dataclass(frozen=True)
class Release:
    """A build of linuxptp."""

    version: str
    ptp4l: str
    pmc: str

    @property
    def is_3(self) -> bool:
        """Whether it is of the release series Debian 12 has."""
        return self.version.startswith("3.")


def releases() -> list[Release]:
    """Return the installed release and those in the directories LINUXPTP_BUILDS names."""
    directories = [d for d in os.environ.get("LINUXPTP_BUILDS", "").split(":") if d]
    found = []
    for directory in (None, *directories):
        ptp4l = shutil.which("ptp4l", path=directory)
        pmc = shutil.which("pmc", path=directory)
        assert ptp4l is not None
        assert pmc is not None
        found.append(Release(run(ptp4l, "-v").strip(), ptp4l, pmc))
    return found


@dataclass
class Site:
    """Namespaces `master` and `slave`; `m1`-`s1` carries PTP, `m2`-`s2` nothing."""

    directory: Path
    release: Release
    prefix: str = field(default_factory=lambda: f"ptp-{os.getpid()}-{next(_COUNTER)}")
    running: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)

    @property
    def master(self) -> str:
        """The grandmaster's namespace."""
        return f"{self.prefix}-m"

    @property
    def slave(self) -> str:
        """The slave's namespace."""
        return f"{self.prefix}-s"

    def build(self) -> None:
        """Make namespaces and links."""
        for name in (self.master, self.slave):
            run("ip", "netns", "add", name)
            run("ip", "-n", name, "link", "set", "lo", "up")
        for number in (1, 2):
            self.link(number)

    def link(self, number: int) -> None:
        """Make one veth pair."""
        near, far = f"m{number}", f"s{number}"
        run("ip", "-n", self.master, "link", "add", near, "type", "veth", "peer", "name", far,
            "netns", self.slave)  # fmt: skip
        for host, (name, device) in enumerate(((self.master, near), (self.slave, far)), 1):
            run("ip", "-n", name, "addr", "add", f"192.0.2.{number * 16 + host}/28", "dev", device)
            run("ip", "-n", name, "addr", "add", f"fe80::{number}:{host}/64", "dev", device,
                "nodad")  # fmt: skip
            run("ip", "-n", name, "link", "set", device, "up")

    def inside(self, role: str) -> contextlib.AbstractContextManager[None]:
        """Put this thread into the namespace of `master` or `slave` for a while."""
        return in_namespace(f"{self.prefix}-{role[0]}")

    def ip(self, role: str, *argv: str) -> str:
        """Run `ip` in a namespace."""
        return run("ip", "-n", f"{self.prefix}-{role[0]}", *argv)

    def socket(self, role: str) -> Path:
        """Return the path of a ptp4l's management socket."""
        return self.directory / f"{role}.sock"

    def start(self, role: str, *devices: str, **options: str) -> subprocess.Popen[bytes]:
        """Start ptp4l as `master` or `slave` and wait for its socket."""
        options = FAST | {"uds_address": str(self.socket(role))} | options
        if not self.release.is_3:
            options["uds_ro_address"] = str(self.directory / f"{role}-ro.sock")
        config = self.directory / f"{role}.conf"
        config.write_text("[global]\n" + "".join(f"{k} {v}\n" for k, v in options.items()))
        argv = ["ip", "netns", "exec", f"{self.prefix}-{role[0]}", self.release.ptp4l, "-m", "-q"]
        argv += ["-f", str(config)]
        for device in devices:
            argv += ["-i", device]
        with (self.directory / f"{role}.log").open("ab") as log:
            process = subprocess.Popen(argv, stdout=log, stderr=log)
        self.running[role] = process
        wait_for(self.socket(role).exists, process, self.directory / f"{role}.log")
        return process

    def stop(self, role: str, how: signal.Signals = signal.SIGTERM) -> None:
        """End a ptp4l."""
        process = self.running.pop(role)
        process.send_signal(how)
        process.wait(timeout=10)

    def remove(self) -> None:
        """End all and remove the namespaces."""
        for role in list(self.running):
            self.stop(role, signal.SIGKILL)
        for name in (self.master, self.slave):
            subprocess.run(("ip", "netns", "del", name), capture_output=True, check=False)


def wait_for(condition: object, process: subprocess.Popen[bytes], log: Path) -> None:
    """Wait for a state of a process that must live, ten seconds at most."""
    assert callable(condition)
    deadline = time.monotonic() + 10
    while not condition():
        assert process.poll() is None, log.read_text()
        assert time.monotonic() < deadline, log.read_text()
        time.sleep(0.01)


@pytest.fixture(scope="module", params=releases(), ids=lambda r: r.version)
def release(request: pytest.FixtureRequest) -> Release:
    """Each build of linuxptp there is."""
    found: Release = request.param
    return found


@pytest.fixture
def site(release: Release, tmp_path: Path) -> Iterator[Site]:
    """A site with nothing running."""
    made = Site(tmp_path, release)
    try:
        made.build()
        yield made
    finally:
        made.remove()


@pytest.fixture(scope="module")
def pair(release: Release, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """A grandmaster and a slave with a second, idle port, for tests that only read."""
    made = Site(tmp_path_factory.mktemp("ptp"), release)
    try:
        made.build()
        made.start("master", "m1", priority1="100")
        made.start("slave", "s1", "s2", slaveOnly="1", userDescription="the host")
        yield made
    finally:
        made.remove()
