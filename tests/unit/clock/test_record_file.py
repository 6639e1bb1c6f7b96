"""The arbiter's record on disk: what comes back, and that nothing hostile in it does."""

import json
import random
from dataclasses import replace
from pathlib import Path

import pytest

from chronovisor.clock.arbiter import Owner, Phase, Record
from chronovisor.clock.arbiter.record_file import RIGHT_EVERY_S, RecordFile

RECORD = Record(Owner.NTP, Phase.FALLBACK, 90.0, 17, wanted_s=91.0, right_until_s=92.0)


def test_what_was_written_is_read(tmp_path: Path) -> None:
    RecordFile(tmp_path / "record").write(RECORD)
    assert RecordFile(tmp_path / "record").read(100.0) == RECORD


def test_nothing_is_written_that_says_nothing_new(tmp_path: Path) -> None:
    file = RecordFile(tmp_path / "record")
    file.write(RECORD)
    before = (tmp_path / "record").stat().st_ino
    file.write(replace(RECORD, right_until_s=92.0 + RIGHT_EVERY_S / 2))
    assert (tmp_path / "record").stat().st_ino == before
    file.write(replace(RECORD, owner=Owner.PTP))
    assert RecordFile(tmp_path / "record").read(100.0).owner is Owner.PTP


@pytest.mark.parametrize(
    "change",
    [
        {"owner": "me"},
        {"phase": 3},
        {"since_s": 1e9},
        {"right_until_s": "NaN"},
        {"wanted_s": -1},
        {"since_ns": None},
    ],
)
def test_a_record_that_cannot_be_is_none(tmp_path: Path, change: dict[str, object]) -> None:
    path = tmp_path / "record"
    RecordFile(path).write(RECORD)
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    assert RecordFile(path).read(100.0) == Record()


@pytest.mark.parametrize("seed", range(4))
def test_a_damaged_file_is_an_empty_record(tmp_path: Path, seed: int) -> None:
    dice = random.Random(seed)
    path = tmp_path / "record"
    RecordFile(path).write(RECORD)
    whole = path.read_bytes()
    for _ in range(300):
        content = bytearray(whole[: dice.randrange(len(whole) + 1)])
        for _ in range(dice.randrange(4)):
            if content:
                content[dice.randrange(len(content))] = dice.randrange(256)
        path.write_bytes(content)
        found = RecordFile(path).read(100.0)
        assert found.since_s <= 100.0
