"""The bounded log on disk."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chronovisor.worlds.lines import LogLine
from chronovisor.worlds.output import LogFile
from chronovisor.worlds.spec import LogLimits


def lines(first: int, count: int) -> list[LogLine]:
    return [LogLine(0, f"line {n:06d}") for n in range(first, first + count)]


@given(st.lists(st.integers(1, 400), max_size=12), st.integers(1, 4))
def test_never_larger_than_allowed_and_nothing_missing_at_the_end(
    tmp_path_factory: pytest.TempPathFactory, batches: list[int], files: int
) -> None:
    directory = tmp_path_factory.mktemp("log")
    log = LogFile(directory / "log", LogLimits(4096, files))
    written = 0
    for count in batches:
        log.append(lines(written, count))
        written += count
    log.close()
    found = list(directory.iterdir())
    assert len(found) <= files
    assert all(path.stat().st_size <= 4096 for path in found)
    tail = log.tail(1_000_000)
    assert tail == lines(written - len(tail), len(tail))
    per_file = 4096 // len(f"{lines(0, 1)[0]}\n")
    assert len(tail) >= min(written, (files - 1) * per_file + 1)


def test_goes_on_where_an_earlier_visord_ended(tmp_path: Path) -> None:
    for first in (0, 100, 200, 300):
        log = LogFile(tmp_path / "log", LogLimits(4096, 2))
        log.append(lines(first, 100))
        log.close()
    assert (tmp_path / "log").stat().st_size <= 4096
    assert log.tail(5) == lines(395, 5)
    assert log.tail(0) == []


def test_a_missing_number_is_no_end(tmp_path: Path) -> None:
    (tmp_path / "log.2").write_text(f"{lines(0, 1)[0]}\n")
    log = LogFile(tmp_path / "log", LogLimits(4096, 3))
    assert log.tail(5) == lines(0, 1)
