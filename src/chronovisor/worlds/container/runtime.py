"""The OCI runtime: which one, whether it will do, and what it says."""

import asyncio
import json
import re
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from chronovisor.errors import ProtocolError, ToolFailed

KNOWN = ("runc", "crun")
_OLDEST = {"runc": (1, 0), "crun": (1, 0)}  # both from 2021: errnoRet of seccomp, cgroup version 2
_VERSION = re.compile(r"(\w[\w.-]*) version v?(\d+)\.(\d+)[\w.+~-]*")
_PATIENCE_S = 20.0
_LONGEST_MESSAGE = 500
_STATUSES = frozenset({"creating", "created", "running", "stopped", "paused"})
WITHOUT = "install it with `apt-get install runc`, or turn the sandbox off in the settings"


@dataclass(frozen=True, slots=True)
class Runtime:
    """A runtime that will do."""

    path: str
    name: str
    version: str


@dataclass(frozen=True, slots=True)
class ContainerState:
    """What a runtime says of a container (OCI runtime-spec 1.0.2, runtime.md, State)."""

    name: str
    status: str
    pid: int
    bundle: str


_found: dict[tuple[str, int], Runtime] = {}


def find(wanted: str | None) -> Runtime:
    """Return the runtime that a sandbox asks for, or the first of `KNOWN` there is.

    Raises `ToolFailed` if it is missing or too old.
    """
    names = (wanted,) if wanted else KNOWN
    path = next((path for name in names if (path := shutil.which(name, path=_PATH))), None)
    if path is None:
        text = f"OCI runtime {wanted} is not there" if wanted else "there is no OCI runtime"
        raise ToolFailed(f"{text} (looked for {', '.join(names)})", hint=WITHOUT)
    key = (path, Path(path).stat().st_mtime_ns)
    if key not in _found:
        _found[key] = _ask(path)
    return _found[key]


_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


def _ask(path: str) -> Runtime:
    try:
        done = subprocess.run(
            [path, "--version"], capture_output=True, timeout=_PATIENCE_S, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise ToolFailed(f"OCI runtime {path} cannot be run: {error}", hint=WITHOUT) from error
    runtime, numbers = parse_version(path, done.stdout.decode(errors="replace"))
    oldest = _OLDEST.get(runtime.name)
    if oldest and numbers < oldest:
        text = f"OCI runtime {path} is {runtime.version}, too old"
        wanted = ".".join(map(str, oldest))
        raise ToolFailed(text, hint=f"{wanted} is the oldest that will do; {WITHOUT}")
    return runtime


def parse_version(path: str, text: str) -> tuple[Runtime, tuple[int, int]]:
    """Return who answers `--version` with `text`; raise `ToolFailed` if that is no runtime."""
    match = _VERSION.match(text)
    if not match:
        said = text.splitlines()[0][:80] if text.strip() else "nothing"
        raise ToolFailed(f"{path} is no OCI runtime: it says {said!r} of its version", hint=WITHOUT)
    name, major, minor = match.groups()
    version = match.group(0).rpartition(" ")[2]
    return Runtime(path, name, version), (int(major[:9]), int(minor[:9]))


def failure(log: str) -> str:
    """Return the last error in a runtime's JSON log, empty if it has none."""
    found = ""
    for line in log.splitlines():
        try:
            entry = json.loads(line)
        except (ValueError, RecursionError):
            continue
        if isinstance(entry, dict) and entry.get("level") in ("error", "fatal", "panic"):
            message = entry.get("msg")
            found = message if isinstance(message, str) else found
    found = " ".join(found.split())
    return found if len(found) <= _LONGEST_MESSAGE else f"{found[:_LONGEST_MESSAGE]}…"


def parse_state(text: str) -> ContainerState:
    """Return what `runtime state` printed; raise `ProtocolError` if it is not that."""
    try:
        document = json.loads(text)
        name, status = document["id"], document["status"]
        pid, bundle = document.get("pid", 0), document["bundle"]
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise ProtocolError(f"not the state of a container: {text[:80]!r}") from error
    texts = all(isinstance(one, str) for one in (name, status, bundle))
    if not texts or status not in _STATUSES or type(pid) is not int or not 0 <= pid < 1 << 31:
        raise ProtocolError(f"not the state of a container: {text[:80]!r}")
    return ContainerState(name, status, pid, bundle)


async def run(argv: Sequence[str]) -> tuple[int, str, str]:
    """Run a program; return exit code, output and errors. Raises `ToolFailed` if it cannot run."""
    try:
        process = await asyncio.create_subprocess_exec(
            *argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
    except OSError as error:
        raise ToolFailed(f"cannot run {argv[0]}: {error.strerror}") from error
    try:
        out, err = await asyncio.wait_for(process.communicate(), _PATIENCE_S)
    except BaseException as error:
        if process.returncode is None:
            process.kill()
        if isinstance(error, TimeoutError):
            raise ToolFailed(f"{' '.join(argv)} took over {_PATIENCE_S:g} s") from error
        raise
    return process.returncode or 0, out.decode(errors="replace"), err.decode(errors="replace")


async def state(runtime: Runtime, root: Path, name: str) -> ContainerState:
    """Ask a runtime for a container's state; raise `ToolFailed`, `ProtocolError`."""
    argv = (runtime.path, "--root", str(root), "state", name)
    code, out, err = await run(argv)
    if code != 0:
        raise ToolFailed(f"{runtime.name} state {name}: {err.strip() or f'status {code}'}")
    return parse_state(out)
