"""Reads the kernel's clocks; never sets one.

Sources: adjtimex(2), clock_gettime(2).
"""

import ctypes
import time

_libc = ctypes.CDLL(None, use_errno=True)


class _Timex(ctypes.Structure):
    """The head of struct timex (linux/timex.h); the kernel's is 208 bytes."""

    _fields_ = (
        ("modes", ctypes.c_uint),
        ("offset", ctypes.c_long),
        ("freq", ctypes.c_long),
        ("rest", ctypes.c_byte * 184),
    )


def system_clock_frequency_ppb() -> float | None:
    """Return by how much the kernel corrects CLOCK_REALTIME's rate, None where it won't tell."""
    timex = _Timex(modes=0)  # modes 0 only reads
    if _libc.adjtimex(ctypes.byref(timex)) < 0:
        return None
    return float(timex.freq) / 65.536  # freq is in 2^-16 ppm


def boottime_s() -> float:
    """Return CLOCK_BOOTTIME: it never steps and goes on while the machine sleeps."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)
