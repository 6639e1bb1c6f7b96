"""PTP lost, NTP in its place, PTP back: how soon, and how far the system clock was off meanwhile.

In a guest with simulated NICs (see `bench.clock_hardware`). Plain linuxptp has nothing to fall back
to; the limits of the settings stand in the notes instead of a peer.
"""

import json

from bench.clock_fallback_guest import MARK
from bench.guest import said_in_guest
from bench.result import Row, progress, row
from hwsim.fallback import Fallback


def measure() -> list[Row]:
    """Return what a guest measured."""
    progress("a guest with simulated NICs, a fallback and its return (some minutes)")
    found = Fallback(*json.loads(said_in_guest("bench.clock_fallback_guest", MARK)))
    rows = []
    for name, s, goal in (
        ("PTP lost until NTP is chosen", found.decided_s, ""),
        ("PTP lost until chronyd steers the clock", found.steers_s, "< 10 s"),
        ("PTP lost until chronyd has its server's time", found.follows_s, "< 10 s"),
    ):
        rows.append(row(name, s, "s", goal=goal, note="emulated; fallback.after_s is 5"))
    note = "emulated; system clock, no step, slewed at 500 ppm at most"
    for name, ns in (
        ("transient: PTP lost until NTP is followed", found.until_followed_ns),
        ("transient: 20 s of fallback", found.in_fallback_ns),
        ("transient: PTP back until the clock is close", found.on_return_ns),
    ):
        rows.append(row(name, ns / 1000, "us", note=note))
    return rows
