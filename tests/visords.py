"""A real visord of a test's own: own directories, own network namespace, unable to set a clock."""

import contextlib
import http.client
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from chronovisor.cli.client import Client
from chronovisor.worlds.launcher import PROCESS_FILE, start_ticks

VISORCTL = str(Path(sys.executable).with_name("visorctl"))
SLOWNESS = float(os.environ.get("CHRONOVISOR_SLOWNESS", "1"))
"""How many times longer than on a machine of its own everything may take (emulated guests)."""

DEADLINE_S = 60.0 if SLOWNESS == 1 else 20.0 * SLOWNESS
KEY = "/v1/config/host/system/system_time"
NOBODY = 65534
MONITORED = {
    "enabled": True,
    "discipline": "monitor",
    "sandbox": "none",
    "ptp_config": {"port": [{"index": 0, "device": "lo"}]},
}
"""Settings with which ptp4l runs on the loopback device of the namespace and touches no clock.

Without containers: what a test is about is then quicker, and may be a program of the test's own.
"""

_ON_ITS_OWN = ("unshare", "--net", "sh", "-c", 'ip link set lo up && exec "$@"', "sh")


def as_user(user: int, groups: str = "") -> tuple[str, ...]:
    """Return what runs a command as another user, who may read every file all the same.

    A checkout in root's home is closed to others; who may do what must not depend on that.
    """
    rights = ("--groups", groups) if groups else ("--clear-groups",)
    read = ("--inh-caps", "+dac_read_search", "--ambient-caps", "+dac_read_search")
    return ("setpriv", "--reuid", str(user), "--regid", str(user), *rights, *read, "--")


_WITHOUT_CLOCK = ("setpriv", "--bounding-set", "-sys_time", "--inh-caps", "-sys_time", "--")
_T = TypeVar("_T")


def until(what: str, probe: Callable[[], _T | None], deadline_s: float | None = None) -> _T:
    """Return what `probe` gives as soon as that is true; fail naming `what` after `DEADLINE_S`."""
    deadline = time.monotonic() + (deadline_s or DEADLINE_S)
    while not (found := probe()):
        assert time.monotonic() < deadline, f"not in time: {what}; the last was {found!r}"
        time.sleep(0.02)
    return found


class Visord:
    """One visord with its directories; start it, kill it, start it again."""

    place: Sequence[str] = _ON_ITS_OWN
    """Command before its own that brings it into a network namespace."""
    wrapper: Sequence[str] = ()
    rights: Sequence[str] = _WITHOUT_CLOCK
    """Command that takes rights away; empty only where the clock is the test's own."""
    python: str = sys.executable
    program: Sequence[str] = ("-m", "chronovisor.host.main")

    def __init__(self, base: Path, *options: str, env: Mapping[str, str] | None = None) -> None:
        self.etc, self.var, self.run = (base / name for name in ("etc", "var", "run"))
        self.log = base / "visord.log"
        self.options = options
        self.env = dict(env or {})
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def socket(self) -> Path:
        return self.run / "visord.sock"

    @property
    def trx_conf(self) -> Path:
        return self.etc / "trx.conf"

    @property
    def client(self) -> Client:
        return Client(self.socket)

    def spawn(self, *options: str) -> "subprocess.Popen[bytes]":
        """Start a visord with these directories and do not wait for anything."""
        with self.log.open("ab") as log:
            return subprocess.Popen(
                [
                    *(*self.place, *self.wrapper, *self.rights),
                    *(self.python, *self.program),
                    *("--etc", str(self.etc), "--var", str(self.var), "--run", str(self.run)),
                    *(*self.options, *options),
                ],
                env=os.environ | self.env,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )

    def start(self, *options: str) -> "Visord":
        """Start it and wait until it answers."""
        self.process = self.spawn(*options)
        until("visord answers", self._answers)
        return self

    def _answers(self) -> bool:
        assert self.process is not None
        assert self.process.poll() is None, f"visord ended: {self.log.read_text()}"
        with contextlib.suppress(OSError, http.client.HTTPException):
            return self.ask("GET", "/v1/health")[0] in (200, 403)
        return False

    def refusal(self, *options: str) -> tuple[int, str]:
        """Start it where it has to end by itself; return its exit code and what it said."""
        size = self.log.stat().st_size if self.log.exists() else 0
        process = self.spawn(*options)
        try:
            code = process.wait(DEADLINE_S)
        finally:
            process.kill()
            process.wait()
        return code, self.log.read_bytes()[size:].decode()

    def stop(self, number: int = signal.SIGTERM) -> int:
        """End it with a signal; return its exit code."""
        assert self.process is not None
        self.process.send_signal(number)
        code = self.process.wait(DEADLINE_S)
        self.process = None
        return code

    def ask(
        self,
        method: str,
        path: str,
        body: bytes | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> tuple[int, str, Any]:
        """Send one request as it is; return status, media type and what the body holds."""
        connection = http.client.HTTPConnection("localhost", timeout=DEADLINE_S)
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection.sock:
            connection.sock.settimeout(DEADLINE_S)
            connection.sock.connect(str(self.socket))
            kind = {"Content-Type": "application/json"} if body is not None else {}
            connection.request(method, path, body, {**kind, **(headers or {})})
            answer = connection.getresponse()
            content = answer.read()
        media = answer.headers.get_content_type()
        return answer.status, media, json.loads(content) if media.endswith("json") else content

    def ctl(self, *words: str, user: int = 0, groups: str = "") -> tuple[int, str, str]:
        """Run `visorctl WORDS`, as another user if asked; return exit code, output and errors."""
        become = as_user(user, groups) if user else ()
        done = subprocess.run(
            [*become, VISORCTL, "--socket", str(self.socket), *words],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=60 * SLOWNESS,
            check=False,
        )
        assert "Traceback" not in done.stderr, done.stderr
        return done.returncode, done.stdout, done.stderr

    def do(self, *words: str) -> str:
        """Run `visorctl WORDS`, which has to succeed; return its output."""
        code, output, errors = self.ctl(*words)
        assert code == 0, f"visorctl {' '.join(words)}: exit code {code}\n{errors}"
        return output

    @contextlib.contextmanager
    def following(self, *words: str) -> Iterator[tuple["subprocess.Popen[bytes]", Path]]:
        """Run a `visorctl` that does not end by itself; yield it and the file of all it says."""
        said = self.log.with_name("said")
        with said.open("wb") as file:
            process = subprocess.Popen(
                [VISORCTL, "--socket", str(self.socket), *words],
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=file,
            )
        try:
            yield process, said
        finally:
            process.kill()
            process.wait()

    def set(self, **fields: Any) -> dict[str, Any]:
        """Put a whole value of the time settings."""
        commit: dict[str, Any] = self.client.call("PUT", KEY, fields)
        return commit

    def status(self) -> dict[str, Any]:
        found: dict[str, Any] = self.client.get("/v1/clock/status")
        return found

    def until_status(self, what: str, holds: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
        return until(what, lambda: now if holds(now := self.status()) else None)

    def clear(self) -> None:
        """End it and every world that it left."""
        if self.process is not None:
            self.stop(signal.SIGKILL)
        until("its worlds ended, and what was about to start one", self._nothing_runs)
        for pin in self.run.glob("worlds/*/netns"):
            subprocess.run(["umount", str(pin)], capture_output=True, check=False)

    def _nothing_runs(self) -> bool:
        """Kill what runs for a visord that is dead; tell whether that was nothing."""
        quiet = True
        for record in self.run.rglob(PROCESS_FILE):
            with contextlib.suppress(OSError, ValueError, KeyError):
                found = json.loads(record.read_text())
                if start_ticks(found["pid"]) == found["start_ticks"]:
                    quiet = False
                    with contextlib.suppress(ProcessLookupError):
                        os.killpg(found["pid"], signal.SIGKILL)
                    os.kill(found["pid"], signal.SIGKILL)
        for process in Path("/proc").glob("[0-9]*"):  # launchers, and commands of an OCI runtime
            with contextlib.suppress(OSError):
                if bytes(self.run) + b"/" in (process / "cmdline").read_bytes():
                    quiet = False
                    os.kill(int(process.name), signal.SIGKILL)
        return quiet


@contextlib.contextmanager
def short_directory() -> Iterator[Path]:
    """Make a directory whose path leaves room for sockets below it, readable for all."""
    path = Path(tempfile.mkdtemp(prefix="cvd-"))
    path.chmod(0o755)
    try:
        yield path
    finally:
        shutil.rmtree(path)


@contextlib.contextmanager
def visord_in(base: Path, *options: str, env: Mapping[str, str] | None = None) -> Iterator[Visord]:
    """Make a visord that is not yet started; whatever it leaves is ended."""
    visord = Visord(base, *options, env=env)
    try:
        yield visord
    finally:
        visord.clear()
