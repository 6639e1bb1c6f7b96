"""The clock's state where NTP is its protocol, in the words of `clock.state`; pure."""

from chronovisor.clock.arbiter import Decision, NtpEvidence, Phase
from chronovisor.clock.state import LOCK_LIMIT_NS, ClockState, Verdict


def judge_ntp(ntp: NtpEvidence, decision: Decision, *, disciplined: bool) -> Verdict:
    """Return the state of a clock that follows NTP, or only measures against it."""
    if not ntp.available:
        held = decision.phase is Phase.HOLDOVER
        return Verdict(ClockState.HOLDOVER if held else ClockState.UNSYNCHRONIZED, ntp.reason)
    offset_ns = ntp.offset_s * 1e9
    text = f"{ntp.reason}; the clock is {offset_ns:.0f} ns from its time"
    near = abs(offset_ns) <= LOCK_LIMIT_NS[False]
    return Verdict(ClockState.LOCKED if disciplined and near else ClockState.TRACKING, text)
