"""Whatever a file holds, reading it ends in an answer or in one of our errors, and writes nothing.

Each case is a seed: sound files are damaged in the ways that parsers mind, at every layer, with
checksums put right again where those would hide the layer below. CHRONOVISOR_FUZZ_ROUNDS asks for
more rounds than the few of an ordinary run.
"""

import io
import os
import random
import shutil
import zipfile
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest

import vib_samples as samples
from chronovisor.errors import ChronovisorError
from chronovisor.image import depot, vib, xmltree
from chronovisor.image.depot import archive, listing
from chronovisor.image.limits import Limits
from chronovisor.image.vib import Policy, cms, descriptor_read, signature, tarheader
from chronovisor.image.vib.acceptance import AcceptanceLevel
from chronovisor.image.vib.signature import SigningKey
from chronovisor.image.vib.tarball import Reader
from chronovisor.image.vib.trust import Trust
from vib_samples import NOW, Stored, identity

ROUNDS = int(os.environ.get("CHRONOVISOR_FUZZ_ROUNDS", "60"))
SEEDS = range(2)
# small enough that a bomb is one, and that a round is quick
LIMITS = Limits(unpacked_bytes=1 << 20, stored_bytes=1 << 20, entries=300, xml_nodes=2000)

FILES = [name for name, _ in samples.TREE]
ROOT = identity("root", authority=True)
SIGNER = identity("signer", ROOT)
TRUSTED = Trust({AcceptanceLevel.PARTNER: (ROOT.certificate,)})
INTERESTING = (
    b"\0", b"\xff", b"/", b"..", b"../", b"%", b"\n", b"9" * 11, b"-1", b"\x80", b"\xff" * 8,
    b"<", b"&a;", b"<!DOCTYPE a>", b"]]>", b"0x10", b"\xc3\x28", b"\xed\xa0\x80", b" " * 16,
)  # fmt: skip


def damaged(raw: bytes, rng: random.Random) -> bytes:
    """Return bytes with one to four things done to them that parsers mind."""
    data = bytearray(raw)
    for _ in range(rng.randint(1, 4)):
        at = rng.randrange(len(data) + 1)
        match rng.randrange(7):
            case 0 if data:
                data[at % len(data)] ^= 1 << rng.randrange(8)
            case 1:
                data[at:at] = rng.choice(INTERESTING)
            case 2:
                del data[at : at + rng.randrange(1, 40)]
            case 3:
                del data[at:]
            case 4:
                piece = rng.choice(INTERESTING)
                data[at : at + len(piece)] = piece
            case 5:
                other = rng.randrange(len(data) + 1)
                data[at:at] = data[other : other + rng.randrange(1, 600)]
            case _:
                data[at : at + 4] = rng.randbytes(4)
    return bytes(data)


def survives(act: Callable[[], object]) -> bool:
    """Tell whether something ended well; any exception but ours is the test's failure."""
    try:
        act()
    except ChronovisorError as error:
        message = error.message
    else:
        return True
    assert message.isprintable(), "a message is fit for a terminal"
    assert message
    return False


def rounds(seed: int, act: Callable[[random.Random], object]) -> int:
    """Run a fuzzer for some rounds and return how many were refused."""
    rng = random.Random(seed)
    return sum(not survives(lambda: act(rng)) for _ in range(ROUNDS))


@pytest.mark.parametrize("seed", SEEDS)
def test_descriptors(seed: int) -> None:
    text = samples.descriptor([Stored.of(samples.tree())], FILES)
    refused = rounds(seed, lambda rng: descriptor_read.parse(damaged(text, rng), "d", LIMITS))
    assert refused > ROUNDS // 2


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("kind", ["tar", "vmtar", "pax"])
def test_archives(seed: int, kind: str) -> None:
    long = [("d/" * 90 + "x", b"y"), *samples.TREE]
    raw = {
        "tar": samples.tree(),
        "vmtar": samples.vmtar(samples.TREE),
        "pax": samples.tar(((samples.info(n, len(d)), d) for n, d in long), 2),
    }[kind]

    def act(rng: random.Random) -> None:
        data = bytearray(damaged(raw, rng))
        if rng.random() < 0.7:  # a checksum put right lets the damage through to what follows
            for start in range(0, min(len(data), 4096) - 511, 512):
                block = bytes(data[start : start + 512])
                if block[257:262] in (b"ustar", b"visor"):
                    data[start + 148 : start + 156] = b"%06o\0 " % tarheader.checksum(block)
        for _entry, pieces in Reader(iter([bytes(data)]), "payload1", LIMITS):
            for _ in pieces:
                pass

    rounds(seed, act)


@pytest.mark.parametrize("seed", SEEDS)
def test_packages_verified_and_unpacked(seed: int, tmp_path: Path) -> None:
    sound = samples.sample()
    path, target = tmp_path / "in" / "x.vib", tmp_path / "in" / "out"
    path.parent.mkdir()
    witness = tmp_path / "witness"
    witness.touch()

    def act(rng: random.Random) -> None:
        match rng.randrange(3):
            case 0:
                raw = damaged(sound, rng)
            case 1:  # the archive is damaged, every checksum is right
                raw = samples.hostile(damaged(samples.tree(), rng), FILES)
            case _:  # the compressed stream is damaged, its own checksum is right
                stored = Stored("payload1", damaged(samples.gzip_n(samples.tree()), rng))
                raw = samples.package(samples.descriptor([stored], FILES), [stored])
        path.write_bytes(raw)
        try:
            with vib.opened(path, LIMITS) as package:
                vib.verify(package, Policy(at=NOW))
                vib.extract(package, target)
        except ChronovisorError:
            assert not target.exists()
            raise
        else:
            for made in [*target.rglob("*"), target]:
                assert made.resolve().is_relative_to(target)
        finally:
            assert sorted(os.listdir(tmp_path)) == ["in", "witness"]  # noqa: PTH208
            left = [it for it in path.parent.iterdir() if it not in (path, target)]
            assert not left
            if target.exists():
                shutil.rmtree(target)

    assert rounds(seed, act) > ROUNDS // 2


@pytest.mark.parametrize("seed", SEEDS)
def test_signatures(seed: int) -> None:
    text = b"<vib/>"
    sound = signature.sign(text, SigningKey(SIGNER.key, SIGNER.certificate))

    def act(rng: random.Random) -> None:
        raw = damaged(sound, rng)
        cms.parse(raw, "sig.pkcs7")
        by = signature.verify(text, raw, TRUSTED, AcceptanceLevel.PARTNER, NOW + timedelta(days=1))
        assert by.subject == "CN=signer"

    assert rounds(seed, act) > ROUNDS // 2
    assert rounds(seed, lambda rng: cms.parse(rng.randbytes(rng.randrange(200)), "s")) > 0


@pytest.mark.parametrize("seed", SEEDS)
def test_zips_and_indexes(seed: int, tmp_path: Path) -> None:
    path = samples.written(tmp_path, samples.sample())
    bundle = tmp_path / "bundle.zip"
    depot.write_bundle([path], bundle, depot.Vendor("v", "v"))
    raw = bundle.read_bytes()
    with zipfile.ZipFile(bundle) as opened:
        index, metadata = opened.read("index.xml"), opened.read("metadata.zip")
    described = next(
        text
        for name, text in archive.documents(io.BytesIO(metadata), "m").items()
        if name.startswith("vibs/")
    )
    broken = tmp_path / "broken.zip"
    target = tmp_path / "fetched"
    target.mkdir()

    def whole(rng: random.Random) -> None:
        broken.write_bytes(damaged(raw, rng))
        with depot.opened(str(broken), LIMITS) as opened:
            for package in opened.packages:
                fetched = opened.fetch(package, target)
                assert fetched.read_bytes() == path.read_bytes()
                fetched.unlink()

    rounds(seed, whole)
    assert not list(target.iterdir())
    refuse = rounds(seed, lambda rng: archive.documents(io.BytesIO(damaged(metadata, rng)), "m"))
    assert refuse > 0
    rounds(seed, lambda rng: listing.vendor_indexes(damaged(index, rng), "i"))
    rounds(seed, lambda rng: listing.packages({"vibs/x.xml": damaged(described, rng)}, "m"))


@pytest.mark.parametrize("seed", SEEDS)
def test_xml_of_nothing_but_noise(seed: int) -> None:
    alphabet = [b"<", b">", b"/", b"a", b"=", b'"', b"&", b";", b"!", b"?", b"-", b"[", b"]", b" "]
    rounds(
        seed,
        lambda rng: xmltree.parse(b"".join(rng.choices(alphabet, k=rng.randrange(60))), "x"),
    )
