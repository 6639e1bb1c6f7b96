"""What a preflight's figures mean, as a table; PCI functions out of a tree like sysfs."""

import struct
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from chronovisor.clock.devices import pci
from chronovisor.clock.devices.inventory import Nic
from chronovisor.clock.devices.listing import shipped
from chronovisor.clock.preflight import hwtstamp, phc
from chronovisor.clock.preflight.frames import Neighbour
from chronovisor.clock.preflight.hwtstamp import Config
from chronovisor.clock.preflight.measure import LinkMode, Receive, Transmit, percentiles
from chronovisor.clock.preflight.phc import Capabilities, ReadCost
from chronovisor.clock.preflight.report import Figures, Verdict, report

GOOD = Figures(
    Nic("ens1", link_up=True, phc_index=0, hardware_stamps=True),
    Transmit(100, 100, 0, 0, 900.0, 2000.0, 3000.0),
    Receive(5.0, 40, 0, 0, {"SYNC": 40}, ("a by L2 in domain 0",), Neighbour("c", "p", "sw")),
    LinkMode(10_000, "full"),
    Capabilities(62_499_999, cross_time_stamping=False, adjusts_phase=False),
    -1200.0,
    (ReadCost("PTP_SYS_OFFSET_EXTENDED", 100, 800, 900, 5000),),
    "tx on, rx ptpv2-event",
    "tx off, rx none",
)


def test_all_well() -> None:
    found = report(GOOD, shipped())
    assert found.verdict is Verdict.OK
    assert {one.verdict for one in found.findings} == {Verdict.OK}
    assert found.options == {"tx_timestamp_timeout": 10}


def other(**parts: dict[str, Any]) -> Figures:
    return replace(GOOD, **{name: replace(getattr(GOOD, name), **to) for name, to in parts.items()})


@pytest.mark.parametrize(
    ("figures", "check", "verdict", "said"),
    [
        (
            other(transmit={"stamped": 97, "lost": 3}),
            "transmit", Verdict.FAILED, "3 of 100 event messages got no stamp",
        ),
        (
            other(transmit={"sent": 5, "stamped": 0, "lost": 5, "max_us": None}),
            "transmit", Verdict.FAILED, "none of 5 event messages got a stamp",
        ),
        (other(transmit={"outside": 100}), "phc", Verdict.FAILED, "100 of 140 stamps are not of"),
        (other(receive={"outside": 1}), "phc", Verdict.FAILED, "1 of 140 stamps are not of"),
        (
            other(receive={"stamped": 0}, transmit={"stamped": 0, "lost": 100, "max_us": None}),
            "phc", Verdict.NOT_SEEN, "no stamps to compare",
        ),
        (other(nic={"shares_phc_with": ("ens2",)}), "phc", Verdict.OK, "which ens2 shares"),
        (replace(GOOD, costs=()), "phc_read", Verdict.FAILED, "no way to compare"),
        (
            replace(GOOD, costs=(ReadCost("PTP_SYS_OFFSET", 100, 1, 50_000, 90_000),)),
            "phc_read", Verdict.WARNING, "cannot follow more closely",
        ),
        (
            other(capabilities={"max_frequency_ppb": 5}),
            "frequency", Verdict.WARNING, "by 5 ppb, -1200 in force; an oscillator may need",
        ),
        (
            other(receive={"stamped": 0}),
            "receive", Verdict.NOT_SEEN, "no event message came within 5 s",
        ),
        (other(receive={"unstamped": 2}), "receive", Verdict.FAILED, "2 of 42 event messages"),
        (other(nic={"link_up": False}), "link", Verdict.WARNING, "there is no carrier"),
        (other(link={"duplex": "half"}), "link", Verdict.WARNING, "10000 Mb/s half"),
        (other(link={"speed_mbps": None, "duplex": ""}), "link", Verdict.OK, "carrier"),
        (other(receive={"neighbour": None}), "neighbour", Verdict.NOT_SEEN, "no LLDP"),
        (other(receive={"sources": ()}), "ptp", Verdict.NOT_SEEN, "no PTP heard"),
    ],
)  # fmt: skip
def test_each_finding(figures: Figures, check: str, verdict: Verdict, said: str) -> None:
    found = report(figures, shipped())
    one = next(one for one in found.findings if one.check == check)
    assert one.verdict is verdict
    assert said in one.text
    expected = Verdict.OK if verdict is Verdict.NOT_SEEN else verdict
    order = list(Verdict)
    assert order.index(found.verdict) >= order.index(expected)


@pytest.mark.parametrize(
    ("worst_us", "nic", "timeout_ms"),
    [
        (100.0, {}, 10),
        (5000.0, {}, 10),
        (5001.0, {}, 11),
        (40_000.0, {}, 80),
        (100.0, {"driver": "ice"}, 50),
        (40_000.0, {"driver": "ice"}, 80),
    ],
)
def test_the_timeout_to_set(worst_us: float, nic: dict[str, Any], timeout_ms: int) -> None:
    found = report(other(transmit={"max_us": worst_us}, nic=nic), shipped())
    assert found.options == {"tx_timestamp_timeout": timeout_ms}


def test_nothing_mends_a_nic_without_stamps() -> None:
    nothing = {"stamped": 0, "lost": 5, "max_us": None}
    found = report(other(transmit=nothing, nic={"driver": "ice"}), shipped())
    assert found.options == {}


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([], (None, None, None)),
        ([5.0], (5.0, 5.0, 5.0)),
        ([float(n) for n in range(1, 101)], (50.5, 99.0, 100.0)),
        ([3.0, 1.0, 2.0], (2.0, 3.0, 3.0)),
    ],
)
def test_percentiles(values: list[float], expected: tuple[float | None, ...]) -> None:
    assert percentiles(values) == expected


def test_structures_have_the_sizes_of_the_kernels() -> None:
    # linux/ptp_clock.h, as `sizeof` tells on x86-64
    assert phc._GET_CAPS == 0x80503D01
    assert phc._SYS_OFFSET == 0x43403D05
    assert phc._SYS_OFFSET_PRECISE == 0xC0403D08
    assert phc._SYS_OFFSET_EXTENDED == 0xC4C03D09
    assert struct.calcsize("=3i") == 12


def test_stamping_to_turn_on() -> None:
    assert hwtstamp.wanted(("none", "all", "ptpv2-event")) == Config(0, 1, 12)
    assert hwtstamp.wanted(("none", "all")) == Config(0, 1, 1)
    assert str(Config(0, 1, 12)) == "tx on, rx ptpv2-event"
    assert not Config().on


PACKET = (
    "sk               RefCnt Type Proto  Iface R Rmem   User   Inode\n"
    "0000000000000000 3      3    0003   7     1 0      0      1\n"
    "0000000000000000 3      3    88f7   4     1 0      0      2\n"
)
UDP = "   sl  local_address rem_address   st\n  10: 00000000:{port} 00000000:0000 07 0 0\n"


@pytest.mark.parametrize(
    ("port", "index", "said"),
    [("013E", 7, ""), ("013E", 4, "listens for PTP on it"), ("013F", 7, "UDP 319")],
)
def test_who_speaks_ptp(port: str, index: int, said: str) -> None:
    found = hwtstamp.listens(PACKET, UDP.format(port=port), index)
    assert bool(found) == bool(said)
    assert said in found


@pytest.mark.parametrize("text", ["", "[0, 1", "[0, 1]", '{"a": 1}', '["a", 1, 1]', "null"])
def test_a_record_that_was_cut_off_puts_nothing_back(tmp_path: Path, text: str) -> None:
    record = tmp_path / "nosuch0.json"
    record.write_text(text)
    assert hwtstamp.put_back(tmp_path) == []
    assert not record.exists()


def test_functions_of_a_card_and_their_virtual_ones(tmp_path: Path) -> None:
    def made(address: str, **files: str) -> Path:
        place = tmp_path / address
        place.mkdir()
        for name, text in files.items():
            (place / name).write_text(f"{text}\n")
        return place

    ids = {"vendor": "0x8086", "device": "0x1593", "class": "0x020000"}
    subsystem = {"subsystem_vendor": "0x8086", "subsystem_device": "0x0002"}
    physical = made("0000:3b:00.1", **ids, **subsystem)
    virtual = made("0000:3b:11.3", vendor="0x8086", device="0x1889", **{"class": "0x020000"})
    made("0000:00:01.0", vendor="0x8086", device="0x0001", **{"class": "0x060400"})
    made("0000:00:02.0", vendor="nonsense", **{"class": "0x020000"})
    made("not-an-address", **ids)
    (virtual / "physfn").symlink_to("../0000:3b:00.1")
    (physical / "virtfn2").symlink_to("../0000:3b:11.3")
    (physical / "driver").symlink_to("../../drivers/ice")
    found = {one.address: one for one in pci.network_functions(tmp_path)}
    assert set(found) == {"0000:3b:00.1", "0000:3b:11.3", "0000:00:02.0"}
    one = found["0000:3b:00.1"]
    assert (one.identity, one.subsystem_device, one.driver) == ("8086:1593", "0002", "ice")
    assert (one.function, one.virtual_of) == (1, "")
    two = found["0000:3b:11.3"]
    assert (two.virtual_of, two.virtual_number, two.driver) == ("0000:3b:00.1", 2, "")
    assert found["0000:00:02.0"].identity == ""
    assert pci.network_functions(tmp_path / "nowhere") == []
    assert pci.function("../../etc", tmp_path) is None
