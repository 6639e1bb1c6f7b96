"""The outer container: what it accepts, what it refuses and with which words."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chronovisor.errors import InvalidInput, ProtocolError
from chronovisor.image.limits import Limits
from chronovisor.image.vib import ar
from vib_samples import member


@contextmanager
def stored(raw: bytes) -> Iterator[int]:
    descriptor = os.memfd_create("archive")
    try:
        os.write(descriptor, raw)
        yield descriptor
    finally:
        os.close(descriptor)


def read(raw: bytes, limits: Limits | None = None) -> list[tuple[str, bytes]]:
    with stored(raw) as descriptor:
        found = ar.members(descriptor, "x.vib", limits or Limits())
        return [(it.name, it.data.read(0, it.data.size)) for it in found]


names = st.from_regex(r"[A-Za-z0-9_][A-Za-z0-9._+-]{0,14}", fullmatch=True)


@given(st.dictionaries(names, st.binary(max_size=40), max_size=6))
def test_what_is_written_is_read_back(contents: dict[str, bytes]) -> None:
    raw = ar.MAGIC
    for name, data in contents.items():
        raw += ar.header(name, len(data)) + data + ar.padding(len(data))
    assert read(raw) == list(contents.items())


def test_names_may_end_in_a_slash_or_in_spaces() -> None:
    padded = member("payload1", b"ab").replace(b"payload1/ ", b"payload1  ")
    assert read(b"!<arch>\n" + padded + member("b", b"c")) == [("payload1", b"ab"), ("b", b"c")]


def test_a_missing_last_padding_byte_is_no_loss() -> None:
    assert read(b"!<arch>\n" + member("a", b"odd")[:-1]) == [("a", b"odd")]


@pytest.mark.parametrize(
    ("raw", "words"),
    [
        (b"", "byte 0: not a VIB"),
        (b"!<arch>", "byte 0: not a VIB"),
        (b"PK\x03\x04" + bytes(100), "byte 0: not a VIB"),
        (b"!<arch>\n" + member("a", b"x")[:30], "byte 8: a member's header is cut after 30 bytes"),
        (b"!<arch>\n" + member("a", b"xy", size=9), "byte 8: member 'a' is cut: 7 of 9 bytes"),
        (b"!<arch>\n" + member("a", b"xy", size=-1), "'-1        ' is not a member's size"),
        (b"!<arch>\n" + member("a", b"x") * 2, "byte 70: a second member 'a'"),
        (b"!<arch>\n" + member("../a", b"x"), "'../a/           ' cannot name a member"),
        (b"!<arch>\n" + member("/dev/sda", b"x"), "symbol tables and long member names"),
        (b"!<arch>\n" + member("#1/20", b"x"), "long member names"),
        (b"!<arch>\n" + member("", b"x"), "long member names"),
        (b"!<arch>\n" + member("a$$", b"x").replace(b"$$", b"\xff "), "cannot name a member"),
        (b"!<arch>\n" + member("a", b"x").replace(b"`\n", b"``"), "does not end as ar's do"),
    ],
)  # fmt: skip
def test_what_is_refused_names_the_byte(raw: bytes, words: str) -> None:
    with pytest.raises(ProtocolError) as caught:
        read(raw)
    assert words in caught.value.message
    assert caught.value.message.startswith("x.vib, byte ")


def test_the_number_of_members_is_bounded() -> None:
    raw = b"!<arch>\n" + b"".join(member(f"p{number}", b"") for number in range(5))
    with pytest.raises(ProtocolError, match="more than 2 payloads"):
        read(raw, Limits(payloads=2))


@pytest.mark.parametrize("name", ["", "a" * 16, "a/b", "..", "ä", "a b", "/"])
def test_what_cannot_be_stored_is_not_written(name: str) -> None:
    with pytest.raises(InvalidInput):
        ar.header(name, 1)


def test_a_size_of_eleven_digits_is_not_written() -> None:
    with pytest.raises(InvalidInput, match="ten digits"):
        ar.header("a", 10**10)


def test_a_file_that_shrinks_meanwhile_is_noticed(tmp_path: Path) -> None:
    path = tmp_path / "x"
    path.write_bytes(b"!<arch>\n" + member("a", b"x" * 100))
    with path.open("r+b") as stream:
        (found,) = ar.members(stream.fileno(), "x")
        stream.truncate(70)
        with pytest.raises(ProtocolError, match="cut meanwhile"):
            found.data.read(0, 100)
