"""The arbiter's decisions, as tables; and over any history: never two owners, no flapping."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chronovisor.clock.arbiter import (
    NtpEvidence,
    Owner,
    Phase,
    Policy,
    PtpEvidence,
    Record,
    decide,
)
from chronovisor.clock.arbiter.decide import START_S
from chronovisor.clock.arbiter.trust import HOLDOVER_RATE, KNOWN_WITHIN_S, doubt
from chronovisor.clock.settings import Protocol

NOW_S = 1000.0
FALLS_BACK = Policy(falls_back=True)
LOCKED = PtpEvidence(True, NOW_S, "locked")
NTP = NtpEvidence(True, "NTP server a is followed", 0.0, 0.001)
NO_NTP = NtpEvidence(False, "no NTP server answers: a")
LIAR = NtpEvidence(True, "NTP server a is followed", 10.0, 0.001)
FOLLOWED = Record(Owner.PTP, Phase.FOLLOWING, 0.0, wanted_s=100.0, right_until_s=NOW_S)
FELL_BACK = Record(Owner.NTP, Phase.FALLBACK, 900.0, wanted_s=900.0, right_until_s=NOW_S)


def lost(seconds: float) -> PtpEvidence:
    """PTP that had its last offset so long ago."""
    return PtpEvidence(False, NOW_S - seconds, "no Announce message")


CASES = {
    "nothing known yet": (FALLS_BACK, PtpEvidence(), NO_NTP, Record(), Owner.PTP, Phase.ACQUIRING),
    "nobody is asked": (Policy(steers=False), LOCKED, NTP, FOLLOWED, Owner.NOBODY, Phase.IDLE),
    "all well": (FALLS_BACK, LOCKED, NTP, FOLLOWED, Owner.PTP, Phase.FOLLOWING),
    "lost just now": (FALLS_BACK, lost(4.9), NTP, FOLLOWED, Owner.PTP, Phase.HOLDOVER),
    "lost": (FALLS_BACK, lost(5), NTP, FOLLOWED, Owner.NTP, Phase.FALLBACK),
    "lost, no fallback": (Policy(), lost(50), NTP, FOLLOWED, Owner.PTP, Phase.HOLDOVER),
    "lost, no NTP": (FALLS_BACK, lost(50), NO_NTP, FOLLOWED, Owner.PTP, Phase.HOLDOVER),
    "lost, NTP lies": (
        FALLS_BACK,
        lost(50),
        LIAR,
        replace(FOLLOWED, right_until_s=950.0),
        Owner.PTP,
        Phase.HOLDOVER,
    ),
    "fell back": (FALLS_BACK, lost(99), NTP, FELL_BACK, Owner.NTP, Phase.FALLBACK),
    "fell back, chronyd starts": (
        FALLS_BACK,
        lost(99),
        NO_NTP,
        FELL_BACK,
        Owner.NTP,
        Phase.FALLBACK,
    ),
    "fell back, NTP begins to lie": (
        FALLS_BACK,
        lost(99),
        LIAR,
        FELL_BACK,
        Owner.NOBODY,
        Phase.HOLDOVER,
    ),
    "PTP back": (FALLS_BACK, LOCKED, NTP, FELL_BACK, Owner.NTP, Phase.RETURNING),
    "PTP steady": (
        FALLS_BACK,
        LOCKED,
        NTP,
        replace(FELL_BACK, steady_since_s=NOW_S - 15),
        Owner.PTP,
        Phase.FOLLOWING,
    ),
    "PTP steady, from nobody": (
        FALLS_BACK,
        LOCKED,
        LIAR,
        replace(FELL_BACK, owner=Owner.NOBODY, steady_since_s=NOW_S - 15),
        Owner.PTP,
        Phase.FOLLOWING,
    ),
    "fallback switched off while it lasts": (
        Policy(),
        lost(99),
        NTP,
        FELL_BACK,
        Owner.PTP,
        Phase.HOLDOVER,
    ),
    "NTP alone": (
        Policy(protocol=Protocol.NTP),
        PtpEvidence(),
        NTP,
        Record(),
        Owner.NTP,
        Phase.FOLLOWING,
    ),
    "NTP alone, silent": (
        Policy(protocol=Protocol.NTP),
        PtpEvidence(),
        NO_NTP,
        Record(),
        Owner.NTP,
        Phase.ACQUIRING,
    ),
    "NTP alone, silent later": (
        Policy(protocol=Protocol.NTP),
        PtpEvidence(),
        NO_NTP,
        FELL_BACK,
        Owner.NTP,
        Phase.HOLDOVER,
    ),
    "enabled after having been idle": (
        FALLS_BACK,
        PtpEvidence(),
        NTP,
        Record(Owner.NOBODY, Phase.IDLE, wanted_s=NOW_S),
        Owner.PTP,
        Phase.ACQUIRING,
    ),
    "just started, master not found yet": (
        FALLS_BACK,
        lost(50),
        NTP,
        replace(FOLLOWED, wanted_s=NOW_S - START_S + 1),
        Owner.PTP,
        Phase.HOLDOVER,
    ),
    "started, and no master at all": (
        FALLS_BACK,
        PtpEvidence(),
        NTP,
        Record(Owner.PTP, Phase.ACQUIRING, wanted_s=NOW_S - START_S),
        Owner.NTP,
        Phase.FALLBACK,
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_decisions(case: str) -> None:
    policy, ptp, ntp, record, owner, phase = CASES[case]
    decision, after = decide(policy, ptp, ntp, frozenset(), record, NOW_S)
    assert (decision.owner, decision.phase) == (owner, phase)
    assert (after.owner, after.phase) == (owner, phase)
    assert decision.reason


def test_a_restarted_visord_without_its_record_sees_who_owns_the_clock() -> None:
    decision, _ = decide(FALLS_BACK, lost(99), NTP, frozenset({Owner.NTP}), Record(), NOW_S)
    assert decision.owner is Owner.NTP


def test_what_is_awaited_has_its_time() -> None:
    decision, _ = decide(FALLS_BACK, lost(2), NTP, frozenset(), FOLLOWED, NOW_S)
    assert decision.until_s == NOW_S + 3
    decision, _ = decide(FALLS_BACK, LOCKED, NTP, frozenset(), FELL_BACK, NOW_S)
    assert decision.until_s == NOW_S + FALLS_BACK.return_after_s


def test_a_refusal_names_the_bound_and_both_errors() -> None:
    text = doubt(replace(NTP, offset_s=0.01), NOW_S - 100, NOW_S)
    bound_ms = (KNOWN_WITHIN_S + 100 * HOLDOVER_RATE + NTP.distance_s) * 1e3
    assert "+10.000 ms" in text
    assert f"{bound_ms:.3f} ms" in text


@pytest.mark.parametrize(
    ("offset_s", "distance_s", "age_s", "believed"),
    [
        (0.0, 0.0, 0.0, True),
        (0.0005, 0.0, 0.0, False),
        (0.0005, 0.0, 60.0, True),  # the clock itself may be 0.6 ms off by then
        (0.03, 0.04, 0.0, True),
        (1.0, 3.0, 10.0, False),  # a server may not excuse a lie by its distance
        (1.0, 0.0, 3601.0, True),  # nothing is held over any more
    ],
)
def test_belief(offset_s: float, distance_s: float, age_s: float, believed: bool) -> None:
    ntp = NtpEvidence(True, "", offset_s, distance_s)
    assert (doubt(ntp, NOW_S - age_s, NOW_S) == "") is believed


def test_nothing_contradicts_ntp_where_the_clock_was_never_right() -> None:
    assert not doubt(LIAR, None, NOW_S)


MOMENTS = st.lists(
    st.tuples(st.booleans(), st.sampled_from([NTP, NO_NTP, LIAR]), st.floats(0.1, 4)), max_size=80
)


def play(moments: list[tuple[bool, NtpEvidence, float]]) -> list[tuple[float, Owner]]:
    """Return the owners over a history of (PTP there, NTP, seconds since the moment before)."""
    record, now_s, last_s = Record(), NOW_S, None
    owners = []
    for synchronized, ntp, seconds in moments:
        now_s += seconds
        last_s = now_s if synchronized else last_s
        ptp = PtpEvidence(synchronized, last_s, "seen")
        decision, record = decide(FALLS_BACK, ptp, ntp, frozenset(), record, now_s)
        again, same = decide(FALLS_BACK, ptp, ntp, frozenset(), record, now_s)
        assert (again.owner, same.since_s) == (decision.owner, record.since_s)
        owners.append((now_s, decision.owner))
    return owners


@given(MOMENTS)
def test_flapping_sources_do_not_flap_the_clock(
    moments: list[tuple[bool, NtpEvidence, float]],
) -> None:
    owners = play(moments)
    taken_s: dict[str, float] = {}
    before = Owner.PTP
    for now_s, owner in owners:
        if owner is not before:
            if owner is Owner.PTP:  # it stayed away for as long as it had to prove itself
                assert now_s - taken_s["left"] >= FALLS_BACK.return_after_s
            if before is Owner.PTP:
                assert owner is Owner.NTP
                taken_s["left"] = now_s
        before = owner


@given(MOMENTS)
def test_a_record_that_is_lost_costs_time_alone(
    moments: list[tuple[bool, NtpEvidence, float]],
) -> None:
    owners = play(moments)
    if owners and owners[-1][1] is not Owner.NOBODY:
        now_s, owner = owners[-1]
        writers = frozenset({owner})
        ptp = PtpEvidence(False, now_s, "seen")
        decision, _ = decide(FALLS_BACK, ptp, NO_NTP, writers, Record(), now_s)
        assert decision.owner is owner
