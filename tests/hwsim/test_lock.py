"""Plain linuxptp locks to a grandmaster on simulated cards, as the truth says."""

from pathlib import Path

import pytest

from hwsim import truth
from hwsim.conftest import MakeNamespace, Simulate
from hwsim.devices import Namespace, Nic, Port
from hwsim.ptp import ETHERNET_P2P, UDP6_E2E, UDP_E2E, grandmaster, phc2sys, ptp4l

LIMIT_NS = 1_000
"""Measured: within 70 ns. Stamps are exact, so what is left is the servo's work."""


def far_apart(
    simulate: Simulate, namespace: MakeNamespace
) -> tuple[Namespace, Namespace, Port, Port]:
    """Return a grandmaster's port and a host's whose clocks have nothing in common yet."""
    master, host = simulate(Nic(), Nic(error_ppb=15_000))
    left, right = namespace(), namespace()
    left.take(master, "10.0.0.1/24", "fd00::1/64")
    right.take(host, "10.0.0.2/24", "fd00::2/64")
    for port in (master, host):
        port.do(delay_ns=2_000)
    truth.step(master.clock, truth.UTC_OFFSET_NS)
    assert abs(truth.exact(host.clock, master.clock)) > 10**10
    return left, right, master, host


@pytest.mark.parametrize(
    "options", [UDP_E2E, ETHERNET_P2P, UDP6_E2E], ids=["UDPv4 E2E", "L2 P2P", "UDPv6 E2E"]
)
def test_a_clock_locks_to_its_grandmaster(
    simulate: Simulate, namespace: MakeNamespace, tmp_path: Path, options: tuple[str, ...]
) -> None:
    left, right, master, host = far_apart(simulate, namespace)
    grandmaster(left, master, tmp_path, *options)
    ptp4l(right, [host], tmp_path, "-s", *options, name="host")
    taken_s = truth.until_within(LIMIT_NS, host.clock, master.clock, deadline_s=30)
    worst_ns = truth.worst(host.clock, master.clock)
    print(f"locked after {taken_s:.1f} s, then within {worst_ns} ns")
    assert worst_ns <= LIMIT_NS
    assert truth.rate_ppb(host.clock, master.clock) == pytest.approx(0, abs=1_000)


def test_asymmetry_of_the_path_is_what_ptp_cannot_see(
    simulate: Simulate, namespace: MakeNamespace, tmp_path: Path
) -> None:
    left, right, master, host = far_apart(simulate, namespace)
    master.do(delay_ns=102_000)  # 100 us longer than the way back: half of it goes into the clock
    grandmaster(left, master, tmp_path, *UDP_E2E)
    log = ptp4l(right, [host], tmp_path, "-s", *UDP_E2E, name="host")
    truth.until_within(LIMIT_NS, host.clock, master.clock, -50_000)
    assert "master offset" in log.read_text() or "rms" in log.read_text()


def test_phc2sys_brings_the_system_clock_along(
    simulate: Simulate, namespace: MakeNamespace, tmp_path: Path
) -> None:
    left, right, master, host = far_apart(simulate, namespace)
    truth.step(master.clock, 5 * 10**9)
    grandmaster(left, master, tmp_path, *UDP_E2E)
    ptp4l(right, [host], tmp_path, "-s", *UDP_E2E, name="host")
    phc2sys(right, tmp_path, "-s", host.name, "-c", "CLOCK_REALTIME", "-w", "-R", "8", of="host")
    truth.until_within(LIMIT_NS, "realtime", host.clock, -truth.UTC_OFFSET_NS)
    to_phc_ns = truth.worst("realtime", host.clock, -truth.UTC_OFFSET_NS)
    to_master_ns = truth.worst("realtime", master.clock, -truth.UTC_OFFSET_NS)
    print(f"system clock within {to_phc_ns} ns of the PHC, {to_master_ns} ns of the grandmaster")
    assert to_master_ns <= 2 * LIMIT_NS


def test_without_transmit_stamps_nothing_locks(
    simulate: Simulate, namespace: MakeNamespace, tmp_path: Path
) -> None:
    left, right, master, host = far_apart(simulate, namespace)
    host.do(tx_stamp_lost_every=1)
    grandmaster(left, master, tmp_path, *UDP_E2E)
    log = ptp4l(right, [host], tmp_path, "-s", *UDP_E2E, name="host")
    with pytest.raises(AssertionError, match="do not agree"):
        truth.until_within(LIMIT_NS, host.clock, master.clock, deadline_s=10)
    assert "timed out while polling for tx timestamp" in log.read_text()
