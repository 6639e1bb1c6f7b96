"""Messages of the kernel: devices by rtnetlink, changed files by inotify."""

import struct
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from chronovisor.net.metadata.links import Link, parse
from chronovisor.net.metadata.watch import Watch


def message(kind: int, index: int, name: str, family: int = 0) -> bytes:
    text = name.encode() + b"\0"
    attribute = struct.pack("=HH", 4 + len(text), 3) + text + b"\0" * (-len(text) % 4)
    body = struct.pack("=BxHiII", family, 1, index, 0, 0) + struct.pack("=HHI", 8, 4, 1500)
    return struct.pack("=IHHII", 16 + len(body) + len(attribute), kind, 0, 0, 0) + body + attribute


def test_devices_that_come_and_go() -> None:
    data = message(16, 7, "tap7") + message(17, 8, "tap8") + message(16, 9, "tap9", family=7)
    assert [*parse(data)] == [Link(7, "tap7"), Link(8, None)]


@given(st.binary(max_size=200))
def test_any_bytes_are_parsed(data: bytes) -> None:
    for cut in (data, message(16, 7, "tap7") + data):
        assert all(isinstance(one, Link) for one in parse(cut))


def test_files_that_change(tmp_path: Path) -> None:
    watch = Watch(tmp_path)
    try:
        assert watch.read() == set()
        (tmp_path / ".a.new").write_text("x")
        assert watch.read() == set()
        (tmp_path / ".a.new").replace(tmp_path / "a")
        (tmp_path / "b").write_text("x")
        assert watch.read() == {tmp_path / "a", tmp_path / "b"}
        (tmp_path / "a").unlink()
        assert watch.read() == {tmp_path / "a"}
    finally:
        watch.close()
