import math
from pathlib import Path

import pytest

from chronovisor.clock.memory import MemoryFile
from chronovisor.clock.reading import TimeProperties
from chronovisor.clock.state import ClockState, Memory, Verdict
from chronovisor.errors import Unavailable

NOW_S = 5000.0
LOST = Verdict(ClockState.HOLDOVER, "")
GOOD = Verdict(ClockState.TRACKING, "")


def test_a_synchronized_clock_counts_as_such_until_now(tmp_path: Path) -> None:
    file = MemoryFile(tmp_path / "memory.json")
    file.write(Memory("gm", 4000.0), GOOD)
    assert file.read(NOW_S) == Memory("gm", NOW_S)


def test_what_the_master_said_of_its_time_is_kept(tmp_path: Path) -> None:
    file = MemoryFile(tmp_path / "memory.json")
    arb = TimeProperties(utc_offset_s=37, utc_offset_valid=False, ptp_timescale=False)
    file.write(Memory("gm", 4000.0, arb), LOST)
    assert file.read(NOW_S) == Memory("gm", 4000.0, arb)


def test_holdover_goes_on_from_where_it_began(tmp_path: Path) -> None:
    file = MemoryFile(tmp_path / "memory.json")
    file.write(Memory("gm", 4000.0), LOST)
    assert file.read(NOW_S) == Memory("gm", 4000.0)


def test_a_memory_of_another_boot_counts_for_nothing(tmp_path: Path) -> None:
    file = MemoryFile(tmp_path / "memory.json")
    file.write(Memory("gm", NOW_S + 1), LOST)
    assert file.read(NOW_S) == Memory()


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"[]",
        b"7",
        b"null",
        b"\xff\xfe",
        b"{}",
        b'{"grandmaster": "gm"}',
        b'{"grandmaster": "gm", "until_s": "yesterday"}',
        b'{"grandmaster": "gm", "until_s": NaN}',
        b'{"grandmaster": "gm", "until_s": Infinity}',
        b'{"grandmaster": "gm", "until_s": [1]}',
        b'{"grandmaster": "gm", "until_s": 1, "master_time": 7}',
        b'{"grandmaster": "gm", "until_s": 1, "master_time": {"ptp_timescale": "maybe"}}',
    ],
)
def test_a_damaged_memory_counts_for_nothing(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "memory.json").write_bytes(content)
    assert MemoryFile(tmp_path / "memory.json").read(NOW_S) == Memory()


def test_a_missing_memory_counts_for_nothing(tmp_path: Path) -> None:
    assert MemoryFile(tmp_path / "memory.json").read(NOW_S) == Memory()


def test_nothing_known_is_nothing_kept(tmp_path: Path) -> None:
    file = MemoryFile(tmp_path / "memory.json")
    file.write(Memory("gm", 1.0), LOST)
    file.write(Memory(), LOST)
    assert file.read(math.inf) == Memory()


def test_a_memory_that_cannot_be_written_says_so(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(Unavailable, match=r"cannot write .*/file/memory\.json"):
        MemoryFile(tmp_path / "file" / "memory.json").write(Memory("gm", 1.0), LOST)


def test_a_memory_that_cannot_be_removed_says_so(tmp_path: Path) -> None:
    """The watch takes that as it takes a full disk, and goes on."""
    (tmp_path / "memory.json").mkdir()
    with pytest.raises(Unavailable, match="cannot remove "):
        MemoryFile(tmp_path / "memory.json").write(Memory(), LOST)
