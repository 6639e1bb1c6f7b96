"""What the kernel says of its clock, read and never set."""

import ctypes
import time

import pytest

from chronovisor.clock import kernel_clock
from chronovisor.clock.kernel_clock import system_clock_frequency_ppb


def test_the_layout_is_the_kernels() -> None:
    timex = kernel_clock._Timex(modes=0)
    kernel_clock._libc.adjtimex(ctypes.byref(timex))
    assert ctypes.sizeof(timex) == 208  # linux/timex.h on 64 bits
    assert timex.time_s == pytest.approx(time.time(), abs=5)
    assert 9_000 <= timex.tick <= 11_000


def test_whole_ticks_count(monkeypatch: pytest.MonkeyPatch) -> None:
    class Kernel:
        def adjtimex(self, timex: object) -> int:
            found = ctypes.cast(timex, ctypes.POINTER(kernel_clock._Timex)).contents  # type: ignore[arg-type]
            found.freq, found.tick = -20 << 16, 10_001  # -20 ppm, and one tick of 100 ppm
            return 0

    monkeypatch.setattr(kernel_clock, "_libc", Kernel())
    assert system_clock_frequency_ppb() == pytest.approx(80_000, abs=1)
