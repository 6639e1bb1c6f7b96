"""What is really there: files, leases and daemons."""

import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from chronovisor.net.dhcp import leases
from chronovisor.net.dhcp.leases import Lease
from chronovisor.net.dhcp.place import DAEMONS, Place
from chronovisor.net.dhcp.plan import Observed
from chronovisor.worlds import State, World


@dataclass(frozen=True, slots=True)
class _File:
    path: Path
    mark: tuple[int, int, int]
    text: str


class Files:
    """The ports' files, of which only those are read again that differ in inode, time or size.

    Whatever changes a file changes those: we write by rename, which makes a new inode.
    """

    def __init__(self, at: Place) -> None:
        self._at = at
        self._known: dict[str, _File] = {}

    def all(self) -> dict[Path, str]:
        """Return the text of every port's files by path."""
        found: dict[str, _File] = {}
        for folder in self._at.folders:
            try:
                entries = [*os.scandir(folder)]
            except FileNotFoundError:
                continue
            for entry in entries:
                if one := self._read(entry.path):
                    found[entry.path] = one
        self._known = found
        return {one.path: one.text for one in found.values()}

    def some(self, ports: Iterable[str]) -> dict[Path, str]:
        """Return the files of some ports only."""
        found: dict[Path, str] = {}
        for name in (f"{folder}/{port}" for port in ports for folder in self._at.folders):
            if one := self._read(name):
                self._known[name] = one
                found[one.path] = one.text
        return found

    def _read(self, name: str) -> _File | None:
        try:
            status = os.stat(name)  # noqa: PTH116 - pathlib's costs five times as much
            mark = (status.st_ino, status.st_mtime_ns, status.st_size)
            known = self._known.get(name)
            if known and known.mark == mark:
                return known
            path = Path(name)
            return _File(path, mark, path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            return None
        except (OSError, UnicodeDecodeError):
            return _File(Path(name), (0, 0, 0), "")  # not what we wrote: it is written anew


def observe(
    at: Place, worlds: Iterable[World], files: Files, ports: Iterable[str] | None = None
) -> Observed:
    """Return what there is, the files of all ports or of some only."""
    return Observed(
        files=files.all() if ports is None else files.some(ports),
        leases=read_leases(at),
        daemons={
            world.name: world.wanted_generation
            for world in worlds
            if world.name in DAEMONS and world.state is not State.STOPPED
        },
        reload_pending=at.reload_mark.exists(),
    )


def read_leases(at: Place) -> tuple[Lease, ...]:
    """Return the IPv4 leases; none where there is no file yet."""
    try:
        return leases.parse(at.leases.read_text(encoding="utf-8", errors="replace"))
    except OSError:
        return ()
