"""Offline bundles and directories: round trips, determinism, and zips that lie."""

import hashlib
import io
import os
import struct
import zipfile
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path

import pytest

import vib_samples as samples
from chronovisor.errors import Conflict, InvalidInput, NotFound, ProtocolError
from chronovisor.image import depot, xmltree
from chronovisor.image.depot import Vendor, archive, listing
from chronovisor.image.limits import Limits

VENDOR = Vendor("Example & Co", "exa")
VIB = "vib20/trx-conf/example_bootbank_trx-conf_1.0-1.vib"


def package(directory: Path, name: str = "trx-conf", version: str = "1.0-1") -> Path:
    payloads = [samples.Stored.of(samples.tree())]
    text = samples.descriptor(
        payloads, [path for path, _ in samples.TREE], name=name, version=version
    )
    return samples.written(directory, samples.package(text, payloads), f"{name}{version}.vib")


def bundle(directory: Path) -> Path:
    path = directory / "bundle.zip"
    depot.write_bundle([package(directory), package(directory, "other")], path, VENDOR)
    return path


def test_a_bundle_lists_and_gives_what_was_put_in(tmp_path: Path) -> None:
    with depot.opened(str(bundle(tmp_path))) as opened:
        assert [it.descriptor.name for it in opened.packages] == ["other", "trx-conf"]
        found = opened.find("trx-conf")
        heard: list[tuple[int, int]] = []
        path = opened.fetch(
            found, tmp_path, lambda done, everything: heard.append((done, everything))
        )
        assert path.read_bytes() == package(tmp_path).read_bytes()
        assert heard[-1] == (found.size, found.size)
        before = path.stat().st_ino
        assert opened.fetch(found, tmp_path).stat().st_ino == before, "it is there already"
        path.write_bytes(b"x" * found.size)
        assert opened.fetch(found, tmp_path).read_bytes() == package(tmp_path).read_bytes()
        with pytest.raises(NotFound, match="lists no package 'nope'"):
            opened.find("nope")


def test_the_newest_of_a_name_is_found(tmp_path: Path) -> None:
    files = [package(tmp_path, version=version) for version in ("1.9-1", "1.10-1", "1.2-1")]
    depot.publish(files, tmp_path / "depot", VENDOR)
    with depot.opened(str(tmp_path / "depot")) as opened:
        assert opened.find("trx-conf").descriptor.version == "1.10-1"
        assert opened.find("example_bootbank_trx-conf_1.2-1").descriptor.version == "1.2-1"


def test_equal_packages_give_equal_bundles(tmp_path: Path) -> None:
    first = bundle(tmp_path).read_bytes()
    os.utime(package(tmp_path), (1, 1))
    assert bundle(tmp_path).read_bytes() == first


def test_the_layout_is_that_of_published_bundles(tmp_path: Path) -> None:
    with zipfile.ZipFile(bundle(tmp_path)) as zipped:
        assert zipped.namelist()[:3] == ["index.xml", "vendor-index.xml", "metadata.zip"]
        assert VIB in zipped.namelist()
        assert zipped.getinfo(VIB).compress_type == zipfile.ZIP_STORED
        index = xmltree.parse(zipped.read("index.xml"), "index.xml")
        metadata = zipfile.ZipFile(io.BytesIO(zipped.read("metadata.zip")))
    assert index.name == "vendorList"
    vendor = index.children[0]
    order = ["name", "code", "indexfile", "patchUrl", "relativePath", "content"]
    assert [child.name for child in vendor.children] == order
    names = metadata.namelist()
    assert names[:2] == ["vmware.xml", "vendor-index.xml"]
    assert "bulletins/trx-conf-1.0-1.xml" in names
    response = xmltree.parse(metadata.read("vmware.xml"), "vmware.xml")
    bulletins = list(response.all("bulletin"))
    assert len(bulletins) == 2
    listed = bulletins[0].find("vibList")
    assert listed is not None
    file = listed.children[0].find("vibFile")
    assert file is not None
    assert file.value("relativePath") == VIB
    digest = file.find("checksum")
    assert digest is not None
    assert digest.value("checksumType") == "sha-256"
    raw = package(tmp_path).read_bytes()
    assert digest.value("checksum") == hashlib.sha256(raw).hexdigest()
    (vib,) = [name for name in names if name.startswith("vibs/trx-conf-")]
    described = xmltree.parse(metadata.read(vib), vib)
    order = [child.name for child in described.children]
    assert order.index("software-tags") + 1 == order.index("relative-path")
    assert order[order.index("packed-size") + 1] == "checksum"


def test_publishing_adds_and_replaces(tmp_path: Path) -> None:
    place = tmp_path / "depot"
    depot.publish([package(tmp_path)], place, VENDOR)
    depot.publish([package(tmp_path, "other")], place, VENDOR)
    with depot.opened(str(place / "index.xml")) as opened:
        assert len(opened.packages) == 2
        for found in opened.packages:
            opened.fetch(found, tmp_path)
    assert not [path for path in place.rglob("*") if path.name.startswith(".")]


def test_a_depot_needs_packages_of_different_ids(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="at least one package"):
        depot.write_bundle([], tmp_path / "x.zip", VENDOR)
    with pytest.raises(Conflict, match="two packages have the same id"):
        depot.write_bundle([package(tmp_path)] * 2, tmp_path / "x.zip", VENDOR)
    assert not list(tmp_path.glob("*.zip"))


def test_what_is_no_depot_is_told(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="is not a depot"), depot.opened(str(package(tmp_path))):
        pass
    with pytest.raises(NotFound), depot.opened(str(tmp_path)):
        pass
    for url in ("ftp://example.org/", "file:///etc/", "http:///x", "http://user:pass@example.org/"):
        with pytest.raises(InvalidInput), depot.opened(url):
            pass


def zipped(files: Mapping[str, bytes] | list[tuple[str, bytes]]) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as target:
        pairs = files.items() if isinstance(files, Mapping) else files
        for name, data in pairs:
            info = zipfile.ZipInfo("x")
            info.filename, info.compress_type = name, zipfile.ZIP_DEFLATED
            target.writestr(info, data)
    return stream.getvalue()


def link() -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as target:
        info = zipfile.ZipInfo("link")
        info.external_attr = 0o120777 << 16
        target.writestr(info, b"/etc/passwd")
    return stream.getvalue()


def twice() -> bytes:
    raw = zipped({"aa": b"1", "ab": b"2"})
    return raw.replace(b"ab", b"aa")


def ending(entries: int, length: int) -> bytes:
    return struct.pack("<4s4H2IH", b"PK\5\6", 0, 0, entries, entries, length, 0, 0)


GOOD = zipped({"index.xml": b"<vendorList/>"})
HOSTILE = {
    "slip": (zipped({"../../etc/cron.d/x": b"x"}), "leads out of the tree by '..'"),
    "absolute": (zipped({"/etc/passwd": b"x"}), "absolute path"),
    "other system": (zipped({"..\\x": b"x"}), "path of another system"),
    "zero": (zipped({"a#b": b"x"}).replace(b"a#b", b"a\0b"), "control characters"),
    "link": (link(), "'link' is a link or a device"),
    "twice": (twice(), "a second member 'aa'"),
    "not a zip": (b"PK" + bytes(100), "not a zip file"),
    "cut": (GOOD[:-30], "not a zip file"),
    "large directory": (b"PK" + bytes(100) + ending(1, 1 << 30), "the zip's directory has"),
    "no directory": (b"PK" + ending(1, 100), "is broken"),
    "many": (b"PK" + ending(0xFFFF, 0xFFFFFFFF), "a broken end of the zip's directory"),
    "encrypted": (GOOD.replace(b"PK\1\2\x14\3\x14\0\0\0", b"PK\1\2\x14\3\x14\0\1\0"), "encrypted"),
    "method": (GOOD.replace(b"\x14\0\0\0\x08\0", b"\x14\0\0\0\x0c\0"), "an unusual method"),
}


@pytest.mark.parametrize("case", HOSTILE)
def test_hostile_zips_are_refused(case: str) -> None:
    raw, words = HOSTILE[case]
    with pytest.raises(ProtocolError) as caught:
        archive.documents(io.BytesIO(raw), "metadata.zip")
    assert words in caught.value.message
    assert caught.value.message.startswith("metadata.zip, byte ")


def test_a_zip_bomb_is_bounded_by_what_it_declares_and_by_the_limit() -> None:
    bomb = zipped({"vmware.xml": bytes(5_000_000)})
    with pytest.raises(ProtocolError, match="declares 5000000 bytes; 1000 are allowed"):
        archive.documents(io.BytesIO(bomb), "m", Limits(index_bytes=1000))
    lying = bomb.replace((5_000_000).to_bytes(4, "little"), (1000).to_bytes(4, "little"))
    with pytest.raises(ProtocolError, match="is broken"):
        archive.documents(io.BytesIO(lying), "m")
    short = zipped({"x": b"\1" * 500})
    longer = short.replace((500).to_bytes(4, "little"), (1000).to_bytes(4, "little"))
    with pytest.raises(ProtocolError, match="not as long as it declares"):
        archive.documents(io.BytesIO(longer), "m")
    many = zipped({f"vibs/{number}.xml": bytes(300_000) for number in range(5)})
    with pytest.raises(ProtocolError, match="are allowed"):
        archive.documents(io.BytesIO(many), "m", Limits(index_bytes=1_000_000))


def test_names_in_indexes_stay_in_the_depot() -> None:
    def index(inner: str) -> bytes:
        return f"<vendorList><vendor>{inner}</vendor></vendorList>".encode()

    good = index("<indexfile>vendor-index.xml</indexfile><relativePath>a/b/</relativePath>")
    assert listing.vendor_indexes(good, "i") == ["a/b/vendor-index.xml"]
    for bad in (
        "<indexfile>../x</indexfile>",
        "<indexfile>/etc/passwd</indexfile>",
        "<indexfile>http://evil.example/x</indexfile>",
        "<indexfile>x</indexfile><relativePath>../../</relativePath>",
        "<indexfile>x</indexfile><relativePath>/etc</relativePath>",
        "",
    ):
        with pytest.raises(ProtocolError):
            listing.vendor_indexes(index(bad), "i")
    with pytest.raises(ProtocolError, match="names no vendor"):
        listing.vendor_indexes(b"<vendorList/>", "i")


def described(directory: Path) -> bytes:
    with zipfile.ZipFile(bundle(directory)) as opened:
        metadata = zipfile.ZipFile(io.BytesIO(opened.read("metadata.zip")))
    (name,) = [name for name in metadata.namelist() if name.startswith("vibs/trx")]
    return metadata.read(name)


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        (b"<packed-size>", b"<packed-size>9999999999999", "<packed-size> is"),
        (b"<packed-size>", b"<packed-size>-", "<packed-size> is"),
        (b"<relative-path>", b"<relative-path>../../", "leads out of the tree"),
        (b'<checksum checksum-type="sha-256">', b'<checksum checksum-type="md5">', "no sha-256"),
        (b"relative-path>", b"other>", "<relative-path> is missing"),
    ],
)
def test_descriptions_are_checked(tmp_path: Path, old: bytes, new: bytes, words: str) -> None:
    raw = described(tmp_path)
    assert len(listing.packages({"vibs/a.xml": raw}, "m")) == 1
    times = 2 if old == b"relative-path>" else 1  # both tags of an element
    with pytest.raises(ProtocolError) as caught:
        listing.packages({"vibs/a.xml": raw.replace(old, new, times)}, "m")
    assert words in caught.value.message
    with pytest.raises(NotFound, match="describes no packages"):
        listing.packages({"vmware.xml": raw}, "m")
    both = {"vibs/a.xml": raw, "vibs/b.xml": raw}
    with pytest.raises(ProtocolError, match="more than 1 packages"):
        listing.packages(both, "m", Limits(depot_packages=1))


def test_a_file_that_is_not_as_listed_is_refused(tmp_path: Path) -> None:
    place = tmp_path / "depot"
    depot.publish([package(tmp_path)], place, VENDOR)
    size = (place / VIB).stat().st_size
    for raw in (b"x" * size, b"x" * (size - 1), b"x" * (size + 1), b""):
        (place / VIB).write_bytes(raw)
        with depot.opened(str(place)) as opened, pytest.raises(Conflict, match="not the file"):
            opened.fetch(opened.packages[0], tmp_path)
    assert not (tmp_path / "example_bootbank_trx-conf_1.0-1.vib").exists()
    assert not list(tmp_path.glob(".*"))


def test_times_before_zip_s_own_are_cut() -> None:
    info = archive.member("x", datetime(1970, 1, 1, tzinfo=UTC), packed=True)
    assert info.date_time == (1980, 1, 1, 0, 0, 0)
