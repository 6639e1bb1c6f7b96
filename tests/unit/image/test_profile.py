"""The image profile: what goes in, what is refused, and what is remembered for ever."""

import json
from pathlib import Path

import pytest

import vib_samples as samples
from chronovisor.errors import (
    ChronovisorError,
    Conflict,
    Denied,
    InvalidInput,
    NotFound,
    Unavailable,
)
from chronovisor.image import durable, install, plan, profile
from chronovisor.image.install import Act
from chronovisor.image.profile import Installed
from chronovisor.image.vib import Policy, opened, sign
from chronovisor.image.vib.acceptance import AcceptanceLevel
from chronovisor.image.vib.signature import SigningKey
from chronovisor.image.vib.trust import Trust
from vib_samples import NOW, identity

ROOT = identity("root", authority=True)
SIGNER = identity("signer", ROOT)
TRUSTED = Trust({AcceptanceLevel.PARTNER: (ROOT.certificate,)})


def act(*, force: bool = False, unsigned: bool = False) -> Act:
    return Act("ann", "2026-06-01T00:00:00+00:00", Policy(TRUSTED, unsigned, force, NOW))


def partner(directory: Path, name: str = "trx-conf", files: samples.Files = samples.TREE) -> Path:
    path = samples.written(directory, samples.sample(files, level="partner", name=name), name)
    with opened(path) as package:
        sign(package, SigningKey(SIGNER.key, SIGNER.certificate), path)
    return path


def community(directory: Path) -> Path:
    return samples.written(directory, samples.sample([("etc/x", b"")], name="c"), "c.vib")


def test_a_trusted_package_is_taken_in_and_out(tmp_path: Path) -> None:
    image = tmp_path / "image"
    done = install.install(image, [partner(tmp_path)], act())
    assert [vib.id for vib in done.installed] == ["example_bootbank_trx-conf_1.0-1"]
    (vib,) = profile.load(image).vibs
    assert vib.signed_by is not None
    assert vib.signed_by.subject == "CN=signer"
    assert (image / "vibs" / vib.file_name).read_bytes() == partner(tmp_path).read_bytes()
    again = install.install(image, [partner(tmp_path)], act())
    assert [it.id for it in again.skipped] == [vib.id]
    assert profile.load(image).generation == 1, "nothing changed"
    install.remove(image, ["trx-conf"], act())
    assert profile.load(image).vibs == ()
    assert not list((image / "vibs").iterdir())


def test_what_is_refused_leaves_nothing(tmp_path: Path) -> None:
    image = tmp_path / "image"
    with pytest.raises(Denied, match="is not allowed at level community"):
        install.install(image, [partner(tmp_path), community(tmp_path)], act())
    assert profile.load(image).vibs == ()
    assert not list((image / "vibs").iterdir())


def test_the_host_s_level_counts(tmp_path: Path) -> None:
    image = tmp_path / "image"
    good = samples.written(tmp_path, samples.sample(), "good.vib")
    words = (
        "VIB example_bootbank_trx-conf_1.0-1's acceptance level is community, which is not "
        "compliant with the ImageProfile acceptance level partner"
    )
    with pytest.raises(Denied) as caught:
        install.install(image, [good], act())
    assert caught.value.message == words
    install.set_level(image, AcceptanceLevel.COMMUNITY)
    install.install(image, [good], act())
    with pytest.raises(Conflict, match="below level partner: example_bootbank_trx-conf"):
        install.set_level(image, AcceptanceLevel.PARTNER)


def test_overrides_are_remembered_for_ever(tmp_path: Path) -> None:
    image = tmp_path / "image"
    install.install(image, [community(tmp_path)], act(force=True))
    unsigned = samples.written(tmp_path, samples.sample(level="partner", name="u"), "u.vib")
    install.install(image, [unsigned], act(unsigned=True))
    install.remove(image, ["c", "u"], act())
    install.install(image, [partner(tmp_path)], act())
    forced, bypassed = profile.load(image).overrides
    assert (forced.user, forced.options, forced.vib) == (
        "ann",
        ("--force",),
        "example_bootbank_c_1.0-1",
    )
    assert "VIB c: etc/x is not allowed at level community" in forced.reasons[0]
    assert "is not compliant with the ImageProfile" in forced.reasons[1]
    assert bypassed.options == ("--no-sig-check",)
    assert bypassed.reasons == ("unsigned, which level partner may not be",)
    assert profile.load(image).vibs[0].overridden == ()


def test_a_dry_run_changes_nothing(tmp_path: Path) -> None:
    image = tmp_path / "image"
    done = install.install(image, [community(tmp_path)], act(force=True), dry_run=True)
    assert done.installed
    assert profile.load(image) == profile.Profile()
    assert not list((image / "vibs").iterdir())


class Killed(BaseException):
    """Stands for kill -9: nothing that follows is run, but what Python itself unwinds."""


@pytest.mark.parametrize("step", ["sync_directory", "save"])
def test_a_kill_leaves_the_old_profile(
    tmp_path: Path, step: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    image = tmp_path / "image"
    install.install(image, [partner(tmp_path, "old")], act())
    before = profile.load(image)

    def kill(*_: object) -> None:
        raise Killed

    files = [("opt/new", b"")]
    path = partner(tmp_path, "new", files)
    with monkeypatch.context() as patch:
        patch.setattr(durable if step == "sync_directory" else profile, step, kill)
        with pytest.raises(Killed):
            install.install(image, [path], act())
    assert profile.load(image) == before
    install.install(image, [path], act())
    found = profile.load(image).vibs
    assert [vib.name for vib in found] == ["new", "old"]
    assert {it.name for it in (image / "vibs").iterdir()} == {vib.file_name for vib in found}


def test_what_a_killed_command_left_is_cleared_away(tmp_path: Path) -> None:
    image = tmp_path / "image"
    (image / "vibs").mkdir(parents=True)
    for name in (".0123.incoming", "f" * 64 + ".vib"):
        (image / "vibs" / name).touch()
    install.install(image, [partner(tmp_path)], act())
    (vib,) = profile.load(image).vibs
    assert [path.name for path in (image / "vibs").iterdir()] == [vib.file_name]


def test_only_one_command_changes_a_profile(tmp_path: Path) -> None:
    with (
        profile.locked(tmp_path),
        pytest.raises(Unavailable, match="by another command"),
        profile.locked(tmp_path),
    ):
        pass


@pytest.mark.parametrize(
    "text", ["", "{", "[]", '{"vibs": 1}', '{"format": 99}', '{"vibs": [{}]}', "\xff"]
)
def test_a_broken_profile_is_told(tmp_path: Path, text: str) -> None:
    (tmp_path / "profile.json").write_text(text, "latin-1")
    with pytest.raises(InvalidInput):
        profile.load(tmp_path)


def test_the_profile_is_plain_json(tmp_path: Path) -> None:
    install.install(tmp_path / "image", [community(tmp_path)], act(force=True))
    data = json.loads((tmp_path / "image" / "profile.json").read_text())
    assert data["format"] == 1
    assert data["overrides"][0]["options"] == ["--force"]


def vib(name: str, version: str = "1", **relations: tuple[str, ...]) -> Installed:
    return Installed(
        f"v_bootbank_{name}_{version}",
        name,
        version,
        "v",
        "bootbank",
        "",
        AcceptanceLevel.PARTNER,
        "2026-01-01",
        f"{name}{version}",
        1,
        **relations,  # type: ignore[arg-type]  # only relations are given
    )


A1, A2, B = vib("a"), vib("a", "2"), vib("b")


@pytest.mark.parametrize(
    ("present", "incoming", "removed", "problems"),
    [
        ([], [A1], [], []),
        ([A1], [A2], [A1], []),
        ([A2], [A1], [A2], []),
        ([A1, B], [vib("c", replaces=("b",))], [B], []),
        ([A1], [vib("c", replaces=("a >> 1",))], [], []),
        ([], [vib("c", depends=("a",))], [], ["depends on a, which nothing provides"]),
        ([A1], [vib("c", depends=("a >= 2",))], [], ["depends on a >= 2"]),
        ([A1], [vib("c", depends=("a >= 2",)), A2], [A1], []),
        ([vib("p", provides=("x = 3",))], [vib("c", depends=("x >= 2",))], [], []),
        ([A1], [vib("c", conflicts=("a",))], [], ["conflicts with v_bootbank_a_1"]),
        ([vib("c", conflicts=("a << 2",))], [A2], [], []),
        ([], [vib("c", conflicts=("c",))], [], []),
    ],
)
def test_plans(
    present: list[Installed],
    incoming: list[Installed],
    removed: list[Installed],
    problems: list[str],
) -> None:
    found = plan.install(present, incoming)
    assert list(found.removed) == removed
    assert len(found.problems) == len(problems)
    for problem, words in zip(found.problems, problems, strict=True):
        assert words in str(problem)


def test_removing_tells_what_would_break() -> None:
    needing = vib("c", depends=("a",))
    assert not plan.remove([A1, B], ["b"]).problems
    assert "which nothing provides" in str(plan.remove([A1, needing], ["a"]).problems[0])
    assert not plan.remove([A1, needing], ["a", "c"]).problems


def test_removing_what_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="nope: no such package is installed"):
        install.remove(tmp_path, ["nope"], act())


def test_broken_relations_are_refused_and_can_be_forced(tmp_path: Path) -> None:
    payloads = [samples.Stored.of(samples.tree())]
    wanted = '<depends><constraint name="esx-base" relation="&gt;=" version="9"/></depends>'
    files = [name for name, _ in samples.TREE]
    text = samples.descriptor(payloads, files, relations=wanted)
    path = samples.written(tmp_path, samples.package(text, payloads))
    install.set_level(tmp_path / "image", AcceptanceLevel.COMMUNITY)
    with pytest.raises(Conflict, match="depends on esx-base >= 9, which nothing provides"):
        install.install(tmp_path / "image", [path], act())
    done = install.install(tmp_path / "image", [path], act(force=True))
    assert done.problems
    assert "esx-base >= 9" in profile.load(tmp_path / "image").overrides[0].reasons[-1]


def test_two_of_one_name_are_refused(tmp_path: Path) -> None:
    one, two = partner(tmp_path), tmp_path / "two"
    two.write_bytes(samples.sample(level="partner"))
    with pytest.raises(ChronovisorError, match="two of the packages are called trx-conf"):
        install.install(tmp_path / "image", [one, two], act(unsigned=True))
