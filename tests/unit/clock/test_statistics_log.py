"""`ptpd.stats`: ptpd's seventeen columns, whole lines, bounded, nothing that was not measured."""

import re
import time
from pathlib import Path

import pytest

from chronovisor.clock.kernel_clock import boottime_s
from chronovisor.clock.observe import Seen
from chronovisor.clock.ptp import ClockIdentity, PortIdentity, PortState
from chronovisor.clock.ptpd.statistics import COLUMNS, parse
from chronovisor.clock.reading import (
    Measurement,
    OwnClock,
    Parent,
    PortReading,
    Reading,
    TimeProperties,
)
from chronovisor.clock.settings import StatisticsLogSettings
from chronovisor.clock.statistics_log import HEADER, StatisticsLog, line

GM = ClockIdentity(bytes.fromhex("ea26ddfffe437e06"))
PORT = PortIdentity(GM, 2)
ON = StatisticsLogSettings(enabled=True, max_size_kib=16)


def following() -> Seen:
    seen = Seen(grandmaster=str(GM))
    port = PortReading(1, PortState.SLAVE)
    none = Measurement(str(GM), 0.0, 0)
    whole = Reading(
        OwnClock(None, 0), Parent(PORT, None), TimeProperties(), none, 756.0, None, (port,)
    )
    seen.take_reading(whole, boottime_s())
    return seen


def measured(seen: Seen, *offsets_ns: float) -> Seen:
    for offset_ns in offsets_ns:
        mark = time.monotonic_ns()
        assert seen.take_measurement(Measurement(str(GM), offset_ns, mark), boottime_s())
    return seen


def test_a_line_has_the_form_that_ptpd_writes() -> None:
    """The pattern is of a line that ptpd 2.3.1 wrote."""
    text = line(1795255211.5, PORT, [0.0, -690.0], [756.0, 758.0], [10.0, -12.5])
    assert text.count(",") == COLUMNS - 1
    form = (
        r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.500000, slv, ea26ddfffe437e06\(unknown\)/2,"
        r"  0\.000000758, -0\.000000690,  0\.000001448,  0\.000000068, -12\.500000000, S,"
        r" 0\.000000757, 1, -0\.000000345, 345, -1, 11,  0\.000000068,  0\.000001448\n"
    )
    assert re.fullmatch(form, text), text


def test_our_reader_of_ptpds_lines_reads_it() -> None:
    text = line(1795255211.5, PORT, [-690.0], [756.0], [0.0])
    read = parse(re.sub(r"^[^,]*", "1795255211.500000000", text.rstrip()).encode())
    assert read is not None
    assert (read.parent, read.offset_ns, read.path_delay_ns) == (PORT, -690.0, 756.0)


def test_only_new_offsets_are_written(tmp_path: Path) -> None:
    log = StatisticsLog(tmp_path / "ptpd.stats")
    seen = measured(following(), 1.0)
    log.take(ON, seen)
    assert not log.path.exists(), "a visord before may have written the first"
    log.take(ON, measured(seen, 2.0, 3.0))
    log.take(ON, seen)
    lines = log.path.read_text().splitlines(keepends=True)
    assert lines[0] == HEADER
    assert [one.split(",")[4].strip() for one in lines[1:]] == ["0.000000002", "0.000000003"]
    seen.outdated = True
    log.take(ON, measured(seen, 4.0))
    seen.lose("it is silent")
    log.take(ON, seen)
    log.take(ON, None)
    log.take(StatisticsLogSettings(), measured(following(), 5.0))
    assert log.path.read_text().splitlines(keepends=True) == lines


def test_what_a_crash_cut_off_is_taken_away(tmp_path: Path) -> None:
    log = StatisticsLog(tmp_path / "ptpd.stats")
    log.path.write_text(f"{HEADER}whole, line\n2026-11-21 09:56:10.012260, sl")
    seen = measured(following(), 1.0)
    log.take(ON, seen)
    log.take(ON, measured(seen, 2.0))
    lines = log.path.read_text().splitlines(keepends=True)
    assert lines[:2] == [HEADER, "whole, line\n"]
    assert [one.count(",") for one in lines[2:]] == [COLUMNS - 1]


def test_the_file_is_bounded(tmp_path: Path) -> None:
    log = StatisticsLog(tmp_path / "ptpd.stats")
    seen = measured(following(), 0.5)
    log.take(ON, seen)
    for number in range(300):
        log.take(ON, measured(seen, float(number + 1)))
    before = tmp_path / "ptpd.stats.1"
    for path in (log.path, before):
        assert path.stat().st_size <= ON.max_size_kib * 1024
        assert path.read_text().startswith(HEADER)
        assert path.read_text().endswith("\n")
    last = before.read_text().splitlines()[-1], log.path.read_text().splitlines()[1]
    one, other = (float(text.split(",")[4]) for text in last)
    assert other - one == pytest.approx(1e-9), "nothing is lost between the two"


def test_a_file_that_cannot_be_written_is_a_problem_and_heals(tmp_path: Path) -> None:
    log = StatisticsLog(tmp_path / "ptpd.stats")
    log.path.mkdir()
    seen = measured(following(), 1.0)
    log.take(ON, seen)
    log.take(ON, measured(seen, 2.0))
    assert "ptpd.stats cannot be written" in log.problem
    log.path.rmdir()
    log.take(ON, measured(seen, 3.0))
    assert log.problem == ""
    assert log.path.read_text().startswith(HEADER)
