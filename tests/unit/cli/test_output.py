import csv
import io
import json
from typing import Any

import pytest
import yaml

from chronovisor.cli.output import Format, emit, flatten, pairs, table

DATA = {
    "name": "ptp4l",
    "up": True,
    "none": None,
    "offset": -1.5,
    "ports": [{"device": "eth0", "tags": []}, {"device": "eth,1", "tags": ["a", "b"]}],
    "text": 'say "hi", µs',
}


def printed(capsys: pytest.CaptureFixture[str], data: Any, output: Format) -> str:
    emit(data, output, lambda now: f"for people: {now['name']}")
    return capsys.readouterr().out


def test_json_and_yaml_hold_all_of_it(capsys: pytest.CaptureFixture[str]) -> None:
    assert json.loads(printed(capsys, DATA, Format.JSON)) == DATA
    text = printed(capsys, DATA, Format.YAML)
    assert yaml.safe_load(text) == DATA
    assert text.startswith("name: ptp4l\n"), "in the order given"


def test_csv_has_a_row_for_each_and_a_column_for_every_leaf(
    capsys: pytest.CaptureFixture[str],
) -> None:
    text = printed(capsys, [DATA, {"name": "x", "extra": 1}], Format.CSV)
    rows = list(csv.DictReader(io.StringIO(text)))
    assert [row["name"] for row in rows] == ["ptp4l", "x"]
    assert rows[0]["ports[1].device"] == "eth,1"
    assert rows[0]["text"] == DATA["text"]
    assert (rows[0]["up"], rows[0]["none"], rows[0]["extra"]) == ("true", "", "")


def test_keyvalue_has_a_line_for_every_leaf(capsys: pytest.CaptureFixture[str]) -> None:
    lines = printed(capsys, DATA, Format.KEYVALUE).splitlines()
    assert "up=true" in lines
    assert "none=" in lines
    assert "offset=-1.5" in lines
    assert "ports[1].tags[0]=a" in lines


def test_text_is_for_people(capsys: pytest.CaptureFixture[str]) -> None:
    assert printed(capsys, DATA, Format.TEXT) == "for people: ptp4l\n"
    emit("as it is\n", Format.TEXT)
    assert capsys.readouterr().out == "as it is\n"
    emit("", Format.TEXT)
    assert capsys.readouterr().out == ""
    emit({"a": {"b": 1}}, Format.TEXT)
    assert capsys.readouterr().out == "a.b: 1\n"


@pytest.mark.parametrize("output", Format)
@pytest.mark.parametrize("data", [[], {}, None, 5, "x", [1, "two"], [[1], {}]])
def test_every_format_shows_anything(
    capsys: pytest.CaptureFixture[str], data: object, output: Format
) -> None:
    emit(data, output)
    text = capsys.readouterr().out
    assert text == "" or text.endswith("\n")


def test_leaves_are_found_by_their_path() -> None:
    found = dict(flatten(DATA))
    assert found["ports[0].tags"] == []
    assert found["ports[1].tags[1]"] == "b"


def test_a_table_is_as_wide_as_what_is_in_it() -> None:
    text = table([("a", None, True), ("bcd", 1.5, "x")], ["N", "Value", "Z"])
    assert text == ("N    Value  Z\n---  -----  ----\na           true\nbcd  1.5    x")
    assert table([], ["Name"]) == "Name\n----"


def test_pairs_are_indented_as_esxcli_does() -> None:
    assert pairs([("Enabled", True), ("Device", None)]) == "   Enabled: true\n   Device:"
