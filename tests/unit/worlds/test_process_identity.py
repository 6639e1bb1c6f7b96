"""Identity of processes and what is said of their end."""

import os
import signal

import pytest

from chronovisor.worlds.launcher import boot_id, start_ticks, stat_fields
from chronovisor.worlds.process import ExitStatus, Identity


@pytest.mark.parametrize(
    ("status", "text"),
    [
        (0 << 8, "exited with status 0"),
        (3 << 8, "exited with status 3"),
        (9, "killed by SIGKILL"),
        (11 | 0x80, "killed by SIGSEGV (core dumped)"),
        (40, "killed by signal 40"),
    ],
)
def test_wait_statuses(status: int, text: str) -> None:
    assert str(ExitStatus.from_wait_status(status)) == text


def test_unknown_status_is_no_success() -> None:
    assert not ExitStatus().clean
    assert "unknown" in str(ExitStatus())
    assert not ExitStatus(signal_number=signal.SIGTERM).clean
    assert ExitStatus(code=0).clean


def test_a_process_is_only_itself() -> None:
    ticks = start_ticks(os.getpid())
    assert ticks is not None
    assert Identity(os.getpid(), ticks, boot_id()).is_alive()
    assert not Identity(os.getpid(), ticks - 1, boot_id()).is_alive()
    assert not Identity(os.getpid(), ticks, "another boot").is_alive()
    assert 0 <= Identity(os.getpid(), ticks, boot_id()).age_s() < 3600 * 24


def test_names_with_parentheses_do_not_confuse() -> None:
    pid = os.fork()
    if pid == 0:
        with open("/proc/self/comm", "w") as file:  # noqa: PTH123  # nothing between fork and this
            file.write(") Z 1 (")
        os.kill(os.getpid(), signal.SIGSTOP)
        os._exit(0)
    try:
        os.waitpid(pid, os.WUNTRACED)
        fields = stat_fields(pid)
        assert fields is not None
        assert (fields[0], fields[1]) == ("T", str(os.getpid()))
    finally:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
    assert stat_fields(pid) is None
