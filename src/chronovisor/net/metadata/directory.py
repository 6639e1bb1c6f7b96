"""The proxy's directory as visord writes and reads it: applies the plan, observes what is there.

Level-triggered: all of it may be run at any time again. A file is replaced in one step, so a kill
between any two lines leaves the old or the new one, and at most a hidden leftover that the next
write of the same file takes away.
"""

import asyncio
import json
import os
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from chronovisor.errors import Unavailable
from chronovisor.net.metadata.plan import (
    NAME,
    SERVICE_UID,
    Action,
    Observed,
    RemoveFile,
    RunProxy,
    StopProxy,
    WriteFile,
)
from chronovisor.net.metadata.state import PORTS, SERVICE_FILE, STATUS_SOCKET
from chronovisor.worlds import State, Supervisor, World

_MOST_STATUS = 16 << 20

FileAction = WriteFile | RemoveFile


@dataclass(frozen=True, slots=True)
class _File:
    mark: tuple[int, int, int] | None = None
    text: str = ""


class MetadataDirectory:
    """A directory that visord writes and the proxy, as group `gid`, reads.

    `gid` None leaves files to visord's own group, for a proxy that is visord's user.
    """

    def __init__(self, path: Path, gid: int | None = SERVICE_UID) -> None:
        self.path = path
        self._gid = gid
        self._known: dict[str, _File] = {}

    def prepare(self) -> None:
        """Make the directory. Raises `Unavailable`."""
        try:
            for path in (self.path, self.path / PORTS):
                path.mkdir(mode=0o750, parents=True, exist_ok=True)
                self._give(path, 0o750)
        except OSError as error:
            raise Unavailable(f"cannot make {self.path}: {error.strerror}") from error

    def observe(self, worlds: Iterable[World]) -> Observed:
        """Return what is there; a file that cannot be read counts as empty."""
        names = [SERVICE_FILE] if (self.path / SERVICE_FILE).exists() else []
        names += [f"{PORTS}/{path.name}" for path in (self.path / PORTS).glob("[!.]*")]
        running = [one for one in worlds if one.name == NAME]
        self._known = {name: self._read(name) for name in names}
        return Observed(
            files={name: one.text for name, one in self._known.items()},
            generation=next(
                (one.wanted_generation for one in running if one.state is not State.STOPPED), None
            ),
        )

    async def apply(self, action: Action, supervisor: Supervisor) -> None:
        """Do one action. Raises `Unavailable` or `ToolFailed` where it cannot be done."""
        match action:
            case WriteFile() | RemoveFile():
                await asyncio.to_thread(self.apply_files, [action])
            case RunProxy(spec):
                self.prepare()
                await supervisor.ensure(spec)
            case StopProxy(reason):
                await supervisor.stop(NAME, reason)

    def apply_files(self, actions: Iterable[FileAction]) -> None:
        """Do what needs no process, in any thread. Raises `Unavailable` at the first that fails."""
        for action in actions:
            match action:
                case WriteFile(name, text):
                    self.write(name, text)
                case RemoveFile(name):
                    self.remove(name)

    def write(self, name: str, text: str) -> None:
        """Replace a file. It need not survive a power cut: visord writes it anew at boot."""
        path = self.path / name
        temporary = path.with_name(f".{path.name}.new")
        try:
            if not path.parent.is_dir():
                self.prepare()
            temporary.unlink(missing_ok=True)
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
            with os.fdopen(os.open(temporary, flags, 0o600), "w", encoding="utf-8") as file:
                file.write(text)
                file.flush()
                self._give(temporary, 0o640)
            temporary.replace(path)
        except OSError as error:
            raise Unavailable(f"cannot write {path}: {error.strerror}") from error

    def remove(self, name: str) -> None:
        """Remove a file; that it is gone already is fine."""
        try:
            (self.path / name).unlink(missing_ok=True)
        except OSError as error:
            raise Unavailable(f"cannot remove {self.path / name}: {error.strerror}") from error

    async def status(self, timeout_s: float = 2.0) -> dict[str, Any]:
        """Return what the proxy says of itself: `proxy.Proxy.status`. Raises `Unavailable`."""
        path = self.path / STATUS_SOCKET
        try:
            async with asyncio.timeout(timeout_s):
                reader, writer = await asyncio.open_unix_connection(path)
                try:
                    data = await reader.read(_MOST_STATUS)
                    while more := await reader.read(_MOST_STATUS):
                        data += more
                finally:
                    writer.close()
                document = json.loads(data)
        except (OSError, TimeoutError, ValueError) as error:
            raise Unavailable(
                f"the metadata proxy does not answer on {path}: {error}",
                hint=f"visorctl world logs {NAME}",
            ) from error
        assert isinstance(document, dict)
        return document

    def _give(self, path: Path, mode: int) -> None:
        if self._gid is not None:
            os.chown(path, -1, self._gid)
        path.chmod(mode)

    def _read(self, name: str) -> _File:
        """Return a file, read again only if it differs in inode, time or size."""
        path = f"{self.path}/{name}"
        with suppress(OSError, UnicodeDecodeError):
            status = os.stat(path)  # noqa: PTH116 - pathlib's costs five times as much
            mark = (status.st_ino, status.st_mtime_ns, status.st_size)
            known = self._known.get(name)
            if known and known.mark == mark:
                return known
            return _File(mark, Path(path).read_text(encoding="utf-8"))
        return _File()
