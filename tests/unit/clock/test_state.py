"""The clock's state as a table: what was seen, what is remembered, what is said."""

from dataclasses import replace

import pytest

from chronovisor.clock.carried import Carried
from chronovisor.clock.daemon_seen import Daemon
from chronovisor.clock.ptp import PortState
from chronovisor.clock.state import (
    HOLDOVER_LIMIT_S,
    ClockState,
    Evidence,
    Memory,
    PortSeen,
    Sample,
    fresh_for_s,
    judge,
    remember,
    typical_change_ns,
)

NOW_S = 10_000.0
GM = "aabbcc.fffe.000001"
STEADY = tuple(Sample(NOW_S - 1.0 + i / 8, 100.0 + i) for i in range(8))
MONITORING = Evidence(
    ports=(PortSeen(1, "eth0", PortState.UNCALIBRATED),),
    grandmaster=GM,
    samples=STEADY,
    sync_interval_s=0.125,
)
STEERING = replace(MONITORING, disciplined=True, ports=(PortSeen(1, "eth0", PortState.SLAVE),))
CARRIED = replace(
    STEERING, hardware=True, carried=Carried(offset_ns=-700.0, error_ns=200.0, unknown="")
)
DEAD_PHC2SYS = "phc2sys is backoff: killed by signal 9"
LISTENING = replace(
    MONITORING,
    grandmaster=None,
    samples=(),
    ports=(PortSeen(1, "eth0", PortState.LISTENING),),
)
NOTHING = Memory()
RECENT = Memory(GM, NOW_S - 3)
DOUBTED = replace(STEERING, doubt="ptpd counts in the other timescale", samples=())


def jumped(far: int, *, by_ns: float = 5e6) -> tuple[Sample, ...]:
    """Return a minute of good offsets, the newest of which are far off."""
    good = (Sample(NOW_S - 9, 100.0),) * (64 - far)
    return good + (Sample(NOW_S - 0.1, by_ns),) * far


def spread(step_ns: float) -> tuple[Sample, ...]:
    return tuple(Sample(NOW_S - 0.1, step_ns * (-1) ** i) for i in range(8))


@pytest.mark.parametrize(
    ("evidence", "memory", "state", "words"),
    [
        pytest.param(Evidence(enabled=False), NOTHING, "freerunning", "disabled", id="disabled"),
        pytest.param(
            replace(LISTENING, missing_devices=("eth9",)), RECENT, "faulty", "eth9", id="no-device"
        ),
        pytest.param(
            replace(LISTENING, daemon=Daemon.FAILED, daemon_reason="ptp4l gave up"),
            RECENT,
            "faulty",
            "ptp4l gave up",
            id="daemon-failed",
        ),
        pytest.param(DOUBTED, NOTHING, "acquiring", "the other timescale", id="doubted"),
        pytest.param(DOUBTED, RECENT, "holdover", "the other timescale", id="doubted-later"),
        pytest.param(
            replace(DOUBTED, samples=STEADY), NOTHING, "acquiring", "other", id="doubted-offsets"
        ),
        pytest.param(
            replace(LISTENING, daemon=Daemon.WAITING, daemon_reason="next attempt in 2 s"),
            NOTHING,
            "unsynchronized",
            "next attempt",
            id="daemon-waits",
        ),
        pytest.param(
            replace(LISTENING, daemon=Daemon.WAITING, daemon_reason="ptp4l was killed"),
            RECENT,
            "holdover",
            "ptp4l was killed; last offset from aabbcc.fffe.000001 3 s ago",
            id="daemon-waits-after-lock",
        ),
        pytest.param(
            replace(LISTENING, silence="ptp4l is silent"),
            NOTHING,
            "unsynchronized",
            "ptp4l is silent",
            id="no-answer",
        ),
        pytest.param(LISTENING, NOTHING, "unsynchronized", "domain 0 arrives on eth0", id="no-gm"),
        pytest.param(
            replace(LISTENING, domain=7, other_domains=("domain 0 from 10.0.0.1",)),
            NOTHING,
            "unsynchronized",
            "domain 7 arrives on eth0; there are some of domain 0 from 10.0.0.1",
            id="wrong-domain",
        ),
        pytest.param(LISTENING, RECENT, "holdover", "3 s ago", id="gm-lost"),
        pytest.param(
            LISTENING,
            Memory(GM, NOW_S - HOLDOVER_LIMIT_S - 1),
            "unsynchronized",
            "no Announce",
            id="held-too-long",
        ),
        pytest.param(
            replace(LISTENING, ports=(PortSeen(1, "eth0", PortState.FAULTY, link_up=False),)),
            NOTHING,
            "faulty",
            "eth0) is FAULTY: its link is down",
            id="link-down",
        ),
        pytest.param(
            replace(
                LISTENING,
                ports=(PortSeen(1, "eth0", PortState.LISTENING, link_up=False),),
                not_chosen=("10.0.0.1 announces itself",),
            ),
            RECENT,
            "holdover",
            "eth0: link is down; last offset",
            id="link-down-and-its-port-does-not-know-yet",
        ),
        pytest.param(
            replace(
                LISTENING,
                ports=(*LISTENING.ports, PortSeen(2, "eth1", PortState.FAULTY, link_up=False)),
            ),
            NOTHING,
            "unsynchronized",
            "arrives on eth0, eth1; eth1: link is down",
            id="one-link-of-two-is-down",
        ),
        pytest.param(
            replace(LISTENING, ports=(PortSeen(1, "eth0", PortState.FAULTY),)),
            RECENT,
            "holdover",
            "FAULTY",
            id="port-fault-after-lock",
        ),
        pytest.param(
            replace(MONITORING, samples=()), NOTHING, "acquiring", "no offset", id="gm-chosen"
        ),
        pytest.param(
            replace(MONITORING, samples=()), RECENT, "holdover", "no offset", id="same-gm-back"
        ),
        pytest.param(
            replace(MONITORING, samples=()),
            Memory("another", NOW_S - 1),
            "acquiring",
            "no offset",
            id="failover",
        ),
        pytest.param(
            replace(MONITORING, samples=STEADY[:3]), NOTHING, "acquiring", "3 of 4", id="too-few"
        ),
        pytest.param(
            replace(MONITORING, samples=STEADY[-1:]), RECENT, "tracking", GM, id="restart-of-visord"
        ),
        pytest.param(
            replace(MONITORING, samples=(Sample(NOW_S - 5, 1.0),) * 8),
            NOTHING,
            "acquiring",
            "no Sync for 5 s",
            id="stale",
        ),
        pytest.param(
            replace(MONITORING, samples=(Sample(NOW_S - 5, 1.0),) * 8),
            RECENT,
            "holdover",
            "no Sync for 5 s",
            id="stale-after-lock",
        ),
        pytest.param(
            replace(MONITORING, samples=spread(1e6)), NOTHING, "acquiring", "move", id="unsteady"
        ),
        pytest.param(MONITORING, NOTHING, "tracking", "monitored only", id="monitor"),
        pytest.param(STEERING, NOTHING, "locked", "104 ns", id="locked"),
        pytest.param(
            replace(STEERING, ports=MONITORING.ports), NOTHING, "tracking", "", id="not-yet-slave"
        ),
        pytest.param(
            replace(STEERING, samples=tuple(Sample(NOW_S, 5e6) for _ in range(8))),
            NOTHING,
            "tracking",
            "locked within 100000 ns",
            id="steady-but-far",
        ),
        pytest.param(CARRIED, NOTHING, "locked", "104 ns", id="system-clock-follows-too"),
        pytest.param(
            replace(CARRIED, carried=Carried(offset_ns=2e6, error_ns=100.0, unknown="")),
            NOTHING,
            "tracking",
            "the system clock is 2000000 ns from the NIC's clock",
            id="system-clock-is-elsewhere",
        ),
        pytest.param(
            replace(CARRIED, carried=Carried(offset_ns=25_000.0, error_ns=20_000.0, unknown="")),
            NOTHING,
            "locked",
            "",
            id="read-too-badly-to-say-it-is-elsewhere",
        ),
        pytest.param(
            replace(CARRIED, carried=Carried(unknown="cannot open /dev/ptp0")),
            NOTHING,
            "tracking",
            "not known: cannot open /dev/ptp0",
            id="system-clock-cannot-be-compared",
        ),
        pytest.param(
            replace(CARRIED, carried=Carried(Daemon.WAITING, DEAD_PHC2SYS, 100.0, 10.0, "")),
            NOTHING,
            "tracking",
            DEAD_PHC2SYS,
            id="nobody-carries-the-system-clock",
        ),
        pytest.param(
            replace(STEERING, samples=jumped(1)), NOTHING, "locked", "", id="one-spike-stays-locked"
        ),
        pytest.param(
            replace(STEERING, samples=jumped(2)),
            NOTHING,
            "tracking",
            "the newest 5000000 ns",
            id="two-offsets-after-a-jump",
        ),
        pytest.param(
            replace(STEERING, samples=jumped(9, by_ns=2e5)),
            NOTHING,
            "tracking",
            "locked within 100000 ns",
            id="a-little-off-for-half-of-the-newest",
        ),
        pytest.param(
            replace(
                LISTENING,
                ports=(PortSeen(1, "eth0", PortState.FAULTY, link_up=True, stamps_lost=3),),
            ),
            RECENT,
            "holdover",
            "eth0) is FAULTY: the driver has lost transmit stamps (3); last offset",
            id="stamps-lost",
        ),
        pytest.param(
            replace(STEERING, hardware=True, samples=spread(4e3)),
            NOTHING,
            "acquiring",
            "move",
            id="hardware-is-held-to-more",
        ),
    ],
)
def test_state(evidence: Evidence, memory: Memory, state: str, words: str) -> None:
    verdict = judge(evidence, memory, NOW_S)
    assert (verdict.state.value, words in verdict.reason) == (state, True), verdict


def test_one_spike_does_not_unsettle_a_steady_clock() -> None:
    samples = (*STEADY[:4], Sample(NOW_S, 5e6), *STEADY[4:])
    assert judge(replace(MONITORING, samples=samples), NOTHING, NOW_S).state == "tracking"


def test_memory_is_of_the_last_synchronized_moment_only() -> None:
    known = remember(MONITORING, NOTHING, judge(MONITORING, NOTHING, NOW_S), NOW_S)
    assert known == Memory(GM, NOW_S)
    lost = judge(LISTENING, known, NOW_S + 9)
    assert remember(LISTENING, known, lost, NOW_S + 9) == known


def test_monitored_clock_is_never_locked() -> None:
    slave = replace(MONITORING, ports=STEERING.ports)
    assert judge(slave, NOTHING, NOW_S).state is ClockState.TRACKING


@pytest.mark.parametrize(("interval_s", "fresh_s"), [(0.0625, 1.0), (1.0, 4.0), (2.0, 8.0)])
def test_offsets_stay_fresh_for_some_intervals(interval_s: float, fresh_s: float) -> None:
    assert fresh_for_s(interval_s) == fresh_s


@pytest.mark.parametrize(
    ("offsets", "change_ns"), [([], 0.0), ([5.0], 0.0), ([0.0, 10.0, 0.0], 10.0)]
)
def test_typical_change(offsets: list[float], change_ns: float) -> None:
    assert typical_change_ns(offsets) == change_ns
