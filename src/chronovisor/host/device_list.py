"""Which device list holds: the shipped one with the operator's devices.yaml laid over it.

A file with a problem is not applied at all; the shipped list holds then, and `problem` says why.
"""

import stat
from pathlib import Path

from chronovisor.clock.devices.listing import DeviceList, load, shipped
from chronovisor.errors import InvalidInput


class DeviceListSource:
    """The device list that holds. `problem` is empty while the file is well or not there."""

    def __init__(self, file: Path) -> None:
        self.file = file
        self.listed: DeviceList = shipped()
        self.problem = ""
        self._seen: tuple[object, ...] | None = None

    def reload(self) -> bool:
        """Read the file if it changed since the last look; return whether it did."""
        now = self._mark()
        if now == self._seen:
            return False
        self._seen = now
        try:
            self.listed, self.problem = load(self.file), ""
        except InvalidInput as error:
            self.listed, self.problem = shipped(), f"{error.message}; the shipped list holds"
        return True

    def _mark(self) -> tuple[object, ...]:
        try:
            found = self.file.stat()
        except OSError:
            return ()
        if not stat.S_ISREG(found.st_mode):
            return (found.st_ino,)
        return found.st_ino, found.st_mtime_ns, found.st_size
