"""tar and vmtar: round trips, other writers' archives, and everything hostile."""

import io
import os
import tarfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import vib_samples as samples
from chronovisor.errors import InvalidInput, ProtocolError
from chronovisor.image.limits import Limits
from chronovisor.image.vib import tarheader, tarwrite
from chronovisor.image.vib.tarball import Entry, Kind, Reader
from chronovisor.image.vib.tarheader import Header

LIMITS = Limits(entries=50)


def chunks(raw: bytes, size: int = 700) -> Iterator[bytes]:
    return (raw[start : start + size] for start in range(0, len(raw), size))


def read(
    raw: bytes, limits: Limits = LIMITS, *, absolute: bool = False
) -> list[tuple[Entry, bytes]]:
    reader = Reader(chunks(raw), "payload1", limits, absolute)
    return [(entry, b"".join(map(bytes, data))) for entry, data in reader]


def names(raw: bytes) -> list[str]:
    return [entry.path for entry, _ in read(raw)]


part = st.text(
    st.characters(codec="utf-8", exclude_categories=("Cc", "Cs"), exclude_characters="/\\:"),
    min_size=1,
    max_size=12,
).filter(lambda text: text not in (".", ".."))
path = st.lists(part, min_size=1, max_size=3).map("/".join)
trees = st.dictionaries(path, st.binary(max_size=1500), min_size=1, max_size=5).filter(
    lambda files: (
        not any(one != two and one.startswith(two + "/") for one in files for two in files)
    )
)


def sources(files: dict[str, bytes], directory: Path) -> list[tarwrite.Source]:
    found = []
    for number, (name, data) in enumerate(sorted(files.items())):
        file = directory / str(number)
        file.write_bytes(data)
        source = tarwrite.Source(name, Kind.FILE, 0o644, len(data), 0, "", file)
        found.append(source)
    return found


@pytest.mark.parametrize("write", [tarwrite.write_tar, tarwrite.write_vmtar])
def test_what_is_written_is_read_back(
    write: object, tmp_path_factory: pytest.TempPathFactory
) -> None:
    assert callable(write)
    directory = tmp_path_factory.mktemp("tree")

    @given(trees, st.integers(0, 2**33))
    @settings(max_examples=40)
    def check(files: dict[str, bytes], mtime_s: int) -> None:
        stream = io.BytesIO()
        write(sources(files, directory), mtime_s, stream.write, "p")
        found = read(stream.getvalue())
        assert {entry.path: data for entry, data in found} == files
        assert {entry.mtime_s for entry, _ in found} == {mtime_s}

    check()


@given(trees)
@settings(max_examples=40)
def test_python_reads_our_headers(files: dict[str, bytes]) -> None:
    stream = io.BytesIO()
    for name, data in files.items():
        header = Header(name.encode(), b"0", len(data), 0o640, 7)
        stream.write(tarheader.render(header) + data + bytes(-len(data) % 512))
    stream.write(bytes(1024))
    stream.seek(0)
    with tarfile.open(fileobj=stream) as archive:
        found = {it.name: archive.extractfile(it).read() for it in archive}  # type: ignore[union-attr]  # all are files
    assert found == files


@given(trees, st.sampled_from([tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT]))
def test_we_read_python_s_archives(files: dict[str, bytes], style: int) -> None:
    raw = samples.tar(
        ((samples.info(name, len(data)), data) for name, data in files.items()), style
    )
    assert {entry.path: data for entry, data in read(raw)} == files


@pytest.mark.parametrize("style", [tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_long_names_and_links_are_read(style: int) -> None:
    long = "/".join(["directory" * 8] * 4) + "/file"
    link = samples.info("l", 0, tarfile.SYMTYPE, "d/" * 80 + "x")
    raw = samples.tar([(samples.info(long, 2), b"hi"), (link, b"")], style)
    (entry, data), (linked, _) = read(raw)
    assert (entry.path, data) == (long, b"hi")
    assert linked.link == "d/" * 80 + "x"


def test_names_that_do_not_fit_ustar_are_written_gnu_s_way(tmp_path: Path) -> None:
    long = "a" * 120 + "/" + "b" * 120
    stream = io.BytesIO()
    tarwrite.write_tar(sources({long: b"hi"}, tmp_path), 0, stream.write, "p")
    assert names(stream.getvalue()) == [long]
    with tarfile.open(fileobj=io.BytesIO(stream.getvalue())) as archive:
        assert archive.getnames() == [long]
    with pytest.raises(InvalidInput, match="too long for vmtar"):
        tarwrite.write_vmtar(sources({long: b"hi"}, tmp_path), 0, stream.write, "p")


def test_vmtar_of_others_is_read_with_its_data_at_the_end() -> None:
    files = [("b", b"second" * 900), ("empty", b""), ("a", b"first")]
    found = read(samples.vmtar(files))
    assert {entry.path: data for entry, data in found} == dict(files)
    assert found[0][0].path == "empty", "what has no data comes first"


def test_vmtar_data_may_be_unread_and_in_any_order() -> None:
    raw = bytearray(samples.vmtar([("a", b"A" * 5000), ("b", b"B" * 5000)]))
    first, second = raw[:512], raw[512:1024]
    raw[:1024] = second + first
    reader = Reader(chunks(bytes(raw)), "p")
    assert [entry.path for entry, _ in reader] == ["a", "b"]
    assert reader.is_vmtar


def test_vmtar_fields_are_where_the_format_has_them() -> None:
    block = tarheader.render(Header(b"x" * 20 + b"/" + b"y" * 95, b"0", 5), data_offset=0x11223344)
    assert block[257:264] == b"visor  "
    assert block[496:500] == bytes.fromhex("44332211")
    assert block[504:512] == bytes(8)
    parsed = tarheader.parse(block, 0, "p")
    assert parsed.name == b"x" * 20 + b"/" + b"y" * 95
    assert parsed.data_offset == 0x11223344


def one(name: str, size: int = 0, kind: bytes = tarfile.REGTYPE, link: str = "") -> bytes:
    return samples.tar([(samples.info(name, size, kind, link), bytes(size))], tarfile.GNU_FORMAT)


def two(first: tarfile.TarInfo, second: tarfile.TarInfo) -> bytes:
    return samples.tar([(first, b""), (second, b"")])


def edited(raw: bytes, at: int, new: bytes) -> bytes:
    """Return a tar archive with bytes of its first header changed and its checksum right."""
    block = bytearray(raw[:512])
    block[at : at + len(new)] = new
    block[148:156] = b"%06o\0 " % tarheader.checksum(bytes(block))
    return bytes(block) + raw[512:]


def pax(records: bytes, kind: bytes = b"x", size: int | None = None) -> bytes:
    size = len(records) if size is None else size
    head = tarheader.render(Header(b"pax", kind, size))
    return head + records + bytes(-len(records) % 512) + one("a")


INFO = samples.info
HOSTILE = {
    "dot-dot": (one("../../etc/passwd"), "byte 0: the name '../../etc/passwd' leads out"),
    "hidden dot-dot": (one("opt/../../x"), "leads out of the tree"),
    "absolute": (one("/etc/passwd"), "'/etc/passwd' is an absolute path"),
    "other system": (one("..\\..\\x"), "path of another system"),
    "drive": (one("c:/x"), "path of another system"),
    "control": (one("a\nb"), "control characters"),
    "not UTF-8": (edited(one("aa"), 0, b"\xff\xfe"), "is not UTF-8"),
    "long": (one("x" * 2000), "longer than 1024 bytes"),
    "long part": (one("x" * 300), "longer than 255 bytes"),
    "nameless": (edited(one("a"), 0, b"\0"), "an entry has no name"),
    "device": (one("dev/sda", 0, tarfile.BLKTYPE), "is a device or a FIFO"),
    "character device": (one("dev/x", 0, tarfile.CHRTYPE), "is a device or a FIFO"),
    "fifo": (one("f", 0, tarfile.FIFOTYPE), "is a device or a FIFO"),
    "sparse": (one("f", 0, b"S"), "unknown type"),
    "link out": (one("l", 0, tarfile.SYMTYPE, "../x"), "leads out of the tree, to '../x'"),
    "link to the root": (one("l", 0, tarfile.SYMTYPE, "/etc"), "leads out of the tree"),
    "link by another": (
        two(INFO("a", 0, tarfile.SYMTYPE, "."), INFO("b", 0, tarfile.SYMTYPE, "a/../x")),
        "byte 512: the symbolic link 'b' leads out",
    ),
    "link by a link up": (
        two(INFO("d/a", 0, tarfile.SYMTYPE, ".."), INFO("d/b", 0, tarfile.SYMTYPE, "a/../x")),
        "byte 512: the symbolic link 'd/b' leads out",
    ),
    "link of nothing": (edited(one("l", 0, tarfile.SYMTYPE, "x"), 157, b"\0"), "no usable target"),
    "file below a link": (
        two(INFO("a", 0, tarfile.SYMTYPE, "b"), INFO("a/x")),
        "byte 512: 'a/x' lies below 'a', which is a symlink",
    ),
    "file below a file": (two(INFO("a"), INFO("a/x")), "lies below 'a', which is a file"),
    "link over a directory": (
        two(INFO("a/x"), INFO("a", 0, tarfile.SYMTYPE, "b")),
        "a second entry 'a'",
    ),
    "twice": (two(INFO("a"), INFO("./a")), "byte 512: a second entry 'a'"),
    "hard link out": (one("h", 0, tarfile.LNKTYPE, "../../etc/shadow"), "leads out of the tree"),
    "hard link to nothing": (one("h", 0, tarfile.LNKTYPE, "etc/x"), "which is no file in it"),
    "hard link to a link": (
        two(INFO("a", 0, tarfile.SYMTYPE, "b"), INFO("h", 0, tarfile.LNKTYPE, "a")),
        "which is no file in it",
    ),
    "link with data": (
        edited(one("l", 0, tarfile.SYMTYPE, "x"), 124, b"00000000005\0"),
        "'l' is a symlink and yet has 5 bytes",
    ),
    "checksum": (b"x" + one("a")[1:], "byte 0: not a tar header"),
    "size": (edited(one("a"), 124, b"99999999999\0"), "the size in a header is '99999999999"),
    "huge": (edited(one("a"), 124, b"\x80" + b"\xff" * 11), "out of range"),
    "cut data": (one("a", 5000)[:2000], "byte 2000: 'a' is cut: 3512 bytes missing"),
    "cut header": (one("a")[:300], "the archive is cut"),
    "no end": (one("a")[:512], "byte 512: the archive is cut: it has no end mark"),
    "behind the end": (one("a") + b"\1", "something behind its end"),
    "endless end": (one("a") + bytes(2 << 20), "something behind its end"),
    "many": (samples.tar((INFO(str(n)), b"") for n in range(60)), "more than 50 entries"),
    "many directories": (one("/".join("d" * 60)), "more than 50 entries"),
    "pax bomb": (pax(b"", size=1 << 30), "an extended header of 1073741824 bytes"),
    "long name bomb": (pax(b"", b"L", size=1 << 40), "an extended header of"),
    "pax record": (pax(b"99 path=x\n"), "record is broken"),
    "pax endless": (pax(b"0 path=x\n"), "record is broken"),
    "pax size": (pax(b"12 size=abc\n"), "an extended header's size is 'abc'"),
    "pax sparse": (pax(b"22 GNU.sparse.major=1\n"), "sparse files"),
    "pax path out": (pax(b"13 path=../x\n"), "leads out of the tree"),
    "pax alone": (pax(b"13 path=abcd\n")[:1024] + bytes(1024), "has no entry behind it"),
    "pax cut": (pax(b"13 path=abcd\n")[:515], "an extended header is cut"),
}  # fmt: skip


@pytest.mark.parametrize("case", HOSTILE)
def test_what_is_hostile_is_refused_with_member_and_byte(case: str) -> None:
    raw, words = HOSTILE[case]
    with pytest.raises(ProtocolError) as caught:
        read(raw)
    assert caught.value.message.startswith("payload1, byte ")
    assert words in caught.value.message


def moved(raw: bytes, number: int, offset: int) -> bytes:
    """Return a vmtar whose header `number` says that its data stand at `offset`."""
    block = bytearray(raw[number * 512 : number * 512 + 512])
    block[496:500] = offset.to_bytes(4, "little")
    block[148:156] = b"%06o\0 " % tarheader.checksum(bytes(block))
    return raw[: number * 512] + bytes(block) + raw[number * 512 + 512 :]


VMTAR = samples.vmtar([("a", b"A" * 5000), ("b", b"B" * 5000)])
HOSTILE_VMTAR = {
    "overlap": (moved(VMTAR, 1, 4096 + 100), "byte 512: the data of 'b' overlap others"),
    "in the headers": (moved(VMTAR, 0, 8), "byte 0: the data of 'a' overlap others"),
    "far": (moved(VMTAR, 1, 1 << 31), "bytes of nothing before 'b'"),
    "cut": (VMTAR[:-5000], "is cut"),
}


@pytest.mark.parametrize("case", HOSTILE_VMTAR)
def test_hostile_vmtar_is_refused(case: str) -> None:
    raw, words = HOSTILE_VMTAR[case]
    with pytest.raises(ProtocolError) as caught:
        read(raw)
    assert words in caught.value.message


def test_ten_thousand_entries_are_fine_and_bounded() -> None:
    raw = samples.tar((samples.info(f"d/{number}"), b"") for number in range(10_000))
    assert sum(1 for _ in Reader(chunks(raw, 1 << 18), "p")) == 10_000
    with pytest.raises(ProtocolError, match="more than 9999 entries"):
        read(raw, Limits(entries=9999))


def test_absolute_links_are_accepted_only_when_asked_for() -> None:
    raw = one("bin/sh", 0, tarfile.SYMTYPE, "/usr/bin/busybox")
    assert read(raw, absolute=True)[0][0].link == "/usr/bin/busybox"
    with pytest.raises(ProtocolError):
        read(one("l", 0, tarfile.SYMTYPE, "/../x"), absolute=True)


def test_harmless_variants_are_read() -> None:
    assert names(one("./a//b/./c")) == ["a/b/c"]
    assert read(one("d/", 0, tarfile.AREGTYPE))[0][0].kind is Kind.DIRECTORY
    root = samples.tar([(samples.info("./", 0, tarfile.DIRTYPE), b""), (samples.info("./x"), b"")])
    assert names(root) == ["", "x"]
    inside = two(INFO("a/b/l", 0, tarfile.SYMTYPE, "../../c"), INFO("c"))
    assert read(inside)[0][0].link == "../../c"


def test_devices_and_links_out_are_not_packed(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    with pytest.raises(InvalidInput, match="FIFOs do not belong"):
        tarwrite.scan(tmp_path)
    (tmp_path / "fifo").unlink()
    (tmp_path / "link").symlink_to("../x")
    with pytest.raises(InvalidInput, match="leads out of the tree"):
        tarwrite.scan(tmp_path)
    (tmp_path / "link").unlink()
    (tmp_path / os.fsdecode(b"\xff")).touch()
    with pytest.raises(InvalidInput, match="is not UTF-8"):
        tarwrite.scan(tmp_path)


def test_a_file_that_changes_while_it_is_packed_is_noticed(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"12345")
    (source,) = tarwrite.scan(tmp_path)
    for size in (4, 6):
        with pytest.raises(Exception, match="changed while it was read"):
            list(replace(source, size=size).chunks())
