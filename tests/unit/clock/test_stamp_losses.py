"""Counters of lost transmit stamps: which count, and since when."""

import struct

from hypothesis import given
from hypothesis import strategies as st

from chronovisor.clock.devices.stamp_losses import READ_S, StampLosses, lost_stamps, total


def names(*given: str) -> bytes:
    return b"".join(name.encode().ljust(32, b"\0") for name in given)


def test_only_lost_stamps_count() -> None:
    strings = names("rx_packets", "tx_hwtstamp_timeouts", "tx_hwtstamp_skipped")
    assert total(strings, struct.pack("=3Q", 5, 2, 1)) == 3
    assert total(names("rx_packets"), struct.pack("=Q", 5)) is None


@given(st.binary(max_size=200), st.binary(max_size=64))
def test_any_answer_is_a_number_or_none(strings: bytes, values: bytes) -> None:
    whole = values[: len(values) // 8 * 8]
    assert total(strings, whole) is None or total(strings, whole) >= 0  # type: ignore[operator]


def test_a_device_without_counters_has_none() -> None:
    assert lost_stamps("lo") is None
    assert lost_stamps("no-such-dev") is None


def test_losses_count_from_when_the_port_was_well() -> None:
    now_s, count = [0.0], [7]
    losses = StampLosses(lambda: now_s[0], lambda _: count[0])
    assert losses.see("eth0", faulty=False) == 0
    count[0] = 9
    assert losses.see("eth0", faulty=True) == 2
    count[0] = 10
    assert losses.see("eth0", faulty=True) == 2  # not read again so soon
    now_s[0] += READ_S
    assert losses.see("eth0", faulty=True) == 3
    assert losses.see("eth0", faulty=False) == 0
    assert losses.see("eth0", faulty=True) == 0  # the old losses are no cause of the new fault


def test_without_a_number_from_before_nothing_is_said() -> None:
    count: list[int | None] = [7]
    losses = StampLosses(lambda: 0.0, lambda _: count[0])
    assert losses.see("eth0", faulty=True) == 0
    count[0] = None
    assert StampLosses(lambda: 0.0, lambda _: count[0]).see("eth0", faulty=False) == 0
    fewer = StampLosses(lambda: 0.0, lambda _: count[0])
    count[0] = 5
    fewer.see("eth0", faulty=False)
    count[0] = 1  # a replugged NIC counts anew
    assert fewer.see("eth0", faulty=True) == 0
