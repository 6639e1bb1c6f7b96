"""Switches of the kernel below /proc/sys/net: those of this process's network namespace."""

import contextlib
import os
from collections.abc import Iterable

from chronovisor.errors import ToolFailed

ROOT = "/proc/sys/net"


def read(paths: Iterable[str]) -> dict[str, str]:
    """Return the values of switches by path below `ROOT`; those that are not there are left out."""
    found = {}
    for path in paths:
        with contextlib.suppress(OSError):  # the device went, or the kernel has no IPv6
            descriptor = os.open(f"{ROOT}/{path}", os.O_RDONLY | os.O_CLOEXEC)
            try:
                found[path] = os.read(descriptor, 64).decode().strip()
            finally:
                os.close(descriptor)
    return found


def write(path: str, value: str) -> None:
    """Set a switch. Raises `ToolFailed`."""
    try:
        descriptor = os.open(f"{ROOT}/{path}", os.O_WRONLY | os.O_CLOEXEC)
        try:
            os.write(descriptor, value.encode())
        finally:
            os.close(descriptor)
    except OSError as error:
        raise ToolFailed(f"cannot set {ROOT}/{path} to {value}: {error.strerror}") from error
