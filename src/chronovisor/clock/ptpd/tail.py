"""Follows a file that a program appends to and now and then begins anew; whole lines only."""

import os
from contextlib import suppress
from pathlib import Path

CHUNK_BYTES = 64 * 1024
"""What is read at once at most; what is older is passed over, so no backlog can build up."""

BACK_BYTES = 4096
"""How far back the first reading begins: a few seconds at usual rates."""


class Tail:
    """The end of a file. Not for two threads at once."""

    def __init__(self, path: Path, longest_line: int) -> None:
        self._path = path
        self._longest_line = longest_line
        self._file: int | None = None
        self._rest = b""

    def lines(self) -> list[bytes]:
        """Return the lines that are new since the last call; none while there is no file."""
        found: list[bytes] = []
        if self._file is None:
            self._open(back=True)
        if self._file is not None:
            found = self._read(self._file)
            if self._replaced(self._file):
                self.close()
                self._open(back=False)
                found += self._read(self._file) if self._file is not None else []
        return found

    def close(self) -> None:
        """Let go of the file."""
        if self._file is not None:
            os.close(self._file)
        self._file, self._rest = None, b""

    def _open(self, *, back: bool) -> None:
        with suppress(OSError):  # it is not there yet
            self._file = os.open(self._path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
            start = max(0, os.fstat(self._file).st_size - BACK_BYTES) if back else 0
            os.lseek(self._file, start, os.SEEK_SET)
            if start:
                self._rest = b"#"  # what is cut off at its begin is no line: read it as a comment

    def _read(self, file: int) -> list[bytes]:
        try:
            position, size = os.lseek(file, 0, os.SEEK_CUR), os.fstat(file).st_size
            if size < position:  # emptied
                os.lseek(file, 0, os.SEEK_SET)
                self._rest = b""
            elif size - position > CHUNK_BYTES:
                os.lseek(file, size - CHUNK_BYTES, os.SEEK_SET)
                self._rest = b"#"
            *whole, self._rest = (self._rest + os.read(file, CHUNK_BYTES)).split(b"\n")
        except OSError:  # the next call opens it again
            self.close()
            return []
        if len(self._rest) > self._longest_line:
            self._rest = b"#"
        return whole

    def _replaced(self, file: int) -> bool:
        try:
            there, ours = self._path.stat(), os.fstat(file)
        except OSError:
            return True
        return (there.st_dev, there.st_ino) != (ours.st_dev, ours.st_ino)
