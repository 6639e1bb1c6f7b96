"""A lab and its hosts, driven as a user drives them: through `visorctl` and the API alone."""

import contextlib
import itertools
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar

from chronovisor.cli.client import Client
from chronovisor.errors import Unavailable

VISORCTL = str(Path(sys.executable).with_name("visorctl"))
DEADLINE_S = 60.0

_numbers = itertools.count()
_T = TypeVar("_T")


def until(what: str, probe: Callable[[], _T | None], deadline_s: float = DEADLINE_S) -> _T:
    """Return what `probe` gives as soon as that is true; fail naming `what` and the last of it."""
    deadline = time.monotonic() + deadline_s
    while not (found := probe()):
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {deadline_s:g} s: {what}; the last was {found!r}")
        time.sleep(0.02)
    return found


@contextlib.contextmanager
def short_directory() -> Iterator[Path]:
    """Make a directory that all may enter, its path short enough for sockets below (unix(7))."""
    with tempfile.TemporaryDirectory(prefix="cv-") as name:
        Path(name).chmod(0o755)
        yield Path(name)


def unique_name() -> str:
    """Return a lab's name that no other test run on this machine uses."""
    return f"t{os.getpid()}-{next(_numbers)}"


class Lab:
    """A lab by name below `base`; whoever makes one calls `remove` in the end."""

    def __init__(self, base: Path, name: str | None = None) -> None:
        self.name = name or unique_name()
        self.base = base
        self._pattern = re.compile(rf"cv-{self.name}-(fabric|gm\d+|host\d+)(?![\w-])")
        self._environment = os.environ | {"CHRONOVISOR_LAB": str(base)}

    def run(self, *words: str, env: Mapping[str, str] | None = None) -> tuple[int, str, str]:
        """Run `visorctl lab WORDS`; return exit code, output and errors."""
        done = subprocess.run(
            [VISORCTL, "lab", words[0], "--name", self.name, *words[1:]],
            env=self._environment | dict(env or {}),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        return done.returncode, done.stdout, done.stderr

    def do(self, *words: str) -> str:
        """Run `visorctl lab WORDS`, which has to succeed; return its output."""
        code, output, errors = self.run(*words)
        assert code == 0, f"visorctl lab {' '.join(words)}: exit code {code}\n{errors}"
        return output

    def spawn(self, *words: str) -> "subprocess.Popen[str]":
        """Start `visorctl lab WORDS` and do not wait for it."""
        return subprocess.Popen(
            [VISORCTL, "lab", words[0], "--name", self.name, *words[1:]],
            env=self._environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def status(self) -> dict[str, Any]:
        """Return the lab's status."""
        found = json.loads(self.do("status", "--format", "json"))
        assert isinstance(found, dict)
        return found

    def node(self, name: str) -> dict[str, Any]:
        """Return what the status says of one node."""
        return next(node for node in self.status()["nodes"] if node["name"] == name)

    def on(self, node: str, *argv: str) -> str:
        """Run a command on a node, which has to succeed; return its output."""
        return self.do("exec", node, "--", *argv)

    def namespaces(self) -> list[str]:
        """Return the network namespaces that carry the lab's name."""
        place = Path("/run/netns")
        names = [path.name for path in place.iterdir()] if place.is_dir() else []
        return sorted(name for name in names if self._pattern.fullmatch(name))

    def leftovers(self) -> list[str]:
        """Return whatever on this machine still carries the lab's name."""
        left = [f"namespace {name}" for name in self.namespaces()]
        if (self.base / self.name).exists():
            left.append(f"directory {self.base / self.name}")
        # No argument of any process, and no mount, names a lab that is gone.
        needle = f"{self.base / self.name}/"
        for process in Path("/proc").glob("[0-9]*"):
            try:
                words = (process / "cmdline").read_bytes().decode("utf-8", "replace")
            except OSError:
                continue
            if needle in words or self._pattern.search(words):
                left.append(f"process {process.name} {words!r}")
        cgroup = re.compile(rf"lab-{self.name}-[0-9a-f]{{12}}")
        for path, names, _ in os.walk("/sys/fs/cgroup"):
            left += [f"cgroup {path}/{name}" for name in names if cgroup.fullmatch(name)]
        mounts = Path("/proc/self/mountinfo").read_text().splitlines()
        left += [f"mount {line}" for line in mounts if self._pattern.search(line)]
        return left

    def remove(self) -> None:
        """Remove the lab, and fail if anything of it is left."""
        self.do("down")
        assert self.leftovers() == []


class Host:
    """A host of a lab, asked and told through `visorctl` and the API of its visord."""

    def __init__(self, lab: Lab, name: str = "host1") -> None:
        self.lab = lab
        self.name = name
        self.directory = lab.base / lab.name / name
        self.socket = self.directory / "run" / "visord.sock"
        self.trx_conf = self.directory / "etc" / "trx.conf"
        self.api = Client(self.socket)

    def run(self, *words: str, text: str = "") -> tuple[int, str, str]:
        """Run `visorctl WORDS`; return exit code, output and errors."""
        done = subprocess.run(
            [VISORCTL, "--socket", str(self.socket), *words],
            input=text,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        return done.returncode, done.stdout, done.stderr

    def do(self, *words: str, text: str = "") -> str:
        """Run `visorctl WORDS`, which has to succeed; return its output."""
        code, output, errors = self.run(*words, text=text)
        assert code == 0, f"visorctl {' '.join(words)}: exit code {code}\n{errors}"
        return output

    def clock(self) -> dict[str, Any]:
        """Return the clock's status."""
        found = self.api.get("/v1/clock/status")
        assert isinstance(found, dict)
        return found

    def until(
        self, what: str, holds: Callable[[dict[str, Any]], object], deadline_s: float = DEADLINE_S
    ) -> dict[str, Any]:
        """Return the clock's status as soon as `holds` is true of it."""
        last: list[object] = ["visord never answered"]

        def probe() -> dict[str, Any] | None:
            try:
                last[0] = now = self.clock()
            except Unavailable:
                return None
            return now if holds(now) else None

        try:
            return until(what, probe, deadline_s)
        except AssertionError as error:
            raise AssertionError(f"{error}; the clock: {json.dumps(last[0], indent=1)}") from None

    def until_measured_by(self, mechanism: str) -> dict[str, Any]:
        """Return the clock's status once it tracks with path delays measured this way."""
        answer = {"E2E": "delay_resp", "P2P": "pdelay_resp"}[mechanism]

        def holds(now: dict[str, Any]) -> bool:
            port = now["ports"][0]
            received = port["received"] or {answer: 0}
            ways = (port["delay_mechanism"], now["state"])
            return ways == (mechanism, "tracking") and received[answer] > 0

        return self.until(f"tracking by {mechanism}", holds)

    def until_tracking(self, identity: str | None = None) -> dict[str, Any]:
        """Return the clock's status as soon as it is `tracking`, a certain grandmaster if given."""

        def holds(now: dict[str, Any]) -> bool:
            master = now["grandmaster"]
            known = master is not None and identity in (None, master["identity"])
            return now["state"] == "tracking" and known

        return self.until(f"tracking {identity or ''}", holds)
