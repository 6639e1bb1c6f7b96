"""Files and trees that appear whole or not at all, also after a kill between any two lines."""

import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from chronovisor.errors import Conflict
from chronovisor.image.refusal import about


def _beside(path: Path) -> Path:
    return path.with_name(f".{path.name[:200]}.{secrets.token_hex(6)}.partial")


def sync_directory(path: Path) -> None:
    """Make what was created, renamed or removed in a directory survive a power cut."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def replacing(path: Path, mode: int = 0o644) -> Iterator[BinaryIO]:
    """Give a stream whose bytes become the file `path` when the block ends without an error.

    The bytes are on the disk before the name is, so that no reader ever sees half a file.
    """
    temporary = _beside(path)
    try:
        with about(path):
            flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW
            descriptor = os.open(temporary, flags, mode)
        # closing may fail, too: it writes what is still buffered
        with about(path), os.fdopen(descriptor, "w+b") as stream:
            yield stream
            stream.flush()
            os.fsync(stream.fileno())
        with about(path):
            temporary.rename(path)
            sync_directory(path.parent)
    except BaseException:  # whatever ends the block, half a file must not stay
        with suppress(OSError):
            temporary.unlink()
        raise


@contextmanager
def appearing(target: Path) -> Iterator[Path]:
    """Give a new private directory that becomes `target` when the block ends without an error.

    `target` may be an empty directory or nothing; anything else is a conflict.
    """
    _must_be_free(target)
    temporary = _beside(target)
    try:
        with about(target):
            temporary.mkdir(mode=0o700)
        yield temporary
        with about(target):
            temporary.chmod(0o755)
            sync_directory(temporary)
            temporary.rename(target)
            sync_directory(target.parent)
    except BaseException:  # whatever ends the block, half a tree must not stay
        shutil.rmtree(temporary, ignore_errors=True)
        raise


def _must_be_free(target: Path) -> None:
    with about(target):
        if target.is_symlink() or target.exists():
            if target.is_dir() and not target.is_symlink() and not any(target.iterdir()):
                return
            raise Conflict(
                f"{target} exists and is not an empty directory", hint="name another directory"
            )
