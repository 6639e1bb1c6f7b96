"""Where the daemons of one host keep their files and sockets."""

from dataclasses import dataclass
from pathlib import Path

from chronovisor.errors import InvalidInput

_LONGEST_NAME = "ptp-client-4194304-01234567.sock"
"""The management client's own socket (`clock.ptp`), with the largest pid there is."""

_SUN_PATH = 107  # bytes of a Unix socket's path, unix(7), without the terminator


@dataclass(frozen=True, slots=True)
class Paths:
    """Files and sockets in `directory`, which must not be shared with another host.

    Raises InvalidInput where the directory's path is too long for a socket, or cannot stand in a
    configuration file.
    """

    directory: Path

    def __post_init__(self) -> None:
        longest = str(self.directory / _LONGEST_NAME)
        size = len(longest.encode())
        if size > _SUN_PATH:
            raise InvalidInput(
                f"the socket path {longest} has {size} bytes, a socket takes {_SUN_PATH}",
                hint="choose a shorter run directory",
            )
        if not longest.isprintable() or longest.strip() != longest:
            raise InvalidInput(
                f"the directory {str(self.directory)!r} cannot be written in a configuration file",
                hint="choose a run directory without control characters",
            )

    @property
    def socket(self) -> Path:
        """Return the socket on which ptp4l answers management with all rights."""
        return self.directory / "ptp4l"

    @property
    def read_only_socket(self) -> Path:
        """Return the socket on which ptp4l 4.0 and later answers questions alone."""
        return self.directory / "ptp4l-ro"

    def config(self, program: str) -> Path:
        """Return the configuration file of a program."""
        return self.directory / f"{program}.conf"
