"""gzip and xz for payloads, a chunk at a time.

Written gzip has the header that `gzip -n` writes: no name, time 0, and *Unix* as its system.
Python's own gzip module writes 255 ("unknown") there, and packages made so are reported not to
mount on ESXi.

What unpacks too much is stopped: at the size that the gzip trailer declares where that is exact,
and at the reader's limit otherwise.
"""

import lzma
import struct
import zlib
from collections.abc import Iterator

from chronovisor.errors import ProtocolError
from chronovisor.image.limits import CHUNK_BYTES, DEFAULT, Limits
from chronovisor.image.refusal import malformed
from chronovisor.image.vib.region import Region

GZIP_MAGIC = b"\x1f\x8b"
XZ_MAGIC = b"\xfd7zXZ\0"
BOOT_TRAILER_MAGIC = 0x1ABE11ED
"""Ends what signed early boot modules carry behind their gzip stream (VMware's esx-boot)."""
BOOT_TRAILER_BYTES = 64 * 1024

_DEFLATE_RATIO = 1032  # zlib.net/zlib_tech.html: no deflate stream unpacks to more than this
_UNIX = 3  # RFC 1952, section 2.3.1
_XFL = {1: 4, 9: 2}  # RFC 1952: fastest, slowest; gzip writes 0 for all levels between


class GzipWriter:
    """Compresses as `gzip -n -LEVEL` would, but for zlib's choice of matches."""

    def __init__(self, level: int = 6) -> None:
        self._deflate = zlib.compressobj(level, zlib.DEFLATED, -zlib.MAX_WBITS)
        self._crc = 0
        self._size = 0
        self._head = GZIP_MAGIC + struct.pack("<BBIBB", 8, 0, 0, _XFL.get(level, 0), _UNIX)

    def compress(self, chunk: bytes) -> bytes:
        """Take some bytes and return what is ready of the compressed stream."""
        head, self._head = self._head, b""
        self._crc = zlib.crc32(chunk, self._crc)
        self._size += len(chunk)
        return head + self._deflate.compress(chunk)

    def flush(self) -> bytes:
        """End the stream and return the rest of it."""
        trailer = struct.pack("<II", self._crc, self._size & 0xFFFFFFFF)
        return self._head + self._deflate.flush() + trailer


def xz_writer() -> lzma.LZMACompressor:
    """Return a compressor that writes as `xz -6 --check=crc64` does."""
    return lzma.LZMACompressor(lzma.FORMAT_XZ, lzma.CHECK_CRC64, preset=6)


def unpack(stored: Region, limits: Limits = DEFAULT) -> Iterator[bytes]:
    """Yield what a gzip or xz stream unpacks to, in chunks of at most CHUNK_BYTES."""
    magic = stored.read(0, len(XZ_MAGIC))
    if magic.startswith(GZIP_MAGIC):
        return _gunzip(stored, limits)
    if magic == XZ_MAGIC:
        return _unxz(stored, limits)
    raise malformed(stored.name, 0, "neither gzip nor xz")


def _bound(stored: Region, limits: Limits) -> tuple[int, str]:
    """Return how much a gzip stream may unpack to, and in whose words."""
    declared = int.from_bytes(stored.read(max(0, stored.size - 4), 4), "little")
    # the trailer counts modulo 4 GiB: exact only where the stream cannot hold as much
    exact = stored.size * _DEFLATE_RATIO < 1 << 32 and declared != BOOT_TRAILER_MAGIC
    if exact and declared < limits.unpacked_bytes:
        return declared, "its trailer declares"
    return limits.unpacked_bytes, "the limit"


def _gunzip(stored: Region, limits: Limits) -> Iterator[bytes]:
    bound, whose = _bound(stored, limits)
    inflate = zlib.decompressobj(zlib.MAX_WBITS | 16)
    unpacked = taken = 0
    for raw in stored.chunks():
        taken += len(raw)
        while raw and not inflate.eof:
            try:
                chunk = inflate.decompress(raw, CHUNK_BYTES)
            except zlib.error as error:
                raise malformed(stored.name, taken - len(raw), f"bad gzip data: {error}") from None
            raw = inflate.unconsumed_tail
            unpacked += len(chunk)
            if unpacked > bound:
                raise _too_much(stored, bound, whose)
            if chunk:
                yield chunk
        if inflate.eof:
            _check_rest(stored, taken - len(inflate.unused_data))
            return
    raise malformed(stored.name, stored.size, "the gzip stream is cut")


def _unxz(stored: Region, limits: Limits) -> Iterator[bytes]:
    decoder = lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=limits.xz_memory_bytes)
    unpacked = taken = 0
    for raw in stored.chunks():
        taken += len(raw)
        while not decoder.eof:
            try:
                chunk = decoder.decompress(raw, CHUNK_BYTES)
            except (lzma.LZMAError, MemoryError) as error:
                raise malformed(stored.name, taken - len(raw), f"bad xz data: {error}") from None
            raw = b""
            unpacked += len(chunk)
            if unpacked > limits.unpacked_bytes:
                raise _too_much(stored, limits.unpacked_bytes, "the limit")
            if chunk:
                yield chunk
            elif decoder.needs_input:
                break
        if decoder.eof:
            _check_rest(stored, taken - len(decoder.unused_data))
            return
    raise malformed(stored.name, stored.size, "the xz stream is cut")


def _too_much(stored: Region, bound: int, whose: str) -> ProtocolError:
    return malformed(stored.name, bound, f"unpacks to more than the {bound} bytes {whose}")


def _check_rest(stored: Region, end: int) -> None:
    """Accept an early boot module's trailer behind a stream, and nothing else."""
    rest = stored.size - end
    if not rest:
        return
    tail = stored.read(end, BOOT_TRAILER_BYTES)
    if rest <= BOOT_TRAILER_BYTES and int.from_bytes(tail[-4:], "little") == BOOT_TRAILER_MAGIC:
        return
    raise malformed(stored.name, end, f"{rest} bytes behind the end of the compressed stream")
