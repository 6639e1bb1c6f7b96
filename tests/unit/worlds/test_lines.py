"""Bytes to lines, lines to watchers, floods to pauses."""

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chronovisor.worlds.lines import LONGEST_LINE, Allowance, LineSplitter, LogLine, LogWatch


def split(chunks: list[bytes]) -> list[str]:
    splitter = LineSplitter()
    return [line for chunk in chunks for line in splitter.feed(chunk)] + splitter.finish()


@pytest.mark.parametrize(
    ("chunks", "lines"),
    [
        ([b""], []),
        ([b"a\nb\n"], ["a", "b"]),
        ([b"a", b"b\nc"], ["ab", "c"]),
        ([b"\n\n"], ["", ""]),
        ([b"dos\r\n"], ["dos"]),
        ([b"\xff\xfe\n"], ["��"]),
        ([b"\xc3", b"\xa4\n"], ["ä"]),  # a character cut by a read
        ([b"red \x1b[31m\x00\n"], ["red �[31m�"]),
        ([b"a\x85b\xe2\x80\xa8c\n"], ["a�b�c"]),  # what str.splitlines would split
    ],
)
def test_lines(chunks: list[bytes], lines: list[str]) -> None:
    assert split(chunks) == lines


@given(st.lists(st.binary(max_size=50), max_size=20))
def test_how_it_was_cut_makes_no_difference(chunks: list[bytes]) -> None:
    assert split(chunks) == split([b"".join(chunks)])


@given(st.binary(max_size=200))
def test_every_line_stays_one_line(data: bytes) -> None:
    assert all(len(line.splitlines()) <= 1 for line in split([data]))


def test_a_line_without_end_does_not_grow_for_ever() -> None:
    splitter = LineSplitter()
    lines = [line for _ in range(100) for line in splitter.feed(b"x" * 1000)]
    assert {len(line) for line in lines} == {LONGEST_LINE}
    assert sum(map(len, lines)) + sum(map(len, splitter.finish())) == 100_000


@given(st.integers(0, 2**61), st.text().filter(str.isprintable))
def test_log_lines_are_read_back(at_ns: int, text: str) -> None:
    line = LogLine(at_ns // 1000 * 1000, text)
    assert LogLine.parse(str(line)) == line


def test_a_torn_log_line_is_text_of_unknown_time() -> None:
    assert LogLine.parse("20-01T half a line") == LogLine(0, "20-01T half a line")


async def test_a_slow_watcher_loses_the_oldest_and_knows_how_many() -> None:
    watch = LogWatch(3, lambda _: None)
    watch.put([LogLine(n, str(n)) for n in range(10)])
    watch.put([LogLine(10, "10")])
    watch.close()
    assert [(line.text, line.lost) async for line in watch] == [("8", 8), ("9", 0), ("10", 0)]


async def test_a_waiting_watcher_wakes_up() -> None:
    with LogWatch(3, lambda _: None) as watch:
        asyncio.get_running_loop().call_soon(watch.put, [LogLine(1, "hello")])
        assert (await anext(watch)).text == "hello"
        asyncio.get_running_loop().call_soon(watch.close)
        with pytest.raises(StopAsyncIteration):
            await anext(watch)


@given(st.lists(st.integers(0, 65536), min_size=1, max_size=300))
def test_allowance_bounds_what_is_read(counts: list[int]) -> None:
    rate, burst = 1 << 20, 4 << 20
    allowance = Allowance(rate, burst)
    now_s = 1000.0
    for count in counts:
        now_s += allowance.take(now_s, count)
    assert sum(counts) <= burst + 65536 + rate * (now_s - 1000.0)


def test_a_quiet_world_never_waits() -> None:
    allowance = Allowance(1 << 20, 4 << 20)
    assert all(allowance.take(1000 + n / 16, 100) == 0 for n in range(1000))
