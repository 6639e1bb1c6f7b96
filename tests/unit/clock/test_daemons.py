"""What is told of a daemon by its open files."""

from pathlib import Path

from chronovisor.clock.daemons import removed_clock


def test_a_clock_that_was_unplugged_shows_among_open_files(tmp_path: Path) -> None:
    assert removed_clock(tmp_path / "ended") is None
    for number, target in enumerate(("/dev/null", "/dev/ptp1", "/tmp/x (deleted)", "socket:[7]")):
        (tmp_path / str(number)).symlink_to(target)
    assert removed_clock(tmp_path) is None
    (tmp_path / "9").symlink_to("/dev/ptp0 (deleted)")
    assert removed_clock(tmp_path) == "/dev/ptp0"
