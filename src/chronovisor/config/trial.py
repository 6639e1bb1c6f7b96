"""Changes on trial: kept only if somebody who still has access says so in time.

The deadline counts by CLOCK_BOOTTIME, which no step of the wall clock moves and which runs on in
suspend, and belongs to one boot: after a reboot an unconfirmed change is expired.
"""

import math
from collections.abc import Iterator

from chronovisor.config.records import Alarm, Clocks, State, Trial, TrialRecord
from chronovisor.errors import Conflict, NotFound, Problem

TRY_S_MAX = 7 * 24 * 3600.0

_NS_PER_S = 1_000_000_000


def refused_time(try_s: float | None) -> Iterator[Problem]:
    """Yield a problem if `try_s` is not a time that a trial can last."""
    if try_s is not None and not (math.isfinite(try_s) and 0 < try_s <= TRY_S_MAX):
        valid = f"above 0, at most {TRY_S_MAX:.0f} seconds"
        yield Problem("try", f"a trial cannot last {try_s:g} s", f"{try_s:g}", valid)


def started(state: State, try_s: float | None, author: str, clocks: Clocks) -> TrialRecord | None:
    """Return the trial that the commit after `state` begins, if it is to be one."""
    if try_s is None:
        return None
    deadline_boot_ns = clocks.boot_ns() + round(try_s * _NS_PER_S)
    boot_id = clocks.boot_id()
    return TrialRecord(state.revision, state.revision + 1, deadline_boot_ns, boot_id, author)


def seconds_left(record: TrialRecord, clocks: Clocks, now_boot_ns: int | None = None) -> float:
    """Return the seconds until the old values come back; 0 when they should be back already."""
    if record.boot_id != clocks.boot_id():
        return 0.0
    now_ns = clocks.boot_ns() if now_boot_ns is None else now_boot_ns
    return max(0.0, (record.deadline_boot_ns - now_ns) / _NS_PER_S)


def lapsed(record: TrialRecord, clocks: Clocks, now_boot_ns: int | None = None) -> bool:
    """Say whether the time for confirming is over."""
    return seconds_left(record, clocks, now_boot_ns) <= 0


def seen(record: TrialRecord, clocks: Clocks) -> Trial:
    """Return the trial as an operator sees it now."""
    return Trial(
        record.base_revision,
        record.revision,
        record.deadline_boot_ns,
        record.author,
        seconds_left(record, clocks),
    )


def required(record: TrialRecord | None) -> TrialRecord:
    """Return the running trial, or raise `NotFound`."""
    if record is None:
        raise NotFound("no change is on trial", hint="it was confirmed already, or its time was up")
    return record


def refuse_change(record: TrialRecord | None, clocks: Clocks) -> None:
    """Raise `Conflict` while a trial runs.

    What would be changed now might be undone with it, and which of the two the operator then
    wanted back nobody could tell.
    """
    if record:
        left = math.ceil(seconds_left(record, clocks))
        raise Conflict(
            f"revision {record.revision} of {record.author} is on trial for another {left} s",
            hint="confirm or abandon it first (visorctl config confirm)",
        )


def too_late(record: TrialRecord) -> Conflict:
    """Return the refusal of a confirmation after the deadline."""
    return Conflict(
        f"the trial of revision {record.revision} is over; "
        f"the values of revision {record.base_revision} are back",
        hint="set them again, with more time",
    )


def overdue(record: TrialRecord) -> Alarm:
    """Return what to tell while the old values cannot be brought back."""
    text = f"the trial of revision {record.revision} is over, its old values are not yet back"
    return Alarm("trial_overdue", text, f"revision {record.revision}")
