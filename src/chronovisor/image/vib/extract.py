"""Unpacks a package into a directory, whole or not at all.

The tree has the layout that `vib create` takes: `descriptor.xml`, `sig.pkcs7` and
`payloads/<name>/…`. It grows in a private directory beside the target and takes the target's name
once every checksum has been found right. Every name is created relative to a directory that was
opened without following links, and never over something that exists.
"""

import os
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

from chronovisor.image import durable, paths
from chronovisor.image.refusal import about
from chronovisor.image.vib.descriptor import PayloadType
from chronovisor.image.vib.package import DESCRIPTOR, SIGNATURE, Package
from chronovisor.image.vib.tarball import Entry, Kind

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_NEW_FILE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
EXTRACTED_MODE = 0o1777
"""Set-user and set-group bits are left out: the files belong to whoever unpacks them."""


def extract(package: Package, target: Path, *, absolute_links: bool = False) -> int:
    """Unpack all payloads below `target`, which must not exist or be empty; return the entries.

    With `absolute_links`, links to `/…` are turned to point into the tree; else they are refused.
    """
    count = 0
    with durable.appearing(target) as temporary, Tree(temporary) as tree:
        tree.write(DESCRIPTOR, iter([memoryview(package.descriptor_bytes)]), 0o644)
        tree.write(SIGNATURE, iter([memoryview(package.signature)]), 0o644)
        tree.directory("payloads")
        for payload in package.descriptor.payloads:
            is_file = payload.kind is PayloadType.BOOT
            below = "payloads" if is_file else f"payloads/{payload.name}"
            tree.directory(below)
            for entry, data in package.contents(payload, absolute_links=absolute_links):
                tree.add(entry, data, below)
                count += 1
        tree.finish()
    return count


class Tree:
    """Grows a tree below a directory. Paths are those that `paths.inside` has passed."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._stack = ExitStack()
        self._modes: dict[str, tuple[int, int]] = {}
        self._descriptor = -1

    def __enter__(self) -> "Tree":
        with about(self._root):
            self._descriptor = os.open(self._root, _DIRECTORY)
        self._stack.callback(os.close, self._descriptor)
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def add(self, entry: Entry, data: Iterator[memoryview], below: str) -> None:
        """Create an entry below a directory of the tree."""
        path = f"{below}/{entry.path}" if entry.path else below
        match entry.kind:
            case Kind.DIRECTORY:
                self.directory(path)
                self._modes[path] = entry.mode, entry.mtime_s
            case Kind.FILE:
                self.write(path, data, entry.mode, entry.mtime_s)
            case Kind.HARDLINK:
                self._hard_link(path, f"{below}/{entry.link}")
            case Kind.SYMLINK:
                self._symbolic_link(path, entry, below)

    def directory(self, path: str) -> None:
        """Create a directory and those above it, where they are missing."""
        os.close(self._open(path.split("/") if path else [], path))

    def write(
        self, path: str, data: Iterator[memoryview], mode: int, mtime_s: int | None = None
    ) -> None:
        """Create a file."""
        parent, name = self._parent(path)
        try:
            with about(path):
                descriptor = os.open(name, _NEW_FILE, 0o600, dir_fd=parent)
            try:
                for piece in data:
                    with about(path):
                        _write_all(descriptor, piece)
                with about(path):
                    os.fchmod(descriptor, mode & EXTRACTED_MODE)
                    if mtime_s is not None:
                        os.utime(descriptor, (mtime_s, mtime_s))
            finally:
                os.close(descriptor)
        finally:
            os.close(parent)

    def finish(self) -> None:
        """Give directories their modes and times, the deepest first."""
        for path, (mode, mtime_s) in sorted(self._modes.items(), reverse=True):
            descriptor = self._open(path.split("/"), path)
            try:
                with about(path):
                    os.fchmod(descriptor, mode & EXTRACTED_MODE)
                    os.utime(descriptor, (mtime_s, mtime_s))
            finally:
                os.close(descriptor)

    def _hard_link(self, path: str, target: str) -> None:
        parent, name = self._parent(path)
        try:
            there, existing = self._parent(target)
            try:
                with about(path):
                    os.link(
                        existing,
                        name,
                        src_dir_fd=there,
                        dst_dir_fd=parent,
                        follow_symlinks=False,
                    )
            finally:
                os.close(there)
        finally:
            os.close(parent)

    def _symbolic_link(self, path: str, entry: Entry, below: str) -> None:
        link = entry.link
        if link.startswith("/"):
            link = paths.relative_link(path, f"/{below}{link}")
        parent, name = self._parent(path)
        try:
            with about(path):
                os.symlink(link, name, dir_fd=parent)
        finally:
            os.close(parent)

    def _parent(self, path: str) -> tuple[int, str]:
        *above, name = path.split("/")
        return self._open(above, path), name

    def _open(self, parts: list[str], path: str) -> int:
        """Open a directory step by step, creating what is missing and following no link."""
        with about(path):
            current = os.dup(self._descriptor)
            for part in parts:
                try:
                    current = _step(current, part)
                except BaseException:  # whatever it is, the descriptor must not leak
                    os.close(current)
                    raise
        return current


def _step(parent: int, part: str) -> int:
    try:
        child = os.open(part, _DIRECTORY, dir_fd=parent)
    except FileNotFoundError:
        os.mkdir(part, 0o755, dir_fd=parent)
        child = os.open(part, _DIRECTORY, dir_fd=parent)
    os.close(parent)
    return child


def _write_all(descriptor: int, piece: memoryview) -> None:
    while piece:
        piece = piece[os.write(descriptor, piece) :]
