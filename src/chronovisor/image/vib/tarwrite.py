"""Writes the archive inside a payload: ustar as GNU tar writes it, or vmtar.

Equal trees give equal bytes: entries are sorted by path, times are one fixed time, owners root.
"""

import os
import stat
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from chronovisor.errors import Conflict, InvalidInput
from chronovisor.image import paths
from chronovisor.image.limits import CHUNK_BYTES, DEFAULT
from chronovisor.image.refusal import about, printable
from chronovisor.image.vib import tarheader
from chronovisor.image.vib.tarball import Kind
from chronovisor.image.vib.tarheader import BLOCK_BYTES, Header

RECORD_BYTES = 20 * BLOCK_BYTES
"""GNU tar fills an archive up to a multiple of this."""
PAGE_BYTES = 4096
"""Where a file's data may begin in a vmtar, so that they can be mapped in place."""
MOST_VMTAR_BYTES = 1 << 32
KEPT_MODE = 0o7755
"""Bits of a mode that are kept: all but writing by group and others, which are the umask's."""

Sink = Callable[[bytes], object]

_TYPE_FLAGS = {Kind.FILE: b"0", Kind.SYMLINK: b"2", Kind.DIRECTORY: b"5"}


@dataclass(frozen=True, slots=True)
class Source:
    """Something on the disk that goes into an archive at `path`."""

    path: str
    kind: Kind
    mode: int
    size: int
    mtime_s: int
    link: str
    file: Path

    def header(self, mtime_s: int, where: str) -> Header:
        """Return the header for it, with the archive's time."""
        name = self.path.encode() + (b"/" if self.kind is Kind.DIRECTORY else b"")
        link = self.link.encode()
        if len(link) > 100:
            raise InvalidInput(f"{where}: the target of the link '{self.path}' is too long for tar")
        return Header(name, _TYPE_FLAGS[self.kind], self.size, self.mode, mtime_s, link)

    def chunks(self) -> Iterator[bytes]:
        """Yield the file's bytes; Conflict where it is not what `scan` saw."""
        if self.kind is not Kind.FILE:
            return
        with about(self.file):
            descriptor = os.open(self.file, os.O_RDONLY | os.O_NOFOLLOW)
        with os.fdopen(descriptor, "rb") as stream:
            left = self.size
            while left:
                with about(self.file):
                    chunk = stream.read(min(left, CHUNK_BYTES))
                if not chunk:
                    break
                left -= len(chunk)
                yield chunk
            if left or stream.read(1):
                raise Conflict(f"{self.file} changed while it was read", hint="try again")


def scan(root: Path) -> list[Source]:
    """Return what is below a directory, each directory before what it holds, sorted by name.

    Refused: devices, sockets, FIFOs, links that lead out of the tree and names that are not UTF-8.
    """
    found: list[Source] = []
    _scan(root, "", found)
    return found


def _scan(directory: Path, prefix: str, found: list[Source]) -> None:
    with about(directory), os.scandir(directory) as listing:
        children = sorted(listing, key=lambda child: os.fsencode(child.name))
    for child in children:
        source = _source(Path(child.path), prefix + child.name)
        found.append(source)
        if source.kind is Kind.DIRECTORY:
            _scan(source.file, source.path + "/", found)


def _source(file: Path, path: str) -> Source:
    def refuse(message: str) -> InvalidInput:
        return InvalidInput(f"{printable(str(file))}: {message}")

    # surrogates stand for bytes that are not UTF-8; `inside` refuses them
    clean = paths.inside(path, refuse, DEFAULT)
    with about(file):
        status = file.lstat()
        link = str(file.readlink()) if stat.S_ISLNK(status.st_mode) else ""
    mode, mtime_s = stat.S_IMODE(status.st_mode) & KEPT_MODE, int(status.st_mtime)
    if stat.S_ISDIR(status.st_mode):
        return Source(clean, Kind.DIRECTORY, mode, 0, mtime_s, "", file)
    if stat.S_ISREG(status.st_mode):
        return Source(clean, Kind.FILE, mode, status.st_size, mtime_s, "", file)
    if not link:
        raise refuse("devices, sockets and FIFOs do not belong in a package")
    if not paths.link_inside(clean, link):
        raise refuse(f"the symbolic link leads out of the tree, to '{printable(link)}'")
    return Source(clean, Kind.SYMLINK, 0o777, 0, mtime_s, link, file)


def write_tar(sources: Sequence[Source], mtime_s: int, sink: Sink, where: str) -> None:
    """Write an ustar archive; names too long for it get GNU's extended header."""
    written = 0

    def put(data: bytes) -> None:
        nonlocal written
        written += len(data)
        sink(data)

    for source in sources:
        header = source.header(mtime_s, where)
        if tarheader.split(header.name) is None:
            put(tarheader.long_name(header.name))
        put(tarheader.render(header))
        for chunk in source.chunks():
            put(chunk)
        put(bytes(-source.size % BLOCK_BYTES))
    put(bytes(2 * BLOCK_BYTES))
    put(bytes(-written % RECORD_BYTES))


def write_vmtar(sources: Sequence[Source], mtime_s: int, sink: Sink, where: str) -> None:
    """Write a vmtar archive: all headers, the end mark, then each file's data on a page."""
    position = (len(sources) + 2) * BLOCK_BYTES
    placed: list[tuple[Source, int]] = []
    for source in sources:
        header = source.header(mtime_s, where)
        if tarheader.split(header.name, 151) is None:
            raise InvalidInput(
                f"{where}: the path '{source.path}' is too long for vmtar",
                hint='use archive = "tar" for this payload',
            )
        start = _page(position) if source.size else 0
        position = start + source.size if source.size else position
        if position >= MOST_VMTAR_BYTES:
            raise InvalidInput(
                f"{where}: more than 4 GiB do not fit a vmtar", hint="split it into two payloads"
            )
        sink(tarheader.render(header, data_offset=start))
        placed.append((source, start))
    sink(bytes(2 * BLOCK_BYTES))
    position = (len(sources) + 2) * BLOCK_BYTES
    for source, start in placed:
        if source.size:
            sink(bytes(start - position))
            for chunk in source.chunks():
                sink(chunk)
            position = start + source.size
    sink(bytes(_page(position) - position))


def _page(position: int) -> int:
    return -(-position // PAGE_BYTES) * PAGE_BYTES
