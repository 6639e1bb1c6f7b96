"""Where one visord keeps its files; all of it can be moved, so many hosts fit on one machine."""

import os
from dataclasses import dataclass
from pathlib import Path

SOCKET_VARIABLE = "CHRONOVISOR_SOCKET"
"""Environment variable that tells visorctl which visord to ask."""


@dataclass(frozen=True, slots=True)
class Directories:
    """The three directories of a host.

    `etc` is what a person writes, `var` what must survive a reboot, `run` what need not
    (the Filesystem Hierarchy Standard 3.0, sections 3.7, 5.8 and 3.15).
    """

    etc: Path = Path("/etc/chronovisor")
    var: Path = Path("/var/lib/chronovisor")
    run: Path = Path("/run/chronovisor")

    @property
    def socket(self) -> Path:
        """Return the Unix socket that visord serves."""
        return self.run / "visord.sock"

    @property
    def store(self) -> Path:
        """Return the Config Store's database."""
        return self.var / "config.db"

    @property
    def trx_conf(self) -> Path:
        """Return the overlay file of passthrough options."""
        return self.etc / "trx.conf"

    @property
    def devices(self) -> Path:
        """Return the operator's device list."""
        return self.etc / "devices.yaml"

    def create(self) -> None:
        """Make the directories that are missing."""
        for path in (self.etc, self.var, self.run):
            path.mkdir(mode=0o755, parents=True, exist_ok=True)


def default_socket() -> Path:
    """Return the socket named by the environment, or that of a host with default directories."""
    named = os.environ.get(SOCKET_VARIABLE)
    return Path(named) if named else Directories().socket
