"""A process that is known for certain: by pid, start time and boot, watched through a pidfd.

Nothing here relies on SIGCHLD or on being the parent, so a world that an earlier visord started is
watched just as one's own child.
"""

import asyncio
import contextlib
import errno
import fcntl
import os
import signal
import struct
import time
from collections.abc import Callable
from dataclasses import dataclass

from chronovisor.worlds.launcher import boot_id, start_ticks, stat_fields

TICKS_PER_S = os.sysconf("SC_CLK_TCK")

# linux/pidfd.h: _IOWR(0xFF, 11, struct pidfd_info of 64 bytes); exit information since Linux 6.15
_PIDFD_GET_INFO = 3 << 30 | 64 << 16 | 0xFF << 8 | 11
_PIDFD_INFO_EXIT = 1 << 3
_PIDFD_INFO = struct.Struct("QQ11Ii")
_EXIT_CODE_FIELD = 52 - 3  # proc_pid_stat(5), counted from field 3


@dataclass(frozen=True, slots=True)
class Identity:
    """Which process: a pid alone may by now be somebody else's."""

    pid: int
    start_ticks: int
    boot_id: str

    def is_alive(self) -> bool:
        """Return whether this very process still runs (a zombie does not)."""
        return start_ticks(self.pid) == self.start_ticks and boot_id() == self.boot_id

    def age_s(self) -> float:
        """Return the time since its start, whatever happened to the wall clock."""
        return time.clock_gettime(time.CLOCK_BOOTTIME) - self.start_ticks / TICKS_PER_S


@dataclass(frozen=True, slots=True)
class ExitStatus:
    """How a process ended: by exit `code` or `signal_number`; neither when that is not known."""

    code: int | None = None
    signal_number: int | None = None
    dumped_core: bool = False

    @classmethod
    def from_wait_status(cls, status: int) -> "ExitStatus":
        """Return the meaning of a status as wait(2) gives it."""
        if os.WIFEXITED(status):
            return cls(code=os.WEXITSTATUS(status))
        return cls(signal_number=os.WTERMSIG(status), dumped_core=os.WCOREDUMP(status))

    @property
    def clean(self) -> bool:
        """Whether the process said that all went well."""
        return self.code == 0

    def __str__(self) -> str:
        """Return it for people: `exited with status 1`."""
        if self.code is not None:
            return f"exited with status {self.code}"
        if self.signal_number is None:
            return "ended, exit status unknown (an earlier visord had started it)"
        try:
            name = signal.Signals(self.signal_number).name
        except ValueError:  # real-time signals have numbers only
            name = f"signal {self.signal_number}"
        return f"killed by {name}" + (" (core dumped)" if self.dumped_core else "")


class Process:
    """A living process under watch. `ended` is done once it has ended, with how."""

    def __init__(self, identity: Identity, pidfd: int) -> None:
        self.identity = identity
        self.ended: asyncio.Future[ExitStatus] = asyncio.get_running_loop().create_future()
        self._loop = asyncio.get_running_loop()
        self._pidfd = pidfd
        self._loop.add_reader(pidfd, self._on_exit)

    @classmethod
    def child(cls, pid: int) -> "Process":
        """Watch a child that was just started and cannot have been reaped."""
        fields = stat_fields(pid)
        if fields is None:
            raise ProcessLookupError(errno.ESRCH, f"child {pid} was reaped by somebody else")
        return cls(Identity(pid, int(fields[22 - 3]), boot_id()), os.pidfd_open(pid))

    @classmethod
    def find(cls, identity: Identity) -> "Process | None":
        """Watch the process if it still runs."""
        try:
            pidfd = os.pidfd_open(identity.pid)
        except ProcessLookupError:
            return None
        # In this order: if it is alive after the pidfd was opened, then the pidfd means it.
        if not identity.is_alive():
            os.close(pidfd)
            return None
        return cls(identity, pidfd)

    def send(self, number: int) -> None:
        """Send a signal to it and to no other; nothing happens if it has ended."""
        if self._pidfd >= 0:
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(self._pidfd, number)

    @staticmethod
    def tell_end(identity: Identity, callback: Callable[[], None]) -> Callable[[], None] | None:
        """Have `callback` called once at the end of anybody's process; None if it has ended.

        Leaves its exit status to whoever watches it. Returns what calls that off.
        """
        try:
            pidfd = os.pidfd_open(identity.pid)
        except ProcessLookupError:
            return None
        loop = asyncio.get_running_loop()

        def forget() -> None:
            nonlocal pidfd
            if pidfd >= 0:
                loop.remove_reader(pidfd)
                os.close(pidfd)
                pidfd = -1

        def ended() -> None:
            forget()
            callback()

        loop.add_reader(pidfd, ended)
        if not identity.is_alive():
            forget()
            return None
        return forget

    async def wait(self, timeout_s: float) -> bool:
        """Return whether it has ended, waiting at most so long."""
        done, _ = await asyncio.wait([self.ended], timeout=timeout_s)
        return bool(done)

    def release(self) -> None:
        """Stop watching; the process goes on."""
        if self._pidfd >= 0:
            self._loop.remove_reader(self._pidfd)
            os.close(self._pidfd)
            self._pidfd = -1

    def _on_exit(self) -> None:
        status = self._status()
        self.release()
        if not self.ended.done():
            self.ended.set_result(status)

    def _status(self) -> ExitStatus:
        try:
            result = os.waitid(os.P_PIDFD, self._pidfd, os.WEXITED | os.WNOHANG)
        except ChildProcessError:
            return self._status_of_stranger()
        if result is None:
            return ExitStatus()
        if result.si_code == os.CLD_EXITED:
            return ExitStatus(code=result.si_status)
        dumped = result.si_code == os.CLD_DUMPED
        return ExitStatus(signal_number=result.si_status, dumped_core=dumped)

    def _status_of_stranger(self) -> ExitStatus:
        # Not our child: init reaps it. Until then its zombie tells (root may read the field),
        # afterwards the pidfd does, where the kernel is new enough.
        fields = stat_fields(self.identity.pid)
        if fields and fields[0] == "Z" and int(fields[22 - 3]) == self.identity.start_ticks:
            return ExitStatus.from_wait_status(int(fields[_EXIT_CODE_FIELD]))
        info = bytearray(_PIDFD_INFO.pack(_PIDFD_INFO_EXIT, *[0] * 13))
        try:
            fcntl.ioctl(self._pidfd, _PIDFD_GET_INFO, info)
        except OSError:
            return ExitStatus()
        mask, *_, exit_code = _PIDFD_INFO.unpack(info)
        known = mask & _PIDFD_INFO_EXIT
        return ExitStatus.from_wait_status(exit_code) if known else ExitStatus()
