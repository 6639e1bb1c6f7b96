"""The decision itself: pure, level-triggered, the same after a restart as without one.

What it is made from is the evidence of now. The owner of before is looked up in the record, or,
where that is lost, in what runs: so a visord that died between the two daemons goes on where it
was, and one that lost its memory as well decides anew from the evidence.

Deciding moves nothing. The plan does, in an order in which the old owner is dead before the new one
starts (`clock.plan`), and below it all daemons that may set the clock share one lock
(`WorldSpec.lock`), which holds against everything that runs late.
"""

from collections.abc import Set as AbstractSet
from dataclasses import replace

from chronovisor.clock.arbiter.evidence import (
    Decision,
    NtpEvidence,
    Owner,
    Phase,
    Policy,
    PtpEvidence,
    Record,
)
from chronovisor.clock.arbiter.trust import agrees, doubt
from chronovisor.clock.settings import Protocol

START_S = 30.0
"""How long a PTP daemon that has just been started may look for its master before PTP counts as
lost: at the default intervals of IEEE 1588 ptp4l needs 14 s."""


def decide(
    policy: Policy,
    ptp: PtpEvidence,
    ntp: NtpEvidence,
    writers: AbstractSet[Owner],
    record: Record,
    now_s: float,
) -> tuple[Decision, Record]:
    """Return who owns the system clock now, and what to remember of it.

    `writers` are the owners whose daemons run and may set the clock, as observed.
    """
    before = _owner_before(record, writers)
    record = replace(record, steady_since_s=_steady_since_s(ptp, record, now_s))
    record = _right(policy, ptp, ntp, before, record, now_s)
    decision = _decision(policy, ptp, ntp, before, record, now_s)
    return decision, _remember(decision, record, now_s)


def _owner_before(record: Record, writers: AbstractSet[Owner]) -> Owner | None:
    if record.owner is not None and record.phase is not Phase.IDLE:
        return record.owner
    return next(iter(writers)) if len(writers) == 1 else None


def _steady_since_s(ptp: PtpEvidence, record: Record, now_s: float) -> float | None:
    if not ptp.synchronized:
        return None
    return now_s if record.steady_since_s is None else record.steady_since_s


def _right(
    policy: Policy,
    ptp: PtpEvidence,
    ntp: NtpEvidence,
    before: Owner | None,
    record: Record,
    now_s: float,
) -> Record:
    """Return the record with when the clock was last known to be right."""
    right = record.right_until_s
    if not policy.steers:
        return replace(record, right_until_s=None)  # others may set it to anything
    if before is Owner.PTP and ptp.last_sync_s is not None:
        right = max(right or 0.0, ptp.last_sync_s)
    elif before is Owner.NTP and agrees(ntp) and not doubt(ntp, right, now_s):
        right = now_s
    return replace(record, right_until_s=right)


def _decision(
    policy: Policy,
    ptp: PtpEvidence,
    ntp: NtpEvidence,
    before: Owner | None,
    record: Record,
    now_s: float,
) -> Decision:
    if not policy.steers:
        return Decision(Owner.NOBODY, Phase.IDLE, "the settings ask nobody to steer the clock")
    if policy.protocol is Protocol.NTP:
        return _ntp_alone(ntp, record)
    if not policy.falls_back or before not in (Owner.NTP, Owner.NOBODY):
        return _ptp_owns(policy, ptp, ntp, record, now_s)
    if ptp.synchronized:
        return _ptp_is_back(policy, ptp, before, record, now_s)
    return _ptp_is_lost(ptp, ntp, before, record, now_s)


def _ntp_alone(ntp: NtpEvidence, record: Record) -> Decision:
    if ntp.available:
        return Decision(Owner.NTP, Phase.FOLLOWING, ntp.reason)
    phase = Phase.ACQUIRING if record.right_until_s is None else Phase.HOLDOVER
    return Decision(Owner.NTP, phase, ntp.reason, awaited="an NTP source")


def _ptp_owns(
    policy: Policy, ptp: PtpEvidence, ntp: NtpEvidence, record: Record, now_s: float
) -> Decision:
    if ptp.synchronized:
        return Decision(Owner.PTP, Phase.FOLLOWING, ptp.reason)
    phase = Phase.ACQUIRING if record.right_until_s is None else Phase.HOLDOVER
    if not policy.falls_back:
        return Decision(Owner.PTP, phase, ptp.reason, awaited="PTP")
    until_s = _lost_at_s(policy, ptp, record, now_s)
    if now_s < until_s:
        return Decision(Owner.PTP, phase, ptp.reason, "PTP, or then NTP", until_s)
    refusal = doubt(ntp, record.right_until_s, now_s) or ("" if ntp.available else ntp.reason)
    if refusal:
        return Decision(Owner.PTP, phase, f"{ptp.reason}; {refusal}", "PTP, or NTP to trust")
    return Decision(Owner.NTP, Phase.FALLBACK, f"PTP is lost: {ptp.reason}", awaited="PTP")


def _lost_at_s(policy: Policy, ptp: PtpEvidence, record: Record, now_s: float) -> float:
    """Return when PTP counts as lost: `after_s` after its last offset, later after a start."""
    began_s = now_s if record.wanted_s is None else record.wanted_s
    since_start = ptp.last_sync_s is not None and ptp.last_sync_s > began_s
    seen_s = began_s if ptp.last_sync_s is None else ptp.last_sync_s
    if since_start:
        return seen_s + policy.after_s
    return max(seen_s + policy.after_s, began_s + START_S)


def _ptp_is_back(
    policy: Policy, ptp: PtpEvidence, before: Owner | None, record: Record, now_s: float
) -> Decision:
    assert record.steady_since_s is not None
    until_s = record.steady_since_s + policy.return_after_s
    if now_s >= until_s:
        return Decision(Owner.PTP, Phase.FOLLOWING, ptp.reason)
    owner = before or Owner.PTP
    reason = f"PTP is back and not yet proved steady: {ptp.reason}"
    return Decision(owner, Phase.RETURNING, reason, "steady PTP", until_s)


def _ptp_is_lost(
    ptp: PtpEvidence, ntp: NtpEvidence, before: Owner | None, record: Record, now_s: float
) -> Decision:
    lost = f"PTP is lost: {ptp.reason}"
    if refusal := doubt(ntp, record.right_until_s, now_s):
        return Decision(Owner.NOBODY, Phase.HOLDOVER, f"{lost}; {refusal}", "PTP, or NTP to trust")
    if ntp.available:
        return Decision(Owner.NTP, Phase.FALLBACK, lost, awaited="PTP")
    # chronyd that has just taken over, or lost its servers, keeps the rate that the clock had
    phase = Phase.FALLBACK if before is Owner.NTP else Phase.HOLDOVER
    owner = before or Owner.NTP
    return Decision(owner, phase, f"{lost}; {ntp.reason}", "PTP, or an NTP source")


def _remember(decision: Decision, record: Record, now_s: float) -> Record:
    changed = (decision.owner, decision.phase) != (record.owner, record.phase)
    taken = decision.owner is not record.owner
    return replace(
        record,
        owner=decision.owner,
        phase=decision.phase,
        since_s=now_s if changed else record.since_s,
        wanted_s=now_s if taken or record.wanted_s is None else record.wanted_s,
    )
