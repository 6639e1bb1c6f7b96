"""Never two writers of the system clock: any decisions, cut off anywhere, seen late.

A model of worlds: processes that run, what each is meant to be, and a visord that may die between
any two steps, also inside a restart, between the end of the old process and the start of the new.
"""

from dataclasses import dataclass, field
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from chronovisor.clock.arbiter import NtpEvidence, Owner, Policy, PtpEvidence, Record, decide
from chronovisor.clock.plan import (
    Action,
    HoldDaemon,
    Observed,
    RestartDaemon,
    StartDaemon,
    StopDaemon,
    Wanted,
    WantedDaemon,
    plan,
)
from chronovisor.worlds import WorldSpec

HARDWARE = {"ptp4l": False, "phc2sys": True, "chronyd": True}
"""Who may set the system clock with hardware stamps, each in its own turn."""


def daemon(name: str, *, steers: bool) -> WantedDaemon:
    """Return a daemon whose generation says whether it steers."""
    spec = WorldSpec(name, (name,), generation="steers" if steers else "measures")
    follows = "ptp4l" if name == "phc2sys" else None
    return WantedDaemon(spec, Path(f"/{name}.conf"), "", {}, steers=steers, follows=follows)


def wanted(owner: Owner, *, hardware: bool) -> Wanted:
    """Return what runs under an owner."""
    ptp = owner is Owner.PTP
    daemons = [daemon("ptp4l", steers=ptp and not hardware)]
    if hardware and ptp:
        daemons.append(daemon("phc2sys", steers=True))
    daemons.append(daemon("chronyd", steers=owner is Owner.NTP))
    return Wanted(tuple(daemons))


@dataclass
class Worlds:
    """What runs (name to generation), and what a supervisor would start again by itself."""

    locked: bool
    running: dict[str, str] = field(default_factory=dict)
    meant: dict[str, str] = field(default_factory=dict)

    def writers(self) -> set[Owner]:
        """Return whose daemons may set the clock now."""
        steering = {name for name, generation in self.running.items() if generation == "steers"}
        assert len(steering) <= 1, f"two writers: {steering}"
        return {Owner.NTP if name == "chronyd" else Owner.PTP for name in steering}

    def steps(self, action: Action) -> list[tuple[str, str, str]]:
        """Return the steps of an action, between which all may be cut off."""
        match action:
            case StopDaemon(name) | HoldDaemon(name):
                return [("mean", name, ""), ("end", name, "")]
            case StartDaemon(spec) | RestartDaemon(spec):
                name, generation = spec.name, spec.generation
                return [("mean", name, generation), ("end", name, ""), ("start", name, generation)]
        return []

    def do(self, step: tuple[str, str, str]) -> None:
        """Do one step."""
        kind, name, generation = step
        if kind == "mean":
            self.meant[name] = generation
        elif kind == "end":
            self.running.pop(name, None)
        else:
            self.start(name, generation)

    def start(self, name: str, generation: str) -> None:
        """Start a process; the lock holds back what may write while another does."""
        if generation and not (self.locked and generation == "steers" and self.writers()):
            self.running[name] = generation

    def adopt(self) -> None:
        """Do what a restarted supervisor does: start what was meant to run and does not."""
        for name, generation in self.meant.items():
            if name not in self.running:
                self.start(name, generation)

    def observed(self, *, calibrated: bool = False) -> Observed:
        """Return what the plane sees."""
        known = {
            name: f"{now}, then {meant}"
            if (now := self.running.get(name, meant)) != meant
            else meant
            for name, meant in self.meant.items()
            if meant or name in self.running
        }
        files = {Path(f"/{name}.conf"): "" for name in HARDWARE}
        return Observed(known, files, {}, frozenset(), calibrated=calibrated)


MOMENT = st.tuples(
    st.booleans(),  # PTP has the time
    st.sampled_from(["good", "silent", "lies"]),
    st.floats(0.5, 40),  # seconds since the moment before
    st.integers(0, 12),  # steps done before visord dies; 12 are more than there ever are
    st.booleans(),  # the record is lost with it
    st.sampled_from(["", "ptp4l", "phc2sys", "chronyd"]),  # a daemon dies by itself
)
NTP = {
    "good": NtpEvidence(True, "followed"),
    "silent": NtpEvidence(False, "silent"),
    "lies": NtpEvidence(True, "followed", 10.0),
}
Moment = tuple[bool, str, float, int, bool, str]


def live_through(moments: list[Moment], *, hardware: bool, locked: bool, late: bool) -> None:
    worlds, record, now_s, last_s = Worlds(locked), Record(), 1000.0, None
    seen = worlds.observed()
    policy = Policy(falls_back=True)
    for synchronized, ntp, seconds, steps_done, forgets, dies in moments:
        now_s += seconds
        last_s = now_s if synchronized else last_s
        record = Record() if forgets else record
        worlds.running.pop(dies, None)
        worlds.adopt()
        writers = worlds.writers()
        ptp = PtpEvidence(synchronized, last_s, "seen")
        decision, record = decide(policy, ptp, NTP[ntp], writers, record, now_s)
        observed = seen if late else worlds.observed(calibrated=synchronized)
        seen = worlds.observed(calibrated=synchronized)
        actions = plan(wanted(decision.owner, hardware=hardware), observed)
        steps = [step for action in actions for step in worlds.steps(action)]
        for step in steps[:steps_done]:
            worlds.do(step)
            worlds.writers()  # asserts
        if steps_done >= len(steps) and not late:
            owner = decision.owner
            waits = owner is Owner.PTP and hardware and "phc2sys" not in worlds.running
            assert not waits or not synchronized or "start ptp4l" in map(str, actions)
            nobody = waits or owner is Owner.NOBODY
            assert worlds.writers() == (set() if nobody else {owner})


@settings(max_examples=150, deadline=None)
@given(st.lists(MOMENT, max_size=25), st.booleans())
def test_a_visord_that_dies_anywhere_leaves_one_writer(
    moments: list[Moment], hardware: bool
) -> None:
    live_through(moments, hardware=hardware, locked=False, late=False)


@settings(max_examples=150, deadline=None)
@given(st.lists(MOMENT, max_size=25), st.booleans())
def test_the_lock_holds_where_the_plan_sees_yesterday(
    moments: list[Moment], hardware: bool
) -> None:
    live_through(moments, hardware=hardware, locked=True, late=True)
