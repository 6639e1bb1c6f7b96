"""The restart policy as a table, and what must hold for every policy."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chronovisor.worlds.policy import Failures, GiveUp, Rest, Restart, after_end, backoff_s
from chronovisor.worlds.spec import RestartPolicy

POLICY = RestartPolicy(
    min_uptime_s=10,
    max_quick_failures=3,
    max_total_failures=5,
    backoff_initial_s=1,
    backoff_max_s=3,
)


@pytest.mark.parametrize(
    ("failures", "uptime_s", "decision"),
    [
        (Failures(0, 0), 0.0, Restart(1, Failures(1, 1))),
        (Failures(1, 1), 9.9, Restart(2, Failures(2, 2))),
        (Failures(2, 2), 10.0, Restart(1, Failures(0, 3))),  # long enough: a new row
        (Failures(0, 3), 1.0, Restart(1, Failures(1, 4))),
    ],
)
def test_restarts_with_growing_waits(
    failures: Failures, uptime_s: float, decision: Restart
) -> None:
    assert after_end(POLICY, failures, uptime_s=uptime_s, clean=False) == decision


@pytest.mark.parametrize(
    ("failures", "uptime_s", "why"),
    [
        (Failures(2, 2), 0.0, "3 quick failures in a row (each under 10 s)"),
        (Failures(0, 4), 99.0, "5 failures in total"),
    ],
)
def test_gives_up_with_the_reason(failures: Failures, uptime_s: float, why: str) -> None:
    decision = after_end(POLICY, failures, uptime_s=uptime_s, clean=False)
    assert isinstance(decision, GiveUp)
    assert decision.why == why


@pytest.mark.parametrize("uptime_s", [0.0, 100.0])
def test_modes(uptime_s: float) -> None:
    none = Failures()

    def decide(mode: str, clean: bool) -> type:
        policy = RestartPolicy(mode=mode)  # type: ignore[arg-type]  # a parameter of the test
        return type(after_end(policy, none, uptime_s=uptime_s, clean=clean))

    assert decide("always", True) is Restart
    assert decide("always", False) is Restart
    assert decide("on_failure", True) is Rest
    assert decide("on_failure", False) is Restart
    assert decide("never", True) is Rest
    assert decide("never", False) is GiveUp


def test_without_limits_it_never_gives_up() -> None:
    policy = RestartPolicy(max_quick_failures=None, max_total_failures=None)
    failures = Failures(10**6, 10**6)
    decision = after_end(policy, failures, uptime_s=0, clean=False)
    assert decision == Restart(policy.backoff_max_s, Failures(10**6 + 1, 10**6 + 1))


@given(st.floats(0, 1e6), st.floats(0, 1e6), st.integers(0, 10**9))
def test_backoff_never_shrinks_and_stays_bounded(
    initial_s: float, more_s: float, quick: int
) -> None:
    policy = RestartPolicy(backoff_initial_s=initial_s, backoff_max_s=initial_s + more_s)
    now, later = backoff_s(policy, quick), backoff_s(policy, quick + 1)
    assert initial_s <= now <= later <= policy.backoff_max_s


@given(st.lists(st.floats(0, 100), max_size=40), st.integers(1, 10))
def test_quick_failures_end_after_exactly_so_many_in_a_row(uptimes: list[float], most: int) -> None:
    policy = RestartPolicy(min_uptime_s=10, max_quick_failures=most)
    failures, row = Failures(), 0
    for uptime_s in uptimes:
        row = row + 1 if uptime_s < 10 else 0
        decision = after_end(policy, failures, uptime_s=uptime_s, clean=False)
        assert isinstance(decision, GiveUp) == (row == most)
        if isinstance(decision, GiveUp):
            break
        failures = decision.failures
