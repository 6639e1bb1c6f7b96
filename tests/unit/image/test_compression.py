"""gzip and xz: as GNU gzip writes it, and never more than was declared."""

import gzip
import lzma
import os
import struct
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chronovisor.errors import ProtocolError
from chronovisor.image.limits import CHUNK_BYTES, MIB, Limits
from chronovisor.image.vib import compression
from chronovisor.image.vib.region import Region
from vib_samples import gzip_n


@contextmanager
def stored(raw: bytes) -> Iterator[Region]:
    descriptor = os.memfd_create("payload")
    try:
        os.write(descriptor, raw)
        yield Region("payload1", descriptor, 0, len(raw))
    finally:
        os.close(descriptor)


def unpacked(raw: bytes, limits: Limits | None = None) -> bytes:
    with stored(raw) as region:
        return b"".join(compression.unpack(region, limits or Limits()))


def packed(*chunks: bytes, level: int = 6) -> bytes:
    writer = compression.GzipWriter(level)
    return b"".join(map(writer.compress, chunks)) + writer.flush()


@given(st.lists(st.binary(max_size=2000), max_size=4), st.integers(1, 9))
def test_gzip_round_trip(chunks: list[bytes], level: int) -> None:
    raw = packed(*chunks, level=level)
    assert gzip.decompress(raw) == unpacked(raw) == b"".join(chunks)


@given(st.binary(max_size=5000))
@settings(max_examples=30)
def test_xz_round_trip(data: bytes) -> None:
    writer = compression.xz_writer()
    raw = writer.compress(data) + writer.flush()
    assert lzma.decompress(raw) == unpacked(raw) == data


@pytest.mark.parametrize(("level", "flag"), [(1, 4), (6, 0), (9, 2)])
def test_the_header_is_that_of_gzip_n(level: int, flag: int) -> None:
    # RFC 1952: deflate, no name, no time, the level's flag, Unix
    assert packed(b"x", level=level)[:10] == bytes([0x1F, 0x8B, 8, 0, 0, 0, 0, 0, flag, 3])


def test_chunks_are_bounded() -> None:
    with stored(packed(bytes(3 * MIB))) as region:
        assert max(map(len, compression.unpack(region))) <= CHUNK_BYTES


def declared(raw: bytes, size: int) -> bytes:
    return raw[:-4] + struct.pack("<I", size)


BOMB = gzip_n(bytes(2 * MIB))
HOSTILE = {
    "neither": (b"BZh9" + bytes(50), "byte 0: neither gzip nor xz"),
    "empty": (b"", "byte 0: neither gzip nor xz"),
    "bomb": (declared(BOMB, 1000), "byte 1000: unpacks to more than the 1000 bytes its trailer"),
    "cut": (BOMB[:-9], f"byte {len(BOMB) - 9}: the gzip stream is cut"),
    "checksum": (BOMB[:-8] + b"abcd" + BOMB[-4:], "bad gzip data"),
    "damaged": (BOMB[:20] + b"\xff\xff\xff" + BOMB[23:], "bad gzip data"),
    "second stream": (gzip_n(b"y") + gzip_n(b"x"), "bytes behind the end of the compressed stream"),
    "data behind": (BOMB + b"hello", "5 bytes behind the end"),
    "xz cut": (lzma.compress(b"x" * 5000)[:-4], "the xz stream is cut"),
    "xz damaged": (lzma.compress(os.urandom(500))[:-50] + bytes(50), "bad xz data"),
    "xz behind": (lzma.compress(b"x") + b"more", "4 bytes behind the end"),
}


@pytest.mark.parametrize("case", HOSTILE)
def test_what_is_hostile_is_refused(case: str) -> None:
    raw, words = HOSTILE[case]
    with pytest.raises(ProtocolError) as caught:
        unpacked(raw)
    assert words in caught.value.message


@pytest.mark.parametrize("raw", [gzip_n(bytes(MIB)), lzma.compress(bytes(MIB))])
def test_the_limit_bounds_what_declares_more(raw: bytes) -> None:
    with pytest.raises(ProtocolError, match="more than the 1000 bytes the limit"):
        unpacked(raw, Limits(unpacked_bytes=1000))


def test_xz_may_not_ask_for_more_memory_than_the_limit() -> None:
    raw = lzma.compress(b"x" * 100, preset=9)
    assert unpacked(raw) == b"x" * 100
    with pytest.raises(ProtocolError, match="Memory usage limit"):
        unpacked(raw, Limits(xz_memory_bytes=MIB))


def test_a_boot_module_s_trailer_may_follow() -> None:
    trailer = b"key" * 20 + struct.pack("<II", 60, compression.BOOT_TRAILER_MAGIC)
    assert unpacked(gzip_n(b"kernel") + trailer) == b"kernel"
    with pytest.raises(ProtocolError, match="behind the end"):
        unpacked(gzip_n(b"kernel") + bytes(1 << 17) + trailer)
