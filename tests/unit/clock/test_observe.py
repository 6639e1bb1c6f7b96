"""What is noted of a ptp4l's answers, and what is forgotten."""

import pytest

from chronovisor.clock.linuxptp.reading import measurement
from chronovisor.clock.observe import SAMPLES_KEPT, Seen
from chronovisor.clock.ptp import ClockIdentity, PortState
from chronovisor.clock.ptp.datasets import TimeStatusNp
from chronovisor.clock.reading import Measurement
from chronovisor.clock.report import offset
from chronovisor.clock.state import Sample

GM1, GM2 = (ClockIdentity(bytes.fromhex(f"02c500fffe00000{number}")) for number in (1, 2))


def time_status(ingress_ns: int, offset_ns: int = 0, gm: ClockIdentity | None = GM1) -> Measurement:
    """Return what is made of a time status of ptp4l."""
    told = TimeStatusNp(offset_ns, ingress_ns, 0.0, 0.0, 0, 0.0, gm is not None, gm or GM2)
    return measurement(told)


def following(*offsets_ns: int) -> Seen:
    """Return what is seen once GM1 is chosen and these offsets from it were measured."""
    seen = Seen(grandmaster=str(GM1))
    for number, offset_ns in enumerate(offsets_ns, 1):
        assert seen.take_measurement(time_status(number, offset_ns), float(number))
    return seen


def test_the_first_answer_of_an_unknown_master_gives_no_offset() -> None:
    seen = Seen()
    assert not seen.take_measurement(time_status(7, 100), 1.0)
    assert seen.grandmaster == str(GM1)
    assert not seen.take_measurement(time_status(7, 100), 1.1), "it may be the old one's"
    assert seen.take_measurement(time_status(8, 90), 2.0)
    assert list(seen.samples) == [Sample(2.0, 90.0)]


def test_the_first_offset_of_a_master_known_from_before_counts() -> None:
    assert list(following(100).samples) == [Sample(1.0, 100.0)]


def test_another_grandmaster_clears_the_offsets() -> None:
    seen = following(1, 2, 3)
    assert not seen.take_measurement(time_status(3, 3, GM2), 4.0)
    assert (seen.grandmaster, list(seen.samples)) == (str(GM2), [])
    assert not seen.take_measurement(time_status(3, 3, GM2), 5.0)
    assert seen.take_measurement(time_status(4, 9, GM2), 6.0)


def test_no_grandmaster_gives_no_offsets() -> None:
    seen = following(1, 2)
    for ingress_ns in (2, 3, 4):
        assert not seen.take_measurement(time_status(ingress_ns, 5, None), 3.0)
    assert (seen.grandmaster, list(seen.samples)) == (None, [])


def test_an_offset_told_twice_counts_once() -> None:
    seen = following(5)
    assert not seen.take_measurement(time_status(1, 5), 1.5)
    assert not seen.take_measurement(time_status(0, 5), 1.6), "0 is no time of receipt"
    assert len(seen.samples) == 1


def test_only_the_newest_offsets_are_kept() -> None:
    seen = following(*range(1, SAMPLES_KEPT + 10))
    assert len(seen.samples) == SAMPLES_KEPT
    assert seen.samples[-1].offset_ns == SAMPLES_KEPT + 9


def test_changes_of_a_ports_state_are_counted() -> None:
    seen = Seen()
    states = (PortState.LISTENING, PortState.LISTENING, PortState.UNCALIBRATED, PortState.SLAVE)
    assert [seen.take_port(1, state) for state in states] == [True, False, True, True]
    assert seen.take_port(2, PortState.FAULTY)
    assert (seen.transitions[1], seen.transitions[2]) == (2, 0)
    assert seen.port_states == {1: PortState.SLAVE, 2: PortState.FAULTY}


def test_a_grandmaster_counts_while_a_port_follows_it() -> None:
    seen = following(1)
    assert seen.master is None
    seen.take_port(1, PortState.UNCALIBRATED)
    assert seen.master == str(GM1)
    seen.take_port(1, PortState.LISTENING)
    assert (seen.master, seen.grandmaster) == (None, str(GM1))


def test_a_lost_ptp4l_leaves_nothing_but_its_counters() -> None:
    seen = following(1, 2)
    seen.take_port(1, PortState.LISTENING)
    seen.take_port(1, PortState.SLAVE)
    seen.lose("it is gone")
    assert (seen.silence, seen.grandmaster, list(seen.samples)) == ("it is gone", None, [])
    assert (seen.port_states, seen.transitions[1]) == ({}, 1)


@pytest.mark.parametrize(
    ("offsets", "expected"),
    [
        # last, median, 95 % of sizes, worst
        ([5.0], (5.0, 5.0, 5.0, 5.0)),
        ([-10.0, 10.0], (10.0, 0.0, 10.0, 10.0)),
        ([*map(float, range(1, 22))], (21.0, 11.0, 20.0, 21.0)),
        ([0.0] * 99 + [-1000.0], (-1000.0, 0.0, 0.0, 1000.0)),
    ],
)
def test_figures_of_offsets(
    offsets: list[float], expected: tuple[float, float, float, float]
) -> None:
    samples = tuple(Sample(float(number), value) for number, value in enumerate(offsets))
    found = offset(samples, len(offsets) - 1 + 0.25)
    assert (found.last_ns, found.median_ns, found.p95_abs_ns, found.max_abs_ns) == expected
    assert (found.samples, found.span_s, found.age_s) == (len(offsets), len(offsets) - 1.0, 0.25)


def test_an_offset_of_this_moment_is_not_younger_than_that() -> None:
    assert offset((Sample(10.0, 1.0),), 9.9).age_s == 0.0


def test_offset_zero_is_none_before_a_path_delay_is_known() -> None:
    seen = Seen(grandmaster=str(GM1))
    assert not seen.take_measurement(time_status(1, 0), 1.0), "nothing is computed from Sync yet"
    assert seen.take_measurement(time_status(2, -3), 2.0)


def test_a_change_of_grandmaster_makes_the_reading_outdated() -> None:
    seen = following(1)
    assert not seen.outdated
    seen.take_measurement(time_status(2, 2, GM2), 2.0)
    assert seen.outdated
