"""What is really there: files, leases and daemons."""

import os
from collections.abc import Iterable
from pathlib import Path

from chronovisor.net.dhcp import leases
from chronovisor.net.dhcp.leases import Lease
from chronovisor.net.dhcp.place import DAEMONS, Place
from chronovisor.net.dhcp.plan import Observed
from chronovisor.worlds import State, Supervisor

_Mark = tuple[int, int, int]


class Files:
    """The ports' files, of which only those are read again that differ in inode, time or size.

    Whatever changes a file changes those: we write by rename, which makes a new inode.
    """

    def __init__(self, at: Place) -> None:
        self._at = at
        self._known: dict[Path, tuple[_Mark, str]] = {}

    def all(self) -> dict[Path, str]:
        """Return the text of every port's files by path."""
        found: dict[Path, tuple[_Mark, str]] = {}
        for folder in self._at.folders:
            try:
                entries = [*os.scandir(folder)]
            except FileNotFoundError:
                continue
            for entry in entries:
                if (one := self._read(Path(entry.path))) is not None:
                    found[Path(entry.path)] = one
        self._known = found
        return {path: text for path, (_, text) in found.items()}

    def some(self, ports: Iterable[str]) -> dict[Path, str]:
        """Return the files of some ports only."""
        found: dict[Path, str] = {}
        for path in (folder / port for port in ports for folder in self._at.folders):
            if (one := self._read(path)) is not None:
                self._known[path] = one
                found[path] = one[1]
        return found

    def _read(self, path: Path) -> tuple[_Mark, str] | None:
        try:
            status = path.stat()
            mark = (status.st_ino, status.st_mtime_ns, status.st_size)
            known = self._known.get(path)
            if known and known[0] == mark:
                return known
            return mark, path.read_text(encoding="utf-8")
        except FileNotFoundError:
            return None
        except (OSError, UnicodeDecodeError):
            return (0, 0, 0), ""  # not what we wrote: it is written anew


def observe(
    at: Place, supervisor: Supervisor, files: Files, ports: Iterable[str] | None = None
) -> Observed:
    """Return what there is, the files of all ports or of some only."""
    return Observed(
        files=files.all() if ports is None else files.some(ports),
        leases=read_leases(at),
        daemons={
            world.name: world.wanted_generation
            for world in supervisor.worlds()
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
