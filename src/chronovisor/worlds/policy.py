"""Whether a world that ended is started again, and when: pure, time comes in as numbers."""

from dataclasses import dataclass

from chronovisor.worlds.spec import RestartPolicy


@dataclass(frozen=True, slots=True)
class Failures:
    """How often a world ended unasked: `quick` ones in a row now, and in `total`."""

    quick: int = 0
    total: int = 0


@dataclass(frozen=True, slots=True)
class Restart:
    """Start it again in `after_s` seconds."""

    after_s: float
    failures: Failures


@dataclass(frozen=True, slots=True)
class GiveUp:
    """Leave it failed; `why` is for people."""

    why: str
    failures: Failures


@dataclass(frozen=True, slots=True)
class Rest:
    """It did what it was for and is not started again."""

    failures: Failures


Decision = Restart | GiveUp | Rest


def after_end(
    policy: RestartPolicy, failures: Failures, *, uptime_s: float, clean: bool
) -> Decision:
    """Decide about a world that ended unasked after `uptime_s`; `clean` is exit status 0.

    A run of at least `min_uptime_s` ends a row of quick failures.
    """
    if clean and policy.mode != "always":
        return Rest(failures)
    quick = failures.quick + 1 if uptime_s < policy.min_uptime_s else 0
    failures = Failures(quick, failures.total + 1)
    if policy.mode == "never":
        return GiveUp("its policy is never to restart", failures)
    if policy.max_quick_failures is not None and quick >= policy.max_quick_failures:
        return GiveUp(
            f"{quick} quick failures in a row (each under {policy.min_uptime_s:g} s)", failures
        )
    if policy.max_total_failures is not None and failures.total >= policy.max_total_failures:
        return GiveUp(f"{failures.total} failures in total", failures)
    return Restart(backoff_s(policy, quick), failures)


def backoff_s(policy: RestartPolicy, quick_failures: int) -> float:
    """Return the wait before the next attempt after so many quick failures in a row."""
    # Past 2**64 the maximum holds anyway, and a float would overflow past 2**1023.
    doublings = min(max(quick_failures - 1, 0), 64)
    return min(policy.backoff_initial_s * 2.0**doublings, policy.backoff_max_s)
