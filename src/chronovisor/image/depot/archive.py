"""zip files, written so that equal content gives equal bytes, and read without believing them.

The standard library's zipfile is used within bounds: it reads the whole central directory into
memory and believes its sizes, so the directory is measured first, and members are read no further
than they declare.
"""

import struct
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import BinaryIO

from chronovisor.errors import NotFound, ProtocolError
from chronovisor.image import paths
from chronovisor.image.limits import CHUNK_BYTES, DEFAULT, MIB, Limits
from chronovisor.image.refusal import malformed, printable

END_MAGIC = b"PK\x05\x06"
END_BYTES = 22
ZIP64_MAGIC = b"PK\x06\x06"
MOST_DIRECTORY_BYTES = 16 * MIB
_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
_ENCRYPTED = 0x1
# what zipfile raises over hostile bytes: its own error and those of the code below it
_BROKEN = (
    zipfile.BadZipFile,
    zipfile.LargeZipFile,
    zlib.error,
    struct.error,
    EOFError,
    NotImplementedError,
    RuntimeError,
    ValueError,
    OverflowError,
    IndexError,
)


def member(name: str, at: datetime, *, packed: bool) -> zipfile.ZipInfo:
    """Return a member's header with nothing in it that another run would write otherwise."""
    moment = max(at.astimezone(UTC), datetime(1980, 1, 1, tzinfo=UTC))  # zip knows no earlier
    info = zipfile.ZipInfo(name, moment.timetuple()[:6])
    info.compress_type = zipfile.ZIP_DEFLATED if packed else zipfile.ZIP_STORED
    info.create_system = 3  # Unix
    info.external_attr = 0o100644 << 16
    return info


def write_documents(stream: BinaryIO, documents: Mapping[str, bytes], at: datetime) -> None:
    """Write a zip of documents."""
    with zipfile.ZipFile(stream, "w") as archive:
        for name, raw in documents.items():
            archive.writestr(member(name, at, packed=True), raw)


class Archive:
    """A zip whose directory has been checked: no name leads out, none comes twice."""

    def __init__(self, stream: BinaryIO, where: str, limits: Limits = DEFAULT) -> None:
        self.where, self.limits = where, limits
        _check_directory(stream, where)
        with self._reading("its directory"):
            self._zip = zipfile.ZipFile(stream)
            self._members = self._checked(self._zip.infolist())

    def __contains__(self, name: str) -> bool:
        return name in self._members

    def names(self) -> list[str]:
        """Return the paths of all files in it."""
        return list(self._members)

    def size(self, name: str) -> int:
        """Return the size that a member declares."""
        return self._member(name).file_size

    def chunks(self, name: str, most: int) -> Iterator[bytes]:
        """Yield a member's bytes, at most those that it declares, which may be at most `most`."""
        info = self._member(name)
        if info.file_size > most:
            raise malformed(
                self.where,
                info.header_offset,
                f"'{printable(name)}' declares {info.file_size} bytes; {most} are allowed",
            )
        left = info.file_size
        reading = self._reading(f"'{printable(name)}'", info.header_offset)
        with reading, self._zip.open(info) as stream:
            while left and (chunk := stream.read(min(CHUNK_BYTES, left))):
                left -= len(chunk)
                yield chunk
            if stream.read(1) or left:
                raise ValueError("it is not as long as it declares")

    def read(self, name: str, most: int) -> bytes:
        """Return a member's bytes."""
        return b"".join(self.chunks(name, most))

    def _member(self, name: str) -> zipfile.ZipInfo:
        try:
            return self._members[name]
        except KeyError:
            raise NotFound(f"{self.where} holds no '{printable(name)}'") from None

    @contextmanager
    def _reading(self, what: str, offset: int = 0) -> Iterator[None]:
        try:
            yield
        except _BROKEN as error:
            reason = printable(str(error)) or type(error).__name__
            raise malformed(self.where, offset, f"{what} is broken: {reason}") from None

    def _checked(self, infos: list[zipfile.ZipInfo]) -> dict[str, zipfile.ZipInfo]:
        members: dict[str, zipfile.ZipInfo] = {}
        for info in infos:
            offset = info.header_offset

            def refuse(message: str, offset: int = offset) -> ProtocolError:
                return malformed(self.where, offset, message)

            # zipfile cuts names at a zero byte and turns backslashes round: the raw one counts
            path = paths.inside(info.orig_filename, refuse, self.limits)
            if info.is_dir():
                continue
            if info.flag_bits & _ENCRYPTED or info.compress_type not in _METHODS:
                raise refuse(f"'{path}' is encrypted or packed by an unusual method")
            if info.external_attr >> 28 not in (0, 0o10):  # Unix: a regular file, or not said
                raise refuse(f"'{path}' is a link or a device")
            if path in members:
                raise refuse(f"a second member '{path}'")
            members[path] = info
        return members


def _check_directory(stream: BinaryIO, where: str) -> None:
    """Refuse a central directory that is larger than any depot's, before it is read."""
    size = stream.seek(0, 2)
    start = max(0, size - END_BYTES - 0xFFFF)
    stream.seek(start)
    tail = stream.read()
    found = tail.rfind(END_MAGIC)
    if found < 0 or found + END_BYTES > len(tail):
        raise malformed(where, max(0, size - END_BYTES), "not a zip file")
    entries, length = struct.unpack_from("<HI", tail, found + 10)
    if entries == 0xFFFF or length == 0xFFFFFFFF:
        at = tail.rfind(ZIP64_MAGIC, 0, found)
        if at < 0 or at + 48 > len(tail):
            raise malformed(where, start + found, "a broken end of the zip's directory")
        (length,) = struct.unpack_from("<Q", tail, at + 40)
    if length > MOST_DIRECTORY_BYTES:
        raise malformed(where, start + found, f"the zip's directory has {length} bytes")


def documents(raw: BinaryIO, where: str, limits: Limits = DEFAULT) -> dict[str, bytes]:
    """Return the files of a metadata.zip, all of them together within the limits."""
    archive = Archive(raw, where, limits)
    found: dict[str, bytes] = {}
    left = limits.index_bytes
    for name in archive.names():
        found[name] = archive.read(name, left)
        left -= len(found[name])
    return found


def is_zip(path: Path) -> bool:
    """Tell whether a file begins as zip files do."""
    with path.open("rb") as stream:
        return stream.read(2) == b"PK"
