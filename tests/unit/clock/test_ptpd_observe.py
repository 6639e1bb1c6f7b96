"""What is noted of ptpd's files as they grow, are half-written, and stay as they are."""

import os
import time
from pathlib import Path

import pytest

from chronovisor.clock.kernel_clock import boottime_s
from chronovisor.clock.ptp import PortState
from chronovisor.clock.ptpd import observe
from chronovisor.clock.ptpd.observe import PtpdObserver
from chronovisor.clock.ptpd.paths import Paths
from chronovisor.errors import ToolFailed

GM = "ea26dd.fffe.437e06"
STATUS = """\
Host info          :  vm, PID 20871
Local time         :  {number}
Interface          :  vB
Delay mechanism    :  E2E
PTP domain         :  0
Port state         :  PTP_{state}
Local port ID      :  76a295fffe71c19d(unknown)/1
{master}Message rates      :  4/s sync, 1/s delay, 1/s announce
PTP Engine resets  :  1
"""
MASTER = """\
Best master ID     :  ea26ddfffe437e06(unknown)/1
Offset from Master :  0.000000100 s
Mean Path Delay    :  0.000002898 s
"""


class Ptpd:
    """Writes the files as ptpd does, and has them observed."""

    def __init__(self, directory: Path, grandmaster: str | None = None) -> None:
        self.paths = Paths(directory)
        self.news = 0
        self._written = 0
        self.observer = PtpdObserver(self.paths, grandmaster=grandmaster, changed=self._note)

    def _note(self) -> None:
        self.news += 1

    def status(self, state: str = "SLAVE", part: float = 1.0) -> None:
        self._written += 1
        master = MASTER if state == "SLAVE" else ""
        text = STATUS.format(number=self._written, state=state, master=master)
        self.paths.status.write_text(text[: int(len(text) * part)])
        # Two writes within one tick of the kernel's clock would have the same time
        os.utime(self.paths.status, ns=(0, time.time_ns() + self._written))

    def sync(self, offset_ns: int, age_s: float = 0.0, last: str = "S") -> None:
        numbers = f"0.000002898, {offset_ns / 1e9:.9f}, 0.0, 0.0, 0.0, {last}" + ", 0" * 8
        self.line(f"slv, ea26ddfffe437e06(unknown)/1, {numbers}", age_s)

    def line(self, text: str, age_s: float = 0.0) -> None:
        at_ns = time.time_ns() - int(age_s * 1e9)
        with self.paths.statistics.open("a") as file:
            file.write(f"{at_ns // 10**9}.{at_ns % 10**9:09}, {text}\n")

    def offsets(self) -> list[float]:
        return [sample.offset_ns for sample in self.observer.seen.samples]


async def test_a_ptpd_that_follows(tmp_path: Path) -> None:
    ptpd = Ptpd(tmp_path, grandmaster=GM)
    await ptpd.observer.read_once()
    assert (ptpd.news, ptpd.observer.seen.reading) == (0, None)
    assert ptpd.observer.seen.silence
    ptpd.status()
    ptpd.sync(100)
    await ptpd.observer.read_once()
    seen = ptpd.observer.seen
    assert (seen.silence, seen.master, ptpd.offsets()) == ("", GM, [100.0])
    assert seen.path_delay_ns == 2898.0
    assert seen.reading is not None
    assert seen.reading.ports[0].log_sync_interval == -2
    ptpd.sync(100, last="D")
    ptpd.sync(90)
    await ptpd.observer.read_once()
    await ptpd.observer.read_once()
    assert ptpd.offsets() == [100.0, 90.0]


async def test_the_first_offset_of_an_unknown_master_is_left_out(tmp_path: Path) -> None:
    ptpd = Ptpd(tmp_path)
    ptpd.status()
    ptpd.sync(1)
    ptpd.sync(2)
    await ptpd.observer.read_once()
    assert ptpd.offsets()[-1] == 2.0


async def test_a_state_is_known_before_the_next_status(tmp_path: Path) -> None:
    ptpd = Ptpd(tmp_path, grandmaster=GM)
    ptpd.status()
    await ptpd.observer.read_once()
    ptpd.line("lstn_reset,  2 ")
    await ptpd.observer.read_once()
    assert ptpd.observer.seen.port_states == {1: PortState.LISTENING}
    assert (ptpd.observer.seen.master, ptpd.observer.seen.transitions[1]) == (None, 1)


async def test_a_half_written_status_changes_nothing(tmp_path: Path) -> None:
    ptpd = Ptpd(tmp_path, grandmaster=GM)
    ptpd.status()
    await ptpd.observer.read_once()
    before = ptpd.observer.seen.reading
    for part in (0.0, 0.3, 0.99):
        ptpd.status("LISTENING", part=part)
        await ptpd.observer.read_once()
        assert ptpd.observer.seen.reading is before
    ptpd.status("LISTENING")
    await ptpd.observer.read_once()
    assert ptpd.observer.seen.master is None


async def test_a_status_that_stays_as_it_is_is_silence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ptpd = Ptpd(tmp_path, grandmaster=GM)
    ptpd.status()
    await ptpd.observer.read_once()
    now_s = boottime_s()
    monkeypatch.setattr(observe, "boottime_s", lambda: now_s + observe.SILENCE_S - 0.5)
    await ptpd.observer.read_once()
    assert ptpd.observer.seen.reading is not None
    monkeypatch.setattr(observe, "boottime_s", lambda: now_s + observe.SILENCE_S + 0.5)
    await ptpd.observer.read_once()
    assert "has not written its status" in ptpd.observer.seen.silence
    ptpd.status()
    await ptpd.observer.read_once()
    assert ptpd.observer.seen.silence == ""


async def test_a_broken_status_is_named_once_it_lasts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ptpd = Ptpd(tmp_path, grandmaster=GM)
    ptpd.status()
    await ptpd.observer.read_once()
    ptpd.status("DANCING")
    await ptpd.observer.read_once()
    assert ptpd.observer.seen.silence == ""
    now_s = boottime_s()
    monkeypatch.setattr(observe, "boottime_s", lambda: now_s + observe.SILENCE_S + 0.5)
    ptpd.status("DANCING")
    await ptpd.observer.read_once()
    assert "DANCING" in ptpd.observer.seen.silence


async def test_what_an_earlier_ptpd_left_is_no_news(tmp_path: Path) -> None:
    ptpd = Ptpd(tmp_path, grandmaster=GM)
    ptpd.status()
    os.utime(ptpd.paths.status, (0, time.time() - 60))
    ptpd.sync(5, age_s=60)
    await ptpd.observer.read_once()
    assert (ptpd.observer.seen.reading, ptpd.offsets(), ptpd.news) == (None, [], 0)
    ptpd.sync(6, age_s=0.5)
    ptpd.status()
    await ptpd.observer.read_once()
    assert ptpd.offsets() == [6.0]


async def test_a_ptpd_that_was_just_started_has_said_nothing(tmp_path: Path) -> None:
    ptpd = Ptpd(tmp_path, grandmaster=GM)
    ptpd.status()
    ptpd.sync(5)
    await ptpd.observer.read_once()
    ptpd.observer.hurry()
    await ptpd.observer.read_once()
    assert ptpd.observer.seen.silence == "ptpd has just been started"
    assert ptpd.offsets() == []


async def test_lines_that_are_broken_are_passed_over(tmp_path: Path) -> None:
    ptpd = Ptpd(tmp_path, grandmaster=GM)
    ptpd.status()
    ptpd.line("slv, nobody, nan")
    with ptpd.paths.statistics.open("ab") as file:
        file.write(b"\xff\xfe\x00 garbage\n")
    ptpd.sync(7)
    await ptpd.observer.read_once()
    assert ptpd.offsets() == [7.0]


async def test_nothing_can_be_set_live(tmp_path: Path) -> None:
    observer = Ptpd(tmp_path).observer
    assert observer.live == {}
    with pytest.raises(ToolFailed):
        await observer.set_live("priority1", 1)
