"""A PTP hardware clock read every way the kernel offers, with what each read costs.

Nothing here sets a clock. Sources: linux/ptp_clock.h, the kernel's
Documentation/driver-api/ptp.rst, clock_gettime(2) and the dynamic clock ids of its man page,
clock_adjtime(2).
"""

import ctypes
import errno
import fcntl
import os
import struct
import time
from dataclasses import dataclass
from types import TracebackType
from typing import Self

from chronovisor.errors import ToolFailed

_CAPS = struct.Struct("=20i")  # struct ptp_clock_caps
_TIME = struct.Struct("=qII")  # struct ptp_clock_time
_SAMPLES, _PRECISE_SAMPLES = 25, 25
_FEW = 5  # enough for one that nothing interrupted, and cheap
_NOT_OFFERED = (errno.EOPNOTSUPP, errno.ENOTTY, errno.EINVAL)
_EXTENDED = 16 + 3 * _TIME.size * _SAMPLES
_BASIC_TIMES = 2 * _SAMPLES + 1
_BASIC = 16 + _TIME.size * _BASIC_TIMES
_PRECISE = 3 * _TIME.size + 16
_WRITE, _READ = 1, 2


def _request(direction: int, number: int, size: int) -> int:
    return direction << 30 | size << 16 | ord("=") << 8 | number  # asm-generic/ioctl.h


_GET_CAPS = _request(_READ, 1, _CAPS.size)
_SYS_OFFSET = _request(_WRITE, 5, _BASIC)
_SYS_OFFSET_PRECISE = _request(_READ | _WRITE, 8, _PRECISE)
_SYS_OFFSET_EXTENDED = _request(_READ | _WRITE, 9, _EXTENDED)
_libc = ctypes.CDLL(None, use_errno=True)


@dataclass(frozen=True, slots=True)
class Capabilities:
    """What a clock can do; `max_frequency_ppb` is by how much its rate can be changed."""

    max_frequency_ppb: int
    cross_time_stamping: bool
    adjusts_phase: bool


@dataclass(frozen=True, slots=True)
class ReadCost:
    """How wide the windows were within which one method read the clock, in ns."""

    method: str
    reads: int
    min_ns: int
    median_ns: int
    max_ns: int


class Phc:
    """One PTP hardware clock, a context manager. Raises `ToolFailed` where it cannot be opened."""

    def __init__(self, index: int) -> None:
        self.path = f"/dev/ptp{index}"

    def __enter__(self) -> Self:
        try:
            self._file = os.open(self.path, os.O_RDONLY | os.O_CLOEXEC)
        except OSError as error:
            hint = "is /dev of the machine visible here?"
            raise ToolFailed(f"cannot open {self.path}: {error.strerror}", hint=hint) from error
        self._clock = (~self._file) << 3 | 3  # FD_TO_CLOCKID of clock_gettime(2)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        os.close(self._file)

    def now_ns(self) -> int:
        """Return the clock's time. Raises `ToolFailed` where it has gone."""
        try:
            return time.clock_gettime_ns(self._clock)
        except OSError as error:
            raise ToolFailed(f"cannot read {self.path}: {error.strerror}") from error

    def capabilities(self) -> Capabilities:
        """Return what the clock can do. Raises `ToolFailed`."""
        content = bytearray(_CAPS.size)
        try:
            fcntl.ioctl(self._file, _GET_CAPS, content)
        except OSError as error:
            raise ToolFailed(f"{self.path} is no PTP clock: {error.strerror}") from error
        most, *_, cross, phase = _CAPS.unpack(content)[:8]
        return Capabilities(most, bool(cross), bool(phase))

    def frequency_ppb(self) -> float | None:
        """Return by how much the clock's rate is corrected now, None where it will not tell."""
        timex = (ctypes.c_byte * 208)()  # struct timex with modes 0 only reads
        if _libc.clock_adjtime(ctypes.c_int(self._clock), ctypes.byref(timex)) < 0:
            return None
        (frequency,) = struct.unpack_from("=q", bytes(timex), 16)
        return float(frequency) / 65.536  # 2^-16 ppm

    def costs(self, rounds: int = 4) -> list[ReadCost]:
        """Return the cost of every method of reading that works here, the best first."""
        found = []
        for method, read in (
            ("PTP_SYS_OFFSET_PRECISE", self._precise),
            ("PTP_SYS_OFFSET_EXTENDED", self._extended),
            ("PTP_SYS_OFFSET", self._basic),
        ):
            try:
                windows = sorted(window for _ in range(rounds) for window in read())
            except OSError:  # EOPNOTSUPP, ENOTTY: not this driver, not this kernel
                continue
            middle = windows[len(windows) // 2]
            found.append(ReadCost(method, len(windows), windows[0], middle, windows[-1]))
        return found

    def beside_system_clock(self) -> tuple[int, int]:
        """Return CLOCK_REALTIME minus this clock and how wrong that may be, in ns.

        The closest of a few readings: the system clock is read before and after the clock, and was
        somewhere between when the clock was read. Raises `ToolFailed` where it cannot be read.
        """
        try:
            return self._beside(_FEW)
        except OSError as error:
            raise ToolFailed(f"cannot read {self.path}: {error.strerror}") from error

    def _beside(self, samples: int) -> tuple[int, int]:
        try:
            times = self._extended_times(samples)
        except OSError as error:
            if error.errno not in _NOT_OFFERED:
                raise
            times = self._basic_times(samples)
            times = [one for at in range(samples) for one in times[2 * at : 2 * at + 3]]
        readings = [times[at : at + 3] for at in range(0, 3 * samples, 3)]
        before, clock, after = min(readings, key=lambda reading: reading[2] - reading[0])
        half = (after - before + 1) // 2
        return before + half - clock, half

    def _extended_times(self, samples: int) -> list[int]:
        """Return samples one after the other: system, clock, system."""
        content = bytearray(_EXTENDED)
        struct.pack_into("=I", content, 0, samples)
        fcntl.ioctl(self._file, _SYS_OFFSET_EXTENDED, content)
        return _times(content, 3 * samples)

    def _basic_times(self, samples: int) -> list[int]:
        """Return the times of one chain: system, clock, system, … , system."""
        content = bytearray(_BASIC)
        struct.pack_into("=I", content, 0, samples)
        fcntl.ioctl(self._file, _SYS_OFFSET, content)
        return _times(content, 2 * samples + 1)

    def _extended(self) -> list[int]:
        times = self._extended_times(_SAMPLES)
        return [times[at + 2] - times[at] for at in range(0, len(times), 3)]

    def _basic(self) -> list[int]:
        times = self._basic_times(_SAMPLES)
        return [times[at + 2] - times[at] for at in range(0, 2 * _SAMPLES, 2)]

    def _precise(self) -> list[int]:
        """Return zero for each read: clock and system clock are latched at one moment."""
        for _ in range(_PRECISE_SAMPLES):
            fcntl.ioctl(self._file, _SYS_OFFSET_PRECISE, bytearray(_PRECISE))
        return [0] * _PRECISE_SAMPLES


def _times(content: bytearray, count: int) -> list[int]:
    return [
        seconds * 1_000_000_000 + nanoseconds
        for seconds, nanoseconds, _ in (
            _TIME.unpack_from(content, 16 + _TIME.size * at) for at in range(count)
        )
    ]
