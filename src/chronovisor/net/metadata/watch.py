"""Hears of changed files by inotify(7): visord replaces them while the proxy runs."""

import ctypes
import os
import struct
from collections.abc import Iterator
from pathlib import Path

# <linux/inotify.h>
_IN_CLOSE_WRITE, _IN_MOVED_FROM, _IN_MOVED_TO, _IN_DELETE = 0x8, 0x40, 0x80, 0x200
_IN_Q_OVERFLOW, _IN_ONLYDIR = 0x4000, 0x0100_0000
_MASK = _IN_CLOSE_WRITE | _IN_MOVED_FROM | _IN_MOVED_TO | _IN_DELETE | _IN_ONLYDIR
_EVENT = struct.Struct("iIII")  # wd, mask, cookie, len; the name follows, padded with NULs

_libc = ctypes.CDLL(None, use_errno=True)


class Watch:
    """Watches directories; `fileno()` is readable when something changed."""

    def __init__(self, *directories: Path) -> None:
        self._fd = _checked(_libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC), "inotify_init1")
        self._directories: dict[int, Path] = {}
        for directory in directories:
            number = _libc.inotify_add_watch(self._fd, os.fsencode(directory), _MASK)
            self._directories[_checked(number, str(directory))] = directory

    def fileno(self) -> int:
        """Return the descriptor to wait for."""
        return self._fd

    def read(self) -> set[Path] | None:
        """Return the files that changed or went; None where events were lost: read all anew."""
        found: set[Path] = set()
        while True:
            try:
                data = os.read(self._fd, 65536)
            except BlockingIOError:
                return found
            for number, mask, name in _events(data):
                if mask & _IN_Q_OVERFLOW:
                    return None
                if name and not name.startswith("."):
                    found.add(self._directories[number] / name)

    def close(self) -> None:
        """Stop watching."""
        os.close(self._fd)


def _events(data: bytes) -> Iterator[tuple[int, int, str]]:
    offset = 0
    while offset < len(data):
        number, mask, _, length = _EVENT.unpack_from(data, offset)
        offset += _EVENT.size
        yield number, mask, os.fsdecode(data[offset : offset + length].rstrip(b"\0"))
        offset += length


def _checked(result: int, what: str) -> int:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), what)
    return result
