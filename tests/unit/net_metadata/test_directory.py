"""The proxy's directory: what is written is observed, whoever wrote it."""

from pathlib import Path

import pytest

from chronovisor.net.metadata.directory import MetadataDirectory
from chronovisor.net.metadata.plan import RemoveFile, WriteFile

NAME = "ports/vm1.json"


@pytest.fixture
def directory(tmp_path: Path) -> MetadataDirectory:
    return MetadataDirectory(tmp_path / "metadata", gid=None)


def test_files_are_written_observed_and_removed(directory: MetadataDirectory) -> None:
    files = {"service.json": "{}", NAME: "one"}
    directory.apply_files([WriteFile(name, text, "") for name, text in files.items()])
    assert directory.observe([]).files == files
    directory.apply_files([WriteFile(NAME, "two", "")])
    assert directory.observe([]).files == files | {NAME: "two"}
    directory.apply_files([RemoveFile(NAME, "")])
    assert directory.observe([]).files == {"service.json": "{}"}


def test_what_others_do_to_a_file_is_observed(directory: MetadataDirectory) -> None:
    directory.apply_files([WriteFile(NAME, "ours", "")])
    assert directory.observe([]).files == {NAME: "ours"}
    path = directory.path / NAME
    path.write_text("theirs, longer", encoding="utf-8")
    assert directory.observe([]).files == {NAME: "theirs, longer"}
    path.write_bytes(b"\xff")
    assert directory.observe([]).files == {NAME: ""}


def test_a_file_that_is_the_same_is_not_read_again(
    directory: MetadataDirectory, monkeypatch: pytest.MonkeyPatch
) -> None:
    directory.apply_files([WriteFile(NAME, "ours", "")])
    before = directory.observe([])
    monkeypatch.setattr(Path, "read_text", lambda *_, **__: pytest.fail("it was read again"))
    assert directory.observe([]) == before
