"""Where ptpd of one host keeps its files."""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Paths:
    """Files in `directory`, which must not be shared with another host."""

    directory: Path

    @property
    def config(self) -> Path:
        """Return its configuration file."""
        return self.directory / "ptpd.conf"

    @property
    def status(self) -> Path:
        """Return the file that it rewrites every second."""
        return self.directory / "ptpd.status"

    @property
    def statistics(self) -> Path:
        """Return the file to which it appends a line for each packet that tells the time."""
        return self.directory / "ptpd.packets"

    @property
    def lock(self) -> Path:
        """Return the file that keeps a second ptpd away."""
        return self.directory / "ptpd.lock"
