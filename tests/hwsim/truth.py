"""How far clocks really are apart, whatever a daemon says of them.

Two ways that know nothing of each other, and of the packets that daemons go by nothing at all:

- `exact`: the simulation tells what its clocks and the system clock show at one raw instant. No
  reading error, but only for clocks of the simulation. The judge in tests.
- `read`: clock A, clock B, clock A again through system calls, as one would on real hardware; the
  closest of several readings, off by at most half of what it took.

Names of clocks: `ptp0` is /dev/ptp0, `realtime` the system clock. A clock of PTP's timescale is
ahead of the system clock by TAI - UTC (`UTC_OFFSET_NS`).
"""

import contextlib
import os
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

CLOCKS = Path("/sys/kernel/debug/hwsim/clocks")
UTC_OFFSET_NS = 37_000_000_000
"""TAI - UTC since 2017 (IERS Bulletin C)."""


@dataclass(frozen=True, slots=True)
class Reading:
    """An offset and how far it may be wrong."""

    offset_ns: int
    error_ns: int


def now() -> dict[str, int]:
    """Return what each clock shows at one instant, in nanoseconds; `raw` is that instant."""
    return {
        name: int(value)
        for name, value in (line.split() for line in CLOCKS.read_text().splitlines())
    }


def exact(clock: str, reference: str) -> int:
    """Return clock minus reference in nanoseconds."""
    clocks = now()
    return clocks[clock] - clocks[reference]


def worst(clock: str, reference: str, expected_ns: int = 0, *, for_s: float = 3.0) -> int:
    """Return the largest distance from the expected offset in that time, sampled at 50 Hz."""
    until = time.monotonic() + for_s
    found = 0
    while time.monotonic() < until:
        found = max(found, abs(exact(clock, reference) - expected_ns))
        time.sleep(0.02)
    return found


def until_within(
    limit_ns: int, clock: str, reference: str, expected_ns: int = 0, *, deadline_s: float = 90.0
) -> float:
    """Return after how many seconds the clocks have agreed for a second on end."""
    began = time.monotonic()
    while (taken := time.monotonic() - began) < deadline_s:
        last = worst(clock, reference, expected_ns, for_s=1.0)
        if last <= limit_ns:
            return taken
    raise AssertionError(
        f"{clock} and {reference} do not agree within {limit_ns} ns after {deadline_s:g} s: "
        f"in the last second they were up to {last} ns off"
    )


def agree(limit_ns: int, expected_ns: Mapping[str, int], reference: str) -> None:
    """Wait until clocks, by name, are as far from the reference as expected, and stay so."""
    for clock, offset_ns in expected_ns.items():
        until_within(limit_ns, clock, reference, offset_ns)
        worst_ns = worst(clock, reference, offset_ns)
        print(f"{clock} is within {worst_ns} ns of the grandmaster")
        assert worst_ns <= limit_ns


def rate_ppb(clock: str, reference: str = "raw", *, for_s: float = 2.0) -> float:
    """Return how much faster a clock runs than another, measured over some seconds."""
    first = now()
    time.sleep(for_s)
    last = now()
    elapsed = last[reference] - first[reference]
    return ((last[clock] - first[clock]) - elapsed) / elapsed * 1e9


@contextlib.contextmanager
def clock_id(name: str) -> Iterator[int]:
    """Yield what clock_gettime(2) takes for a clock."""
    if name == "realtime":
        yield time.CLOCK_REALTIME
        return
    descriptor = os.open(f"/dev/{name}", os.O_RDWR)
    try:
        yield (~descriptor << 3) | 3  # FD_TO_CLOCKID of clock_getres(2)
    finally:
        os.close(descriptor)


def read(clock: str, reference: str, *, times: int = 50) -> Reading:
    """Return clock minus reference as the best of several readings by system calls."""
    readings = []
    with clock_id(clock) as ours, clock_id(reference) as theirs:
        for _ in range(times):
            before = time.clock_gettime_ns(theirs)
            middle = time.clock_gettime_ns(ours)
            after = time.clock_gettime_ns(theirs)
            half = (after - before + 1) // 2
            readings.append(Reading(middle - before - half, half))
    return min(readings, key=lambda reading: reading.error_ns)


def step(clock: str, by_ns: int) -> None:
    """Set a clock that much ahead (or back), as if it had jumped."""
    with clock_id(clock) as which:
        time.clock_settime_ns(which, time.clock_gettime_ns(which) + by_ns)
