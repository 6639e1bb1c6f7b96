"""A lab's directory: its lock, and the record of what was asked for and how far that got.

The record is written before anything is made, so whatever a killed `up` left can be found; and all
that a lab makes carries its name, so it can be found without the record too.
"""

import contextlib
import fcntl
import json
import os
import shutil
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from chronovisor.errors import Conflict, InvalidInput, Unavailable
from chronovisor.lab.spec import LabSpec
from chronovisor.worlds.launcher import boot_id, replace_file

LABS = Path("/run/chronovisor-lab")
"""Where labs are unless the caller says otherwise."""

_RECORD = "lab.json"
_LOCK = "lock"
_LONGEST_SOCKET = 107  # sun_path, unix(7)
_DEEPEST_SOCKET = "host99/run/clock/ptp-client-4194304-01234567.sock"
_LOCK_WAIT_S = 20.0
_LOCK_RETRY_S = 0.02


@dataclass(frozen=True, slots=True)
class Record:
    """What is known of a lab: `complete` once it was built whole, `boot_id` of its boot.

    `running` has the names of the grandmasters that are meant to run now.
    """

    spec: LabSpec
    running: tuple[str, ...]
    boot_id: str
    complete: bool = False


@dataclass(frozen=True, slots=True)
class LabDirectory:
    """The directory of one lab below `base`."""

    base: Path
    name: str

    @property
    def path(self) -> Path:
        """The directory itself."""
        return self.base / self.name

    @property
    def worlds(self) -> Path:
        """Where the records of its processes are."""
        return self.path / "worlds"

    def node(self, name: str) -> Path:
        """Return the directory of a node."""
        return self.path / name

    def check_length(self) -> None:
        """Raise `InvalidInput` if sockets of a host below it would have too long a path."""
        room = _LONGEST_SOCKET - len(_DEEPEST_SOCKET) - len(self.name) - len("//")
        if len(os.fsencode(self.base.absolute())) > room:
            raise InvalidInput(
                f"{self.base} is too deep a directory for the sockets of lab {self.name!r}",
                hint=f"name another with --directory, at most {room} bytes long",
            )

    def read(self) -> Record | None:
        """Return the record, None if there is none that can be read."""
        try:
            document = json.loads((self.path / _RECORD).read_bytes())
            return Record(
                LabSpec.from_json(document["spec"]),
                tuple(document["running"]),
                document["boot_id"],
                bool(document["complete"]),
            )
        except (OSError, ValueError, KeyError, TypeError, InvalidInput):
            return None

    def write(self, record: Record) -> None:
        """Replace the record; raise `Unavailable` if that cannot be."""
        document = asdict(record) | {"spec": record.spec.to_json()}
        try:
            replace_file(str(self.path / _RECORD), document)
        except OSError as error:
            raise Unavailable(f"cannot write {self.path / _RECORD}: {error.strerror}") from error

    def clear(self) -> None:
        """Remove all but the lock."""
        with contextlib.suppress(FileNotFoundError):
            for path in self.path.iterdir():
                if path.is_dir() and not path.is_symlink():
                    shutil.rmtree(path)
                elif path.name != _LOCK:
                    path.unlink()

    def remove(self) -> None:
        """Remove it with the lock, and the directory of all labs after the last of them."""
        shutil.rmtree(self.path, ignore_errors=True)
        with contextlib.suppress(OSError):
            self.base.rmdir()

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Work on the lab alone, making its directory.

        Raises `Conflict` naming who works on it if that goes on for over 20 s. A directory that
        holds nothing but the lock afterwards is removed.
        """
        fd = self._lock()
        try:
            yield
        finally:
            if [path.name for path in self.path.glob("*")] == [_LOCK]:
                self.remove()
            os.close(fd)

    def _lock(self) -> int:
        deadline = time.monotonic() + _LOCK_WAIT_S
        while True:
            fd = self._open_lock()
            if fd is not None:
                if self._take(fd):
                    return fd
                os.close(fd)
            if time.monotonic() > deadline:
                raise Conflict(
                    f"another command has been working on lab {self.name!r} for a while",
                    hint=f"`fuser -v {self.path / _LOCK}` shows which; wait for it or end it",
                )
            time.sleep(_LOCK_RETRY_S)

    def _open_lock(self) -> int | None:
        try:
            self.path.mkdir(mode=0o755, parents=True, exist_ok=True)
            flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC
            return os.open(self.path / _LOCK, flags, 0o600)
        except FileNotFoundError:  # `down` removed it right now
            return None
        except OSError as error:
            raise Unavailable(f"cannot use {self.path}: {error.strerror}") from error

    def _take(self, fd: int) -> bool:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            # Whoever held it may have removed the file: then this lock excludes nobody.
            return os.fstat(fd).st_ino == (self.path / _LOCK).stat().st_ino
        except (BlockingIOError, FileNotFoundError):
            return False


def first(spec: LabSpec) -> Record:
    """Return the record of a lab of which nothing was built."""
    running = tuple(f"gm{number}" for number in sorted(set(spec.started)))
    return Record(spec, running, boot_id())


def names(base: Path) -> list[str]:
    """Return the names of the labs that have a directory."""
    with contextlib.suppress(OSError):
        return sorted(path.name for path in base.iterdir() if path.is_dir())
    return []
