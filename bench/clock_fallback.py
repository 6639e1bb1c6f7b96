"""PTP lost, NTP in its place, PTP back: how soon, and how far the system clock was off meanwhile.

In a guest with simulated NICs (see `bench.clock_hardware`). Plain linuxptp has nothing to fall back
to; the limits of the settings stand in the notes instead of a peer.
"""

import json
import statistics

from bench.clock_fallback_guest import MARK, RUNS
from bench.guest import said_in_guest
from bench.result import Row, progress, row
from hwsim.fallback import Fallback


def measure() -> list[Row]:
    """Return what a guest measured."""
    progress(f"a guest with simulated NICs, {RUNS} fallback (some minutes)")
    found = [
        Fallback(*one) for one in json.loads(said_in_guest("bench.clock_fallback_guest", MARK))
    ]
    rows = []
    for name, what, goal in (
        ("PTP lost until NTP is chosen", "decided_s", ""),
        ("PTP lost until chronyd steers the clock", "steers_s", "< 10 s"),
        ("PTP lost until chronyd has its server's time", "follows_s", "< 10 s"),
    ):
        s = statistics.median(getattr(one, what) for one in found)
        rows.append(row(name, s, "s", goal=goal, note="emulated; fallback.after_s is 5"))
    for name, what in (
        ("transient: PTP lost until NTP is followed", "until_followed_ns"),
        ("transient: 20 s of fallback", "in_fallback_ns"),
        ("transient: PTP back until the clock is close", "on_return_ns"),
    ):
        us = max(getattr(one, what) for one in found) / 1000
        note = "emulated; system clock, no step, slewed at 500 ppm at most"
        rows.append(row(name, us, "us", note=note))
    return rows
