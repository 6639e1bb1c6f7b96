"""Reads the archive inside a payload: tar (v7, ustar, GNU, pax) and ESXi's vmtar, as a stream.

The standard library's tarfile knows no vmtar, keeps every header in memory and takes extended
headers of any size; here memory is bounded whatever the bytes say, and each refusal names a byte.

vmtar is tar with `visor` as magic and, in the header's last 16 bytes, where the data stand: at
the end of the archive, in place for being mapped. An offset of 0 means "behind the header", as in
tar. Entries without data come out as their headers are read, the others in the order of their
data.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from enum import StrEnum

from chronovisor.errors import ProtocolError
from chronovisor.image import paths
from chronovisor.image.limits import CHUNK_BYTES, DEFAULT, Limits
from chronovisor.image.refusal import malformed
from chronovisor.image.vib import tarheader
from chronovisor.image.vib.tarheader import BLOCK_BYTES, Header

PADDING_BYTES = 1 << 20
"""Most that may follow the end of an archive; GNU tar fills up 10 KiB by default."""


class Kind(StrEnum):
    """What an entry is. Devices, FIFOs and sparse files have no place in a package."""

    FILE = "file"
    DIRECTORY = "directory"
    SYMLINK = "symlink"
    HARDLINK = "hardlink"


@dataclass(frozen=True, slots=True)
class Entry:
    """One entry: `path` relative to the root ('' for the root itself), `mode` with 07777 bits.

    `link` is a symbolic link's target, or the path of the file that a hard link names. `offset`
    is where the header stands in the unpacked archive; `data_offset` where its data do if they
    stand apart from it.
    """

    path: str
    kind: Kind
    size: int
    mode: int
    mtime_s: int
    link: str
    offset: int
    data_offset: int = 0


@dataclass(slots=True)
class _Cursor:
    """Reads exact counts from a stream of chunks."""

    chunks: Iterator[bytes]
    where: str
    position: int = 0
    _rest: memoryview = field(default_factory=lambda: memoryview(b""))

    def some(self, most: int) -> memoryview:
        """Return 1 to `most` bytes; nothing at the end of the stream."""
        while not self._rest:
            chunk = next(self.chunks, None)
            if chunk is None:
                return self._rest
            self._rest = memoryview(chunk)
        taken, self._rest = self._rest[:most], self._rest[most:]
        self.position += len(taken)
        return taken

    def exactly(self, count: int) -> bytes:
        """Return `count` bytes (fewer only at the end of the stream)."""
        taken = bytes(self.some(count))
        while len(taken) < count and (more := self.some(count - len(taken))):
            taken += bytes(more)
        return taken

    def pieces(self, count: int, what: str) -> Iterator[memoryview]:
        """Yield `count` bytes in pieces, or raise that `what` is cut."""
        while count:
            piece = self.some(min(count, CHUNK_BYTES))
            if not piece:
                raise malformed(self.where, self.position, f"{what} is cut: {count} bytes missing")
            count -= len(piece)
            yield piece

    def skip(self, count: int, what: str) -> None:
        """Pass over `count` bytes."""
        for _ in self.pieces(count, what):
            pass


@dataclass(slots=True)
class Reader:
    """Iterates the entries of one archive: `for entry, data in Reader(chunks, where)`.

    `data` yields the entry's bytes and may be left unread. The reader checks paths, kinds, sizes
    and that the archive ends as one; `absolute_links` accepts symbolic links to `/…`.
    """

    chunks: Iterator[bytes]
    where: str
    limits: Limits = DEFAULT
    absolute_links: bool = False
    is_vmtar: bool = False
    _links: set[str] = field(default_factory=set)
    _kinds: dict[str, Kind] = field(default_factory=dict)

    def __iter__(self) -> Iterator[tuple[Entry, Iterator[memoryview]]]:
        """Yield (entry, data) pairs; raises ProtocolError where the archive breaks a rule."""
        cursor = _Cursor(self.chunks, self.where)
        apart: list[Entry] = []
        for header in _headers(cursor, self.limits):
            self.is_vmtar |= header.is_visor
            entry = self._checked(header)
            if entry.data_offset:
                apart.append(entry)
                continue
            data = cursor.pieces(entry.size, f"'{entry.path}'")
            yield entry, data
            for _ in data:
                pass
            cursor.skip(-entry.size % BLOCK_BYTES, f"the padding of '{entry.path}'")
        yield from self._apart(cursor, apart)
        self._ending(cursor)

    def _apart(
        self, cursor: _Cursor, entries: list[Entry]
    ) -> Iterator[tuple[Entry, Iterator[memoryview]]]:
        """Yield the entries whose data stand at the end of a vmtar, in the order of the data."""
        for entry in sorted(entries, key=lambda entry: entry.data_offset):
            gap = entry.data_offset - cursor.position
            if gap < 0:
                raise self._refuse(entry.offset, f"the data of '{entry.path}' overlap others")
            if gap > PADDING_BYTES:
                raise self._refuse(entry.offset, f"{gap} bytes of nothing before '{entry.path}'")
            cursor.skip(gap, f"the way to '{entry.path}'")
            data = cursor.pieces(entry.size, f"'{entry.path}'")
            yield entry, data
            for _ in data:
                pass

    def _ending(self, cursor: _Cursor) -> None:
        end = cursor.position
        while piece := cursor.some(CHUNK_BYTES):
            # the padding is zeros; data there would be unseen by everyone but an attacker
            if cursor.position - end > PADDING_BYTES or any(piece):
                raise self._refuse(end, "the archive has something behind its end")

    def _refuse(self, offset: int, message: str) -> ProtocolError:
        return malformed(self.where, offset, message)

    def _checked(self, header: Header) -> Entry:
        """Return a header as an entry, or raise what is wrong with it."""

        def refuse(message: str) -> ProtocolError:
            return self._refuse(header.offset, message)

        path = paths.inside(paths.decode(header.name, refuse), refuse, self.limits)
        kind = _kind(header, path, refuse)
        if not path and kind is not Kind.DIRECTORY:
            raise refuse("an entry has no name")
        self._check_place(path, kind, refuse)
        entry = Entry(
            path, kind, header.size, header.mode & 0o7777, header.mtime_s, "", header.offset
        )
        if kind in (Kind.SYMLINK, Kind.HARDLINK):
            if header.size:
                raise refuse(f"'{path}' is a {kind} and yet has {header.size} bytes of data")
            return self._linked(entry, paths.decode(header.link, refuse), refuse)
        if kind is Kind.FILE and header.size:
            return replace(entry, data_offset=header.data_offset)
        return entry if kind is Kind.FILE else replace(entry, size=0)

    def _check_place(self, path: str, kind: Kind, refuse: paths.Refuse) -> None:
        known = self._kinds.get(path)
        if known is not None and not known is kind is Kind.DIRECTORY:
            raise refuse(f"a second entry '{path}'")
        parent = path
        while parent := parent.rpartition("/")[0]:
            above = self._kinds.get(parent)
            if above is not None and above is not Kind.DIRECTORY:
                raise refuse(f"'{path}' lies below '{parent}', which is a {above}")
            if above is None:
                self._kinds[parent] = Kind.DIRECTORY
        if path:
            self._kinds[path] = kind
        if len(self._kinds) > self.limits.entries:
            raise refuse(f"more than {self.limits.entries} entries")

    def _linked(self, entry: Entry, link: str, refuse: paths.Refuse) -> Entry:
        if entry.kind is Kind.HARDLINK:
            target = paths.inside(link, refuse, self.limits)
            if self._kinds.get(target) is not Kind.FILE:
                raise refuse(f"'{entry.path}' is a hard link to '{target}', which is no file in it")
            return replace(entry, link=target)
        if not link or len(link.encode()) > self.limits.path_bytes or "\0" in link:
            raise refuse(f"the symbolic link '{entry.path}' has no usable target")
        inside = paths.link_inside(entry.path, link)
        if not inside and not (self.absolute_links and link.startswith("/") and _tame(link)):
            raise refuse(f"the symbolic link '{entry.path}' leads out of the tree, to '{link}'")
        return replace(entry, link=link)


def _tame(link: str) -> bool:
    return ".." not in link.split("/")


def _kind(header: Header, path: str, refuse: paths.Refuse) -> Kind:
    match header.kind:
        case b"0" | b"\0" | b"7":
            # tar of 1979 had no type for a directory but the slash behind its name
            return Kind.DIRECTORY if header.name.endswith(b"/") else Kind.FILE
        case b"1":
            return Kind.HARDLINK
        case b"2":
            return Kind.SYMLINK
        case b"5":
            return Kind.DIRECTORY
        case b"3" | b"4" | b"6":
            raise refuse(f"'{path}' is a device or a FIFO")
    raise refuse(f"'{path}' is of the unknown type {header.kind!r}")


def _headers(cursor: _Cursor, limits: Limits) -> Iterator[Header]:
    """Yield headers with their extended ones applied; the caller passes over the data."""
    extension = tarheader.Extension()
    entries = 0
    while True:
        offset = cursor.position
        block = cursor.exactly(BLOCK_BYTES)
        if len(block) < BLOCK_BYTES:
            raise malformed(cursor.where, offset, "the archive is cut: it has no end mark")
        if not any(block):
            if extension:
                raise malformed(cursor.where, offset, "an extended header has no entry behind it")
            return
        header = tarheader.parse(block, offset, cursor.where)
        entries += 1
        if entries > limits.entries:
            raise malformed(cursor.where, offset, f"more than {limits.entries} entries")
        if header.kind in tarheader.EXTENSIONS:
            _check_extension(header, cursor.where)
            raw = cursor.exactly(header.size)
            if len(raw) < header.size:
                raise malformed(cursor.where, offset, "an extended header is cut")
            cursor.skip(-header.size % BLOCK_BYTES, "an extended header")
            extension = tarheader.extend(extension, header, raw, cursor.where)
            continue
        yield tarheader.apply(extension, header, cursor.where)
        extension = tarheader.Extension(globals=extension.globals)


def _check_extension(header: Header, where: str) -> None:
    if header.size > tarheader.EXTENSION_BYTES:
        raise malformed(
            where,
            header.offset,
            f"an extended header of {header.size} bytes; {tarheader.EXTENSION_BYTES} are allowed",
        )
