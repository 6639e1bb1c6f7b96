"""Reads the kernel's clocks; never sets one.

Sources: adjtimex(2), clock_gettime(2).
"""

import ctypes
import os
import time

_libc = ctypes.CDLL(None, use_errno=True)


class _Timex(ctypes.Structure):
    """The head of struct timex (linux/timex.h); the kernel's is 208 bytes."""

    _fields_ = (
        ("modes", ctypes.c_uint),
        ("offset", ctypes.c_long),
        ("freq", ctypes.c_long),
        ("maxerror", ctypes.c_long),
        ("esterror", ctypes.c_long),
        ("status", ctypes.c_int),
        ("constant", ctypes.c_long),
        ("precision", ctypes.c_long),
        ("tolerance", ctypes.c_long),
        ("time_s", ctypes.c_long),
        ("time_us", ctypes.c_long),
        ("tick", ctypes.c_long),
        ("rest", ctypes.c_byte * 112),
    )


_NOMINAL_TICK_US = 1_000_000 // os.sysconf("SC_CLK_TCK")
_PPB_PER_TICK = 1e9 / _NOMINAL_TICK_US


def system_clock_frequency_ppb() -> float | None:
    """Return by how much the kernel corrects CLOCK_REALTIME's rate, None where it won't tell.

    The correction has two parts: chronyd puts whole 100 ppm into the length of a tick.
    """
    timex = _Timex(modes=0)  # modes 0 only reads
    if _libc.adjtimex(ctypes.byref(timex)) < 0:
        return None
    ticks = timex.tick - _NOMINAL_TICK_US
    return float(timex.freq / 65.536 + ticks * _PPB_PER_TICK)  # freq is in 2^-16 ppm


def boottime_s() -> float:
    """Return CLOCK_BOOTTIME: it never steps and goes on while the machine sleeps."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)
