"""Whole packages: opened, verified, unpacked, built, compared."""

import dataclasses
import os
import stat
import tarfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import vib_samples as samples
from chronovisor.errors import (
    Conflict,
    Denied,
    InvalidInput,
    NotFound,
    ProtocolError,
)
from chronovisor.image import vib
from chronovisor.image.limits import Limits
from chronovisor.image.vib import Outcome, Policy, extensibility, recipe, tarheader
from chronovisor.image.vib.acceptance import AcceptanceLevel
from chronovisor.image.vib.signature import SigningKey
from chronovisor.image.vib.trust import Trust
from vib_samples import NOW, TREE, Stored, identity

ROOT = identity("root", authority=True)
SIGNER = identity("signer", ROOT)
KEY = SigningKey(SIGNER.key, SIGNER.certificate)
TRUSTED = Trust({AcceptanceLevel.PARTNER: (ROOT.certificate,)})


def outcomes(path: Path, policy: Policy | None = None) -> dict[str, Outcome]:
    with vib.opened(path) as package:
        report = vib.verify(package, policy or Policy(at=NOW))
    return {check.name: check.outcome for check in report.checks}


def refusal(path: Path, policy: Policy | None = None) -> str:
    with vib.opened(path) as package, pytest.raises(Denied) as caught:
        vib.verify(package, policy or Policy(at=NOW)).demand()
    return caught.value.message


def test_a_sound_package_passes(tmp_path: Path) -> None:
    path = samples.written(tmp_path, samples.sample())
    assert set(outcomes(path).values()) == {Outcome.OK}


@pytest.mark.parametrize(("kind", "archive"), [("vgz", "vmtar"), ("vgz", "tar"), ("tgz", "tar")])
def test_payload_types(tmp_path: Path, kind: str, archive: str) -> None:
    raw = samples.vmtar(TREE) if archive == "vmtar" else samples.tree()
    path = samples.written(tmp_path, samples.hostile(raw, [name for name, _ in TREE], kind))
    assert set(outcomes(path).values()) == {Outcome.OK}


def test_a_boot_payload_is_one_file(tmp_path: Path) -> None:
    kernel = Stored("k", samples.gzip_n(b"kernel"), b"kernel", "boot")
    path = samples.written(tmp_path, samples.package(samples.descriptor([kernel]), [kernel]))
    assert set(outcomes(path).values()) == {Outcome.OK}
    with vib.opened(path) as package:
        vib.extract(package, tmp_path / "out")
    assert (tmp_path / "out" / "payloads" / "k").read_bytes() == kernel.data
    wrong = dataclasses.replace(kernel, unpacked=b"other")
    path = samples.written(tmp_path, samples.package(samples.descriptor([wrong]), [wrong]))
    with pytest.raises(ProtocolError, match="after gunzip of payload 'k'"):
        outcomes(path)


def test_old_packages_are_named_as_such(tmp_path: Path) -> None:
    for name in ("debian-binary", "complete.rpm"):
        raw = samples.sample() + samples.member(name, b"2.0\n")
        with pytest.raises(InvalidInput, match="a VIB of ESX 4"):
            outcomes(samples.written(tmp_path, raw))


def with_text(old: bytes, new: bytes) -> bytes:
    payloads = [Stored.of(samples.tree())]
    text = samples.descriptor(payloads, [name for name, _ in TREE]).replace(old, new)
    return samples.package(text, payloads)


PAYLOAD = Stored.of(samples.tree())
FILES = [name for name, _ in TREE]
TEXT = samples.descriptor([PAYLOAD], FILES)
BROKEN = {
    "no descriptor": (samples.package(TEXT, [PAYLOAD])[:8], "no member 'descriptor.xml'"),
    "no signature": (
        b"!<arch>\n" + samples.member("descriptor.xml", TEXT),
        "there is no member 'sig.pkcs7'",
    ),
    "no payload": (samples.package(TEXT, []), "payload 'payload1' is missing"),
    "payload too many": (
        samples.package(TEXT, [PAYLOAD, Stored("other", b"x")]),
        "member 'other' is not in the descriptor",
    ),
    "size": (with_text(b'size="', b'size="1'), "bytes, the descriptor says 1"),
    "tampered payload": (
        samples.package(TEXT, [Stored("payload1", PAYLOAD.data[:-1] + b"\xff")]),
        "member payload1 (at byte ",
    ),
    "cut": (samples.package(TEXT, [PAYLOAD])[:-20], "member 'payload1' is cut"),
}  # fmt: skip


@pytest.mark.parametrize("case", BROKEN)
def test_broken_packages_are_refused(case: str, tmp_path: Path) -> None:
    raw, words = BROKEN[case]
    path = samples.written(tmp_path, raw)
    with pytest.raises((ProtocolError, InvalidInput)) as caught:
        outcomes(path)
    assert words in caught.value.message
    assert "sample.vib" in caught.value.message


def test_each_checksum_is_checked(tmp_path: Path) -> None:
    other = Stored.of(samples.tree([("opt/x", b"other")]))
    digests = [line for line in TEXT.splitlines() if b"<checksum" in line]
    theirs = [line for line in other.xml().encode().splitlines() if b"<checksum" in line]
    for number, form in enumerate(("sha-256", "sha-256 after gunzip", "sha-1 after gunzip")):
        text = TEXT.replace(digests[number], theirs[number])
        path = samples.written(tmp_path, samples.package(text, [PAYLOAD]))
        with pytest.raises(ProtocolError, match=f"{form} of payload 'payload1' is "):
            outcomes(path)


def test_a_payload_without_a_strong_checksum_is_refused(tmp_path: Path) -> None:
    bare = TEXT.replace(PAYLOAD.xml().splitlines()[1].encode(), b"")
    path = samples.written(tmp_path, samples.package(bare, [PAYLOAD]))
    assert "has no SHA-256 checksum" in refusal(path)


def test_files_beyond_the_list_are_refused(tmp_path: Path) -> None:
    path = samples.written(tmp_path, samples.hostile(samples.tree(), [TREE[0][0]]))
    assert "opt/trx/bin/trx not in the descriptor's file list" in refusal(path)
    forced = outcomes(path, Policy(force=True, at=NOW))
    assert forced["file-list"] is Outcome.WARNING
    path = samples.written(tmp_path, samples.hostile(samples.tree(), [*FILES, "opt/more"]))
    assert outcomes(path)["file-list"] is Outcome.WARNING


def test_links_beyond_the_list_are_only_told(tmp_path: Path) -> None:
    link = samples.info("opt/link", 0, tarfile.SYMTYPE, "file")
    file = samples.info("opt/file")
    raw = samples.hostile(samples.tar([(file, b""), (link, b"")]), ["opt/file"])
    assert outcomes(samples.written(tmp_path, raw))["file-list"] is Outcome.WARNING


def test_extensibility_rules_hold_for_what_is_listed_and_what_is_there(tmp_path: Path) -> None:
    bad = [("etc/vmware/trx.conf", b"x")]
    path = samples.written(tmp_path, samples.sample(bad))
    words = "VIB trx-conf: etc/vmware/trx.conf is not allowed at level community"
    assert words in refusal(path)
    assert outcomes(path, Policy(force=True, at=NOW))["extensibility"] is Outcome.WARNING
    path = samples.written(tmp_path, samples.hostile(samples.tree(bad), ["opt/x"]))
    assert words in refusal(path)
    path = samples.written(tmp_path, samples.sample(bad, level="partner"))
    assert outcomes(path)["extensibility"] is Outcome.OK


@pytest.mark.parametrize(
    ("path", "is_allowed"),
    [
        ("opt/x/y", True),
        ("optional/x", False),
        ("etc/vmware/firewall/trx.xml", True),
        ("etc/vmware/firewall.xml", False),
        ("etc/vmware/shutdown/shutdown/x", True),
        ("etc/init.d/trx", False),
        ("usr/lib/vmware/trx/bin", True),
    ],
)
def test_the_allow_list(path: str, is_allowed: bool) -> None:
    found = extensibility.violations("x", AcceptanceLevel.COMMUNITY, [path])
    assert not found if is_allowed else found
    assert not extensibility.violations("x", AcceptanceLevel.PARTNER, [path])
    assert all("rule community-paths" in problem.valid for problem in found)


def signed(directory: Path, raw: bytes) -> Path:
    path = samples.written(directory, raw)
    with vib.opened(path) as package:
        vib.sign(package, KEY, directory / "signed.vib")
    return directory / "signed.vib"


def test_signatures_count_by_level(tmp_path: Path) -> None:
    unsigned = samples.written(tmp_path, samples.sample(level="partner"))
    assert "unsigned, which level partner may not be" in refusal(unsigned)
    bypassed = outcomes(unsigned, Policy(no_signature_check=True, at=NOW))
    assert bypassed["signature"] is Outcome.WARNING
    path = signed(tmp_path, samples.sample(level="partner"))
    assert outcomes(path, Policy(TRUSTED, at=NOW))["signature"] is Outcome.OK
    assert "no certificate is trusted" in refusal(path)
    text = path.read_bytes().replace(b"Time settings", b"Time-settings")
    tampered = samples.written(tmp_path, text)
    assert "the signature is not one of this descriptor" in refusal(
        tampered, Policy(TRUSTED, at=NOW)
    )


def test_force_does_not_override_signatures_nor_the_other_way(tmp_path: Path) -> None:
    path = samples.written(tmp_path, samples.sample(level="partner"))
    assert "unsigned" in refusal(path, Policy(force=True, at=NOW))
    path = samples.written(tmp_path, samples.sample([("etc/x", b"")]))
    assert "etc/x" in refusal(path, Policy(no_signature_check=True, at=NOW))


def test_signing_keeps_payloads_and_may_replace_the_file(tmp_path: Path) -> None:
    path = samples.written(tmp_path, samples.sample())
    with vib.opened(path) as package:
        vib.sign(package, KEY, path)
    with vib.opened(path) as package:
        assert package.signature
        assert package.stored(package.descriptor.payloads[0]).read(0, 99999) == PAYLOAD.data
    assert not list(tmp_path.glob(".*"))


def below(directory: Path) -> dict[str, str]:
    found = {}
    for path in sorted(directory.rglob("*")):
        mode = path.lstat().st_mode
        name = str(path.relative_to(directory))
        if stat.S_ISLNK(mode):
            found[name] = f"-> {path.readlink()}"
        elif path.is_file():
            found[name] = f"{stat.S_IMODE(mode):o} {path.read_bytes()!r}"
    return found


def test_extraction_writes_the_tree(tmp_path: Path) -> None:
    info = samples.info
    raw = samples.tar(
        [
            (info("opt/"), b""),
            (info("opt/a", 2), b"hi"),
            (info("opt/h", 0, tarfile.LNKTYPE, "opt/a"), b""),
            (info("opt/deep/l", 0, tarfile.SYMTYPE, "../a"), b""),
        ]
    )
    path = samples.written(tmp_path, samples.hostile(raw))
    with vib.opened(path) as package:
        assert vib.extract(package, tmp_path / "out") == 4
    found = below(tmp_path / "out" / "payloads" / "payload1" / "opt")
    assert found == {"a": "755 b'hi'", "h": "755 b'hi'", "deep/l": "-> ../a"}
    opt = tmp_path / "out/payloads/payload1/opt"
    assert (opt / "a").stat().st_ino == (opt / "h").stat().st_ino
    assert not list(tmp_path.glob(".*")), "nothing is left beside it"


def test_extraction_drops_set_id_bits(tmp_path: Path) -> None:
    member = samples.info("opt/su", 1)
    member.mode = 0o6755
    path = samples.written(tmp_path, samples.hostile(samples.tar([(member, b"x")])))
    with vib.opened(path) as package:
        vib.extract(package, tmp_path / "out")
    assert stat.S_IMODE((tmp_path / "out/payloads/payload1/opt/su").stat().st_mode) == 0o755


def test_absolute_links_point_into_the_tree(tmp_path: Path) -> None:
    link = samples.info("opt/bin/sh", 0, tarfile.SYMTYPE, "/usr/bin/busybox")
    path = samples.written(tmp_path, samples.hostile(samples.tar([(link, b"")])))
    with vib.opened(path) as package:
        with pytest.raises(ProtocolError, match="leads out of the tree"):
            vib.extract(package, tmp_path / "out")
        vib.extract(package, tmp_path / "out", absolute_links=True)
    made = tmp_path / "out/payloads/payload1/opt/bin/sh"
    assert str(made.readlink()) == "../../usr/bin/busybox"
    assert (made.parent / made.readlink()).resolve().is_relative_to(tmp_path / "out")


def test_nothing_is_written_when_the_end_is_bad(tmp_path: Path) -> None:
    late = [(samples.info(f"opt/{n}", 3), b"abc") for n in range(20)]
    late.append((samples.info("../escape", 3), b"abc"))
    path = samples.written(tmp_path, samples.hostile(samples.tar(late)))
    before = below(tmp_path)
    with vib.opened(path) as package, pytest.raises(ProtocolError, match="leads out"):
        vib.extract(package, tmp_path / "out")
    assert below(tmp_path) == before
    assert [path.name for path in tmp_path.iterdir()] == ["sample.vib"]


def test_a_wrong_last_checksum_leaves_nothing(tmp_path: Path) -> None:
    wrong = dataclasses.replace(PAYLOAD, unpacked=b"other")
    path = samples.written(tmp_path, samples.package(samples.descriptor([wrong]), [wrong]))
    with vib.opened(path) as package, pytest.raises(ProtocolError, match="after gunzip"):
        vib.extract(package, tmp_path / "out")
    assert [path.name for path in tmp_path.iterdir()] == ["sample.vib"]


def test_extraction_never_writes_over_anything(tmp_path: Path) -> None:
    path = samples.written(tmp_path, samples.sample())
    (tmp_path / "empty").mkdir()
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "x").touch()
    (tmp_path / "link").symlink_to("empty")
    with vib.opened(path) as package:
        vib.extract(package, tmp_path / "empty")
        for taken in ("full", "link", "sample.vib"):
            with pytest.raises(Conflict, match="is not an empty directory"):
                vib.extract(package, tmp_path / taken)


def layout(directory: Path, files: samples.Files = TREE, toml: str = "") -> Path:
    for name, data in files:
        path = directory / "payloads" / "payload1" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    if toml:
        (directory / "vib.toml").write_text(toml)
    return directory


TOML = """\
name = "trx-conf"
version = "1.0-1"
vendor = "example"
release-date = 2026-01-02T03:04:05Z
depends = ["esx-base >= 5.5", "vmkapi_2_2_0_0"]
"""


def test_what_is_built_passes_and_is_built_again_the_same(tmp_path: Path) -> None:
    source = layout(tmp_path / "a", toml=TOML)
    built = vib.build(recipe.load(source), tmp_path)
    assert built.path.name == "example_bootbank_trx-conf_1.0-1.vib"
    assert set(outcomes(built.path).values()) == {Outcome.OK}
    assert built.descriptor.depends == (
        vib.Relation("esx-base", ">=", "5.5"),
        vib.Relation("vmkapi_2_2_0_0"),
    )
    again = layout(tmp_path / "b", reversed(TREE), toml=TOML)  # type: ignore[arg-type]  # any order
    for path in again.rglob("*"):
        path.chmod(path.stat().st_mode | 0o022)
        os.utime(path, (1, 1))
    other = vib.build(recipe.load(again), tmp_path / "other.vib")
    assert other.path.read_bytes() == built.path.read_bytes()


@pytest.mark.parametrize(
    "payload",
    [
        'type = "vgz"\narchive = "vmtar"\ncompression = "xz"',
        'type = "vgz"\narchive = "vmtar"',
        'type = "vgz"',
        'type = "tgz"\nlevel = 9',
    ],
)
def test_payload_forms_are_built(tmp_path: Path, payload: str) -> None:
    source = layout(tmp_path / "a", toml=TOML + f'[[payload]]\nname = "payload1"\n{payload}\n')
    built = vib.build(recipe.load(source), tmp_path)
    assert set(outcomes(built.path).values()) == {Outcome.OK}
    with vib.opened(built.path) as package:
        vib.extract(package, tmp_path / "out")
    assert below(tmp_path / "out/payloads") == below(tmp_path / "a/payloads")


def test_what_is_unpacked_is_built_to_the_same_bytes(tmp_path: Path) -> None:
    source = layout(tmp_path / "a", toml=TOML)
    (source / "payloads/payload1/opt/trx/link").symlink_to("bin/trx")
    (source / "payloads" / "boot1").write_bytes(b"kernel")
    built = vib.build(recipe.load(source), tmp_path / "one.vib", key=KEY)
    with vib.opened(built.path) as package:
        vib.extract(package, tmp_path / "out")
    again = vib.build(recipe.load(tmp_path / "out"), tmp_path / "two.vib", key=KEY)
    assert again.path.read_bytes() == built.path.read_bytes()


def test_the_date_is_the_epoch_s_or_the_newest_file_s(tmp_path: Path) -> None:
    undated = "\n".join(line for line in TOML.splitlines() if "date" not in line)
    source = layout(tmp_path / "a", toml=undated)
    built = vib.build(recipe.load(source), tmp_path, epoch_s=1_000_000)
    assert built.descriptor.epoch_s == 1_000_000
    for path in source.rglob("*"):
        os.utime(path, (5, 5))
    assert vib.build(recipe.load(source), tmp_path).descriptor.epoch_s == 5


@given(
    st.dictionaries(
        st.lists(st.from_regex(r"[a-z.äß ]{1,9}", fullmatch=True), min_size=1, max_size=3)
        .map(lambda parts: "opt/" + "/".join(part.strip(". ") + "x" for part in parts)),
        st.binary(max_size=3000),
        min_size=1,
        max_size=6,
    ).filter(lambda files: not any(a != b and b.startswith(a + "/") for a in files for b in files)),
    st.sampled_from(["tar", "vmtar"]),
    st.sampled_from(["gzip", "xz"]),
)  # fmt: skip
@settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
def test_generated_packages_survive_the_round_trip(
    tmp_path_factory: pytest.TempPathFactory,
    files: dict[str, bytes],
    archive: str,
    compression: str,
) -> None:
    directory = tmp_path_factory.mktemp("generated")
    payload = f'type = "vgz"\narchive = "{archive}"\ncompression = "{compression}"\n'
    toml = TOML + f'[[payload]]\nname = "payload1"\n{payload}'
    source = layout(directory / "a", list(files.items()), toml=toml)
    built = vib.build(recipe.load(source), directory)
    assert set(outcomes(built.path).values()) == {Outcome.OK}
    with vib.opened(built.path) as package:
        vib.extract(package, directory / "out")
    assert below(directory / "out/payloads") == below(directory / "a/payloads")


def test_what_may_not_be_built_is_told(tmp_path: Path) -> None:
    bad = layout(tmp_path / "a", [("etc/vmware/trx.conf", b"x")], toml=TOML)
    with pytest.raises(Denied) as caught:
        vib.build(recipe.load(bad), tmp_path)
    words = "VIB trx-conf: etc/vmware/trx.conf is not allowed at level community"
    assert caught.value.message == words
    assert "community-paths" in (caught.value.hint or "")
    built = vib.build(recipe.load(bad), tmp_path, force=True)
    assert built.warnings == (words,)
    partner = vib.build(recipe.load(bad, {"acceptance-level": "partner"}), tmp_path)
    assert "unsigned: no host takes it at level partner" in partner.warnings[0]
    assert not vib.build(
        recipe.load(bad, {"acceptance-level": "partner"}), tmp_path, key=KEY
    ).warnings


def test_nothing_is_left_of_a_build_that_fails(tmp_path: Path) -> None:
    source = layout(tmp_path / "a", toml=TOML + 'summary = "bell \\u0007"\n')
    out = tmp_path / "out"
    out.mkdir()
    with pytest.raises(InvalidInput, match="cannot be written in XML"):
        vib.build(recipe.load(source), out)
    assert not list(out.iterdir())
    with pytest.raises(NotFound):
        vib.build(recipe.load(layout(tmp_path / "b", toml=TOML)), tmp_path / "none" / "x.vib")


RECIPES = {
    "unknown": (TOML + "colour = 1", "vib.toml: colour: Extra inputs are not permitted"),
    "missing": ('name = "x"', "version: Field required"),
    "name": (TOML.replace('"trx-conf"', '"../x"'), "name: String should match pattern"),
    "level": (TOML + 'acceptance-level = "best"', "acceptance-level: Input should be"),
    "relation": (TOML + 'provides = ["a >> "]', "provides[0]: String should match pattern"),
    "payload": (TOML + '[[payload]]\nname = "nope"', "payloads/nope is not a directory"),
    "twice": (TOML + '[[payload]]\nname = "payload1"\n' * 2, "a second one of this name"),
    "boot": (TOML + '[[payload]]\nname = "payload1"\ntype = "boot"', "is not a file, as type boot"),
    "tgz": (TOML + '[[payload]]\nname = "payload1"\narchive = "vmtar"', "type tgz is tar in gzip"),
    "not TOML": ("name = ", "not TOML"),
}  # fmt: skip


@pytest.mark.parametrize("case", RECIPES)
def test_bad_recipes_name_every_problem(case: str, tmp_path: Path) -> None:
    toml, words = RECIPES[case]
    with pytest.raises(InvalidInput) as caught:
        recipe.load(layout(tmp_path, toml=toml))
    assert words in "\n".join([caught.value.message, *map(str, caught.value.problems)])


def test_recipes_may_come_from_a_descriptor_or_from_words(tmp_path: Path) -> None:
    source = layout(tmp_path / "a")
    with pytest.raises(NotFound, match="holds neither"):
        recipe.load(source)
    given_words = {"name": "n", "version": "1", "vendor": "v"}
    assert recipe.load(source, given_words).descriptor.id == "v_bootbank_n_1"
    (source / "descriptor.xml").write_bytes(samples.descriptor([]))
    assert recipe.load(source).descriptor.id == "example_bootbank_trx-conf_1.0-1"
    with pytest.raises(InvalidInput, match="already says what the package is"):
        recipe.load(source, given_words)
    (source / "descriptor.xml").write_bytes(samples.descriptor([], extra="<surprise/>"))
    with pytest.raises(InvalidInput, match="elements that would be lost"):
        recipe.load(source)
    with pytest.raises(NotFound):
        recipe.load(tmp_path / "none")


def test_a_file_in_two_payloads_is_refused(tmp_path: Path) -> None:
    source = layout(tmp_path / "a", toml=TOML)
    (source / "payloads" / "two" / "opt" / "trx" / "bin").mkdir(parents=True)
    (source / "payloads" / "two" / "opt" / "trx" / "bin" / "trx").touch()
    with pytest.raises(InvalidInput, match="is in two payloads"):
        vib.build(recipe.load(source), tmp_path)
    both = [Stored.of(samples.tree(), "one"), Stored.of(samples.tree(), "two")]
    path = samples.written(tmp_path, samples.package(samples.descriptor(both, FILES), both))
    with pytest.raises(ProtocolError, match="is in another payload too"):
        outcomes(path)


def test_differences_are_shown(tmp_path: Path) -> None:
    one = samples.written(tmp_path, samples.sample(), "one.vib")
    changed = [("opt/trx/bin/trx", b"new"), ("opt/more", b"")]
    two = samples.written(tmp_path, samples.sample(changed, level="partner"), "two.vib")
    with vib.opened(one) as left, vib.opened(two) as right:
        assert not list(vib.diff(left, left))
        found = {it.where: (it.left, it.right) for it in vib.diff(left, right)}
    assert found["descriptor acceptance_level"] == ("community", "partner")
    assert found["payload1:/opt/more"][0] == ""
    assert found["payload1:/etc/vmware/service/trx.xml"][1] == ""
    assert all("bytes sha-256" in side for side in found["payload1:/opt/trx/bin/trx"])


def test_what_is_no_file_is_told(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="there is no such file"), vib.opened(tmp_path / "none"):
        pass
    os.mkfifo(tmp_path / "fifo")
    with pytest.raises(ProtocolError, match="not a VIB"), vib.opened(tmp_path / "fifo"):
        pass
    with pytest.raises(InvalidInput, match="directory"), vib.opened(tmp_path):
        pass


def test_limits_hold_for_whole_packages(tmp_path: Path) -> None:
    path = samples.written(tmp_path, samples.sample())
    for limits in (
        Limits(descriptor_bytes=100),
        Limits(stored_bytes=10),
        Limits(unpacked_bytes=10),
        Limits(entries=1),
    ):
        with pytest.raises(ProtocolError), vib.opened(path, limits) as package:
            vib.verify(package, Policy())


def test_headers_of_every_kind_have_the_right_checksum() -> None:
    for offset in (None, 4096):
        block = tarheader.render(tarheader.Header(b"a", b"0", 1), data_offset=offset)
        assert tarfile.TarInfo.frombuf(block, "utf-8", "strict").name == "a"
