"""The directory of a world: what is wanted (`wanted.json`) and what was started (`process.json`).

Each file has one writer, visord the first and the launcher the second, and is replaced whole.
`wanted.json` names the launch that may go on; it changes only under the lock, which a launcher
holds from its check of that name until exec. Both files are about this boot only, so a host that
crashed loses nothing that was still true.
"""

import asyncio
import contextlib
import fcntl
import json
import os
import secrets
import shutil
import time
from collections.abc import AsyncIterator
from dataclasses import asdict, dataclass, field
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from chronovisor.errors import InvalidInput, Unavailable
from chronovisor.worlds.launcher import LOCK_FILE, PROCESS_FILE, WANTED_FILE, boot_id, replace_file
from chronovisor.worlds.policy import Failures
from chronovisor.worlds.process import Identity, Process
from chronovisor.worlds.spec import WorldSpec
from chronovisor.worlds.state import Enforcement, State

_LOCK_WAIT_S = 5.0
_LOCK_RETRY_S = 0.005
_REMOVED = ".removed-"


@dataclass(frozen=True, slots=True)
class Wanted:
    """What visord decided last about a world.

    `launch` names the launch that may go on. `state` is `starting` from the decision to start on,
    also while it runs. `not_before_s` (since boot) is the next attempt in `backoff`. With
    `asked_to_run` false a process that still runs is to be stopped.
    """

    spec: WorldSpec
    state: State
    launch: str
    boot_id: str
    reason: str
    failures: Failures = field(default_factory=Failures)
    restarts: int = 0
    not_before_s: float = 0.0
    asked_to_run: bool = True


@dataclass(frozen=True, slots=True)
class Started:
    """What a launcher wrote about the process it became."""

    identity: Identity
    launch: str
    started_at_s: float
    spec: WorldSpec
    cgroups: tuple[str, ...]
    enforced: tuple[Enforcement, ...]


def new_launch() -> str:
    """Return a name for a launch that was never used."""
    return secrets.token_hex(8)


class WorldDirectory:
    """One world's directory on disk."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @property
    def output(self) -> Path:
        """The FIFO that the world writes to."""
        return self.path / "output"

    @property
    def log(self) -> Path:
        """The log, without the suffixes `.1`, `.2` … of its older files."""
        return self.path / "log"

    def create(self) -> None:
        """Make the directory; raise `Unavailable` if that cannot be."""
        try:
            self.path.mkdir(mode=0o755, parents=True, exist_ok=True)
        except OSError as error:
            raise Unavailable(f"cannot make {self.path}: {error.strerror}") from error

    def remove(self) -> None:
        """Remove it, whole or (to all who look for worlds) not at all."""
        aside = self.path.with_name(f"{_REMOVED}{self.path.name}-{new_launch()}")
        with contextlib.suppress(FileNotFoundError):
            self.path.rename(aside)
        shutil.rmtree(aside, ignore_errors=True)

    def clean(self) -> None:
        """Remove what writers that were killed left behind."""
        for leftover in self.path.glob("*.tmp"):
            leftover.unlink(missing_ok=True)

    @contextlib.asynccontextmanager
    async def locked(self) -> AsyncIterator[None]:
        """Keep launchers from deciding meanwhile; raise `Unavailable` if one does not let go."""
        try:
            fd = os.open(self.path / LOCK_FILE, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise Unavailable(f"cannot lock {self.path}: {error.strerror}") from error
        try:
            await take_lock(fd, f"a launcher in {self.path}", _LOCK_WAIT_S)
            yield
        finally:
            os.close(fd)

    def read_wanted(self) -> Wanted | None:
        """Return what was decided last, None if nothing readable is there."""
        try:
            wanted = _WANTED.validate_json((self.path / WANTED_FILE).read_bytes())
        except (OSError, ValidationError, InvalidInput):
            return None
        return wanted if wanted.spec.name == self.path.name else None

    def write_wanted(self, wanted: Wanted) -> None:
        """Replace it; raise `Unavailable` if that cannot be. The caller holds the lock."""
        try:
            document = _WANTED.dump_python(wanted, mode="json")
            replace_file(str(self.path / WANTED_FILE), document)
        except OSError as error:
            raise Unavailable(
                f"cannot write {self.path / WANTED_FILE}: {error.strerror}",
                hint="is the file system full or read-only?",
            ) from error

    def read_started(self) -> Started | None:
        """Return which process was started last, None if nothing readable is there."""
        try:
            document = json.loads((self.path / PROCESS_FILE).read_bytes())
            enforced = document["enforced"].items()
            return Started(
                identity=Identity(document["pid"], document["start_ticks"], document["boot_id"]),
                launch=document["launch"],
                started_at_s=document["started_at_s"],
                spec=WorldSpec.from_json(document["spec"]),
                cgroups=tuple(document["cgroups"]),
                enforced=tuple(Enforcement(limit, **how) for limit, how in enforced),
            )
        except (OSError, ValueError, KeyError, TypeError, AttributeError, InvalidInput):
            return None

    def read_last(self) -> Wanted | None:
        """Return what was decided last; if that is unreadable, that what was started goes on."""
        wanted, started = self.read_wanted(), self.read_started()
        if wanted is None and started is not None and started.spec.name == self.path.name:
            boot = started.identity.boot_id
            return Wanted(started.spec, State.STARTING, started.launch, boot, "found running")
        return wanted

    def find_process(self) -> tuple[Process | None, Started | None]:
        """Return the process started last, under watch, if it lives, and its record.

        The record is None if nothing was started since the machine was.
        """
        started = self.read_started()
        if started is None or started.identity.boot_id != boot_id():
            return None, None
        return Process.find(started.identity), started


def found_in(directory: Path) -> list[WorldDirectory]:
    """Return the worlds that have a directory there, and finish removals that were cut off."""
    worlds = []
    for path in sorted(directory.iterdir()):
        if path.name.startswith(_REMOVED):
            shutil.rmtree(path, ignore_errors=True)
        elif path.is_dir():
            worlds.append(WorldDirectory(path))
    return worlds


async def take_lock(fd: int, holder: str, wait_s: float) -> None:
    """Take an flock(2), waiting for whoever may hold it for an instant.

    Raises `Unavailable` naming the `holder` after `wait_s`.
    """
    deadline = time.monotonic() + wait_s
    while True:
        try:
            return fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > deadline:
                raise Unavailable(f"{holder} has held the lock for {wait_s:g} s") from None
        await asyncio.sleep(_LOCK_RETRY_S)


def enforcement_orders(enforced: dict[str, Enforcement]) -> dict[str, dict[str, str | None]]:
    """Return what `Started.enforced` is read back from."""
    return {
        limit: {key: text for key, text in asdict(how).items() if key != "limit"}
        for limit, how in enforced.items()
    }


def first_wanted(spec: WorldSpec, reason: str) -> Wanted:
    """Return the decision about a world that was never started."""
    return Wanted(spec, State.STOPPED, new_launch(), boot_id(), reason, asked_to_run=False)


_WANTED = TypeAdapter(Wanted)
