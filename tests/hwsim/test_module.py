"""The simulation itself: its clocks, stamps, delays and faults are what they are said to be.

Stamps are taken by a plain socket (stamps.py), so nothing of linuxptp is in between.
"""

import contextlib
from pathlib import Path

import pytest

from hwsim import truth
from hwsim.conftest import MakeNamespace, Simulate
from hwsim.devices import Namespace, Nic, Port, run
from hwsim.stamps import Stamped, exchange

FAR_NS = 1000 * 10**9


def cabled(
    simulate: Simulate, namespace: MakeNamespace, *nics: Nic
) -> tuple[Port, Namespace, Port, Namespace]:
    """Return two ports, each in a namespace of its own, that can talk."""
    a, b = simulate(*nics)
    left, right = namespace(), namespace()
    left.take(a, "10.0.0.1/24")
    right.take(b, "10.0.0.2/24")
    return a, left, b, right


def test_each_clock_has_a_rate_of_its_own(simulate: Simulate) -> None:
    a, b = simulate(Nic(error_ppb=15_000), Nic(error_ppb=-22_000))
    assert truth.rate_ppb(a.clock) == pytest.approx(15_000, abs=1)
    assert truth.rate_ppb(b.clock) == pytest.approx(-22_000, abs=1)
    b.set_error_ppb(100)
    assert truth.rate_ppb(b.clock) == pytest.approx(100, abs=1)
    run("phc_ctl", f"/dev/{b.clock}", "--", "freq", "-100")
    assert truth.rate_ppb(b.clock) == pytest.approx(0, abs=1)


def test_both_ways_to_the_truth_agree(simulate: Simulate) -> None:
    a, b = simulate(Nic(), Nic())
    truth.step(b.clock, FAR_NS)
    for clock, reference in ((b.clock, a.clock), (a.clock, "realtime")):
        exact = truth.exact(clock, reference)
        read = truth.read(clock, reference)
        assert abs(exact - read.offset_ns) <= read.error_ns
        assert read.error_ns < 100_000
    assert truth.exact(b.clock, a.clock) == pytest.approx(FAR_NS, abs=10**7)


@pytest.mark.parametrize("there_ns", [0, 3_000, 700_000])
@pytest.mark.parametrize("back_ns", [0, 50_000])
def test_stamps_show_the_path_delay_of_each_direction(
    simulate: Simulate, namespace: MakeNamespace, there_ns: int, back_ns: int
) -> None:
    a, left, b, right = cabled(simulate, namespace, Nic(), Nic())
    a.do(delay_ns=there_ns)
    b.do(delay_ns=back_ns)
    apart_ns = truth.exact(b.clock, a.clock)
    for stamped in exchange(left, a, right, b, count=5):
        assert stamped.delay_ns(apart_ns) == pytest.approx(there_ns, abs=2)
    for stamped in exchange(right, b, left, a, count=5):
        assert stamped.delay_ns(-apart_ns) == pytest.approx(back_ns, abs=2)


def test_each_stamp_is_of_the_clock_of_its_own_end(
    simulate: Simulate, namespace: MakeNamespace
) -> None:
    # Where both share one place, they are equal, and a servo sees clocks agree that never met.
    a, left, b, right = cabled(simulate, namespace, Nic(), Nic())
    truth.step(b.clock, FAR_NS)
    for stamped in exchange(left, a, right, b, count=5):
        assert stamped.sent_ns is not None
        assert stamped.received_ns is not None
        assert stamped.received_ns - stamped.sent_ns == pytest.approx(FAR_NS, abs=10**8)


def test_delays_vary_within_what_was_asked(simulate: Simulate, namespace: MakeNamespace) -> None:
    a, left, b, right = cabled(simulate, namespace, Nic(), Nic())
    a.do(delay_ns=10_000, delay_variation_ns=5_000)
    apart_ns = truth.exact(b.clock, a.clock)
    delays = [s.delay_ns(apart_ns) for s in exchange(left, a, right, b, count=50)]
    assert all(10_000 - 2 <= delay <= 15_000 + 2 for delay in delays)
    assert max(delays) - min(delays) > 2_000


def test_every_nth_transmit_stamp_is_lost(simulate: Simulate, namespace: MakeNamespace) -> None:
    a, left, b, right = cabled(simulate, namespace, Nic(), Nic())
    a.do(tx_stamp_lost_every=3)
    found = exchange(left, a, right, b, count=12)
    assert [s.sent_ns is None for s in found].count(True) == 4
    assert all(s.received_ns for s in found)
    b.do(rx_stamp_lost_every=1)  # another number would count ARP and IPv6's own packets, too
    assert not any(s.received_ns for s in exchange(left, a, right, b, count=3))


def test_a_late_transmit_stamp_is_right_all_the_same(
    simulate: Simulate, namespace: MakeNamespace
) -> None:
    a, left, b, right = cabled(simulate, namespace, Nic(), Nic())
    a.do(tx_stamp_late_ns=30_000_000)
    apart_ns = truth.exact(b.clock, a.clock)
    for stamped in exchange(left, a, right, b, count=3):
        assert stamped.waited_s >= 0.03
        assert stamped.delay_ns(apart_ns) == pytest.approx(0, abs=2)


def test_ports_that_share_a_clock_and_one_that_has_none(simulate: Simulate) -> None:
    a, _, c, d = simulate(Nic(phc=0), Nic(), Nic(phc=0), Nic(phc=None, driver="tg3"))
    assert a.clock == c.clock
    assert f"PTP Hardware Clock: {a.clock.removeprefix('ptp')}" in run("ethtool", "-T", c.name)
    said = run("ethtool", "-T", d.name)
    assert "PTP Hardware Clock: none" in said
    assert "hardware-transmit" not in said


def test_a_card_is_in_sysfs_and_ethtool_what_it_claims_to_be(simulate: Simulate) -> None:
    pf = Nic(driver="ice", vendor=0x8086, device=0x1593, subsystem_device=0x2, slot=5, phc=0)
    vf = Nic(driver="iavf", device=0x1889, slot=5, function=1, vf_of=0, phc=None)
    a, b = simulate(pf, vf)
    ids = ("vendor", "device", "subsystem_vendor", "subsystem_device", "class")
    device = Path(f"/sys/class/net/{a.name}/device")
    assert [(device / name).read_text().strip() for name in ids] == [
        *("0x8086", "0x1593", "0x8086", "0x0002", "0x020000")
    ]
    assert device.resolve().name == a.pci_address == "0001:00:05.0"
    assert (device / "driver").resolve().name == "ice"
    assert (device / "virtfn0").resolve() == b.pci.resolve()
    assert (b.pci / "physfn").resolve() == a.pci.resolve()
    assert (device / "sriov_numvfs").read_text().strip() == "1"
    said = run("ethtool", "-i", a.name)
    assert "driver: ice" in said
    assert f"bus-info: {a.pci_address}" in said


def test_a_pulled_cable_takes_the_carrier_of_both_ends(
    simulate: Simulate, namespace: MakeNamespace
) -> None:
    a, left, b, right = cabled(simulate, namespace, Nic(), Nic())

    def carriers() -> list[bool]:
        return [
            "LOWER_UP" in run("ip", "-n", ns.name, "link", "show", port.name)
            for ns, port in ((left, a), (right, b))
        ]

    assert carriers() == [True, True]
    b.do(cable=False)
    assert carriers() == [False, False]
    a.do(cable=True)
    assert carriers() == [True, True]


def test_an_unplugged_card_comes_back_with_its_name_and_address(simulate: Simulate) -> None:
    a, _ = simulate(Nic(), Nic())
    place = Path(f"/sys/class/net/{a.name}")
    address = (place / "address").read_text()
    a.unplug()
    assert not place.exists()
    assert not a.pci.exists()
    with contextlib.suppress(OSError):
        assert not Path("/dev", a.clock).exists()
    a.replug()
    assert (place / "address").read_text() == address
    assert Path("/dev", a.clock).exists()


def test_a_card_returns_from_a_namespace_that_ends(
    simulate: Simulate, namespace: MakeNamespace
) -> None:
    a, _ = simulate(Nic(), Nic())
    inside = namespace()
    inside.take(a)
    assert not Path(f"/sys/class/net/{a.name}").exists()
    run("ip", "netns", "delete", inside.name)
    run("ip", "netns", "add", inside.name)  # the fixture removes it
    Stamped.until(lambda: Path(f"/sys/class/net/{a.name}").exists())
