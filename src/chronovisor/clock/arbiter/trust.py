"""Whether NTP is believed over a clock that was right a moment ago; pure.

A clock that PTP had set was within `KNOWN_WITHIN_S` of the truth then and has run on its own rate
since: it is within that plus `HOLDOVER_RATE` times its age now. A truthful server is within its own
root distance of the truth. Where the two ranges do not meet, one of the two is wrong, and it is
not the clock, whose past is known. Among several servers chronyd itself outvotes a liar first.

A server may claim any distance, up to chronyd's `maxdistance` of 3 s. More than
`MOST_DISTANCE_S` is not believed: a server that far away is no help to a clock that has just been
right, and an excuse of that size would let a lie pass.
"""

from chronovisor.clock.arbiter.evidence import NtpEvidence
from chronovisor.clock.state import HOLDOVER_LIMIT_S

KNOWN_WITHIN_S = 200e-6
"""Twice the offset within which software time stamps count as locked (`state.LOCK_LIMIT_NS`)."""

HOLDOVER_RATE = 10e-6
"""A crystal without an oven changes its rate by less, whatever the temperature of a machine room
does; `state.HOLDOVER_LIMIT_S` rests on the same number."""

MOST_DISTANCE_S = 0.1
"""Half the round trip to a server on the other side of the earth, with some to spare."""


def doubt(ntp: NtpEvidence, right_until_s: float | None, now_s: float) -> str:
    """Return why NTP is not believed, empty where it is (or nothing is known that contradicts)."""
    if not ntp.available or right_until_s is None:
        return ""
    age_s = max(0.0, now_s - right_until_s)
    if age_s > HOLDOVER_LIMIT_S:
        return ""  # nothing is held over any more, so nothing contradicts
    own_s = KNOWN_WITHIN_S + HOLDOVER_RATE * age_s
    bound_s = own_s + min(ntp.distance_s, MOST_DISTANCE_S)
    if abs(ntp.offset_s) <= bound_s:
        return ""
    return (
        f"NTP is not believed: its time differs by {ntp.offset_s * 1e3:+.3f} ms from a clock that "
        f"was right {age_s:.0f} s ago and is within {own_s * 1e3:.3f} ms; with what NTP claims of "
        f"itself {bound_s * 1e3:.3f} ms is possible at most"
    )


def agrees(ntp: NtpEvidence) -> bool:
    """Return whether the clock is where NTP says, as far as NTP can tell.

    A clock that is still being slewed towards NTP's time does not agree yet.
    """
    return ntp.available and abs(ntp.offset_s) <= KNOWN_WITHIN_S + min(
        ntp.distance_s, MOST_DISTANCE_S
    )
