"""Finds a device that is not here: in which other network namespace one of its name is.

setns(2) moves one thread, which ends afterwards; nothing there is changed.
"""

import ctypes
import os
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

_CLONE_NEWNET = 0x40000000  # linux/sched.h
_NAMED = Path("/run/netns")
MOST = 256
"""So many namespaces are looked into."""


def having(device: str) -> tuple[str, ...]:
    """Return in words the other network namespaces that have a device of this name.

    Those that may not be entered are passed over.
    """
    found: list[str] = []
    thread = threading.Thread(target=lambda: found.extend(_having(device)))
    thread.start()
    thread.join()
    return tuple(found)


def _having(device: str) -> Iterator[str]:
    libc = ctypes.CDLL(None, use_errno=True)
    seen = {_identity("/proc/thread-self/ns/net")}
    for words, path in _known():
        identity = _identity(path)
        if identity is None or identity in seen:
            continue
        seen.add(identity)
        if len(seen) > MOST:
            return
        try:
            handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        except OSError:
            continue
        try:
            if libc.setns(handle, _CLONE_NEWNET) == 0 and _has(device):
                yield words
        finally:
            os.close(handle)


def _known() -> Iterator[tuple[str, str]]:
    """Yield namespaces in words with their files: named ones first, then those of processes."""
    if _NAMED.is_dir():
        for path in sorted(_NAMED.iterdir()):
            yield f"namespace {path.name}", str(path)
    for entry in sorted(Path("/proc").glob("[1-9]*")):
        yield f"the namespace of process {entry.name}", f"{entry}/ns/net"


def _identity(path: str) -> tuple[int, int] | None:
    try:
        status = Path(path).stat()
    except OSError:
        return None
    return status.st_dev, status.st_ino


def _has(device: str) -> bool:
    try:
        socket.if_nametoindex(device)
    except OSError:
        return False
    return True
