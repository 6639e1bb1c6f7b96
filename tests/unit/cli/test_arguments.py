import io
from pathlib import Path

import pytest

from chronovisor.cli.arguments import fields, read_document, read_text, seconds
from chronovisor.errors import InvalidInput, Unavailable


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (None, None),
        ("60s", 60.0),
        ("5m", 300.0),
        ("1.5h", 5400.0),
        ("30", 30.0),
        ("200ms", 0.2),
        ("0s", 0.0),
    ],
)
def test_times(text: str | None, expected: float | None) -> None:
    assert seconds(text) == pytest.approx(expected)


@pytest.mark.parametrize("text", ["", "s", "-5s", "5 s", "5d", "1e3", "inf", "nan", "1.s", "5S"])
def test_what_is_no_time(text: str) -> None:
    with pytest.raises(InvalidInput, match="is not a time"):
        seconds(text)


def test_fields_are_json_or_else_text() -> None:
    words = ["a=1", "b=true", "c.d=eth0", 'e="7"', "f=", "g=[1, 2]", "h=x=y", "i=null", "j=1.5.2"]
    assert fields(words) == {
        "a": 1,
        "b": True,
        "c.d": "eth0",
        "e": "7",
        "f": "",
        "g": [1, 2],
        "h": "x=y",
        "i": None,
        "j": "1.5.2",
    }
    assert fields([]) == {}


def test_every_word_that_is_no_field_is_named() -> None:
    with pytest.raises(InvalidInput) as caught:
        fields(["a", "b=1", "=2", ""])
    assert [problem.value for problem in caught.value.problems] == ["a", "=2", ""]


def test_documents(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "file"
    file.write_text('{"a": [1]}')
    assert read_document(file) == {"a": [1]}
    file.write_text("a:\n- 1\n")
    assert read_document(file) == {"a": [1]}
    monkeypatch.setattr("sys.stdin", io.StringIO("b: 2"))
    assert read_document(Path("-")) == {"b": 2}


@pytest.mark.parametrize(
    "content", [b"a: [", b"\xff\xfe\x00", b"!!python/object/apply:os.getpid []", b"a: *x"]
)
def test_what_is_no_document(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "file"
    file.write_bytes(content)
    with pytest.raises(InvalidInput, match=str(file)):
        read_document(file)


def test_a_file_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(Unavailable, match=r"cannot read .*: No such file"):
        read_text(tmp_path / "none")
    with pytest.raises(Unavailable, match=r"cannot read .*: Is a directory"):
        read_text(tmp_path)
