"""The directory of port records, as the responder reads it: always what it holds now."""

import os
import sys
import time
from pathlib import Path

from chronovisor.net.dhcp.v6 import record as files
from chronovisor.net.dhcp.v6.record import Record

_SETTLED_NS = 100_000_000  # far above the step of file timestamps (10 ms at CONFIG_HZ=100)


class Records:
    """Records by device. Files are read again when the directory says that something changed.

    Files come and go by rename, so the directory's time tells. While that time is fresh, a change
    within the same step of the clock would not show; then the directory is read again.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._files: dict[str, tuple[tuple[int, int, int], Record | None]] = {}
        self._by_device: dict[str, Record] = {}
        self._seen_ns = -1
        self._settled = False
        self.changed: set[str] = set()
        """Devices whose record is new or differs since this was last emptied."""

    def current(self) -> dict[str, Record]:
        """Return every record by device name."""
        try:
            time_ns = self._directory.stat().st_mtime_ns
        except FileNotFoundError:
            return {}
        if time_ns != self._seen_ns or not self._settled:
            self._settled = abs(time.time_ns() - time_ns) > _SETTLED_NS
            self._seen_ns = time_ns
            self._read()
        return self._by_device

    def _read(self) -> None:
        found: dict[str, tuple[tuple[int, int, int], Record | None]] = {}
        with os.scandir(self._directory) as entries:
            for entry in entries:
                if entry.name.startswith("."):
                    continue
                try:
                    status = entry.stat()
                except FileNotFoundError:
                    continue  # removed since the directory was read; the next look sees that
                mark = (status.st_ino, status.st_mtime_ns, status.st_size)
                known = self._files.get(entry.name)
                found[entry.name] = known if known and known[0] == mark else (mark, _load(entry))
        before, self._files = self._by_device, found
        self._by_device = {one.device: one for _, one in found.values() if one}
        self.changed |= {
            device for device, one in self._by_device.items() if before.get(device) != one
        }


def _load(entry: os.DirEntry[str]) -> Record | None:
    try:
        return files.from_text(Path(entry.path).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        sys.stderr.write(f"{entry.path}: {error}; its port gets no answer\n")
        return None
