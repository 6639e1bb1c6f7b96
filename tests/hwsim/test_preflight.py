"""A preflight on simulated NICs that are good, late, losing, shared and wrong."""

import json
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from chronovisor.clock.devices.listing import shipped
from chronovisor.clock.preflight import hwtstamp, measure
from chronovisor.clock.preflight.phc import Phc
from chronovisor.clock.preflight.report import Report, Verdict
from chronovisor.clock.preflight.run import preflight
from chronovisor.errors import ChronovisorError, Conflict, InvalidInput
from hwsim import truth
from hwsim.conftest import MakeNamespace, Simulate
from hwsim.devices import Nic, Port, run
from hwsim.hosts import host_in
from visords import KEY

COUNT = 30


def up(*ports: Port) -> None:
    for port in ports:
        run("ip", "link", "set", port.name, "up")


def flown(port: Port, records: Path, *, count: int = COUNT, listen_s: float = 0.2) -> Report:
    steps: list[str] = []
    found = preflight(
        port.name,
        shipped(),
        records,
        lambda step, _done, _of: steps.append(step),
        count=count,
        listen_s=listen_s,
    )
    assert {"read", "transmit"} <= set(steps)
    return found


def verdicts(found: Report) -> dict[str, Verdict]:
    return {one.check: one.verdict for one in found.findings}


def test_a_good_nic(simulate: Simulate, tmp_path: Path) -> None:
    hw0, hw1 = simulate(Nic(), Nic())
    up(hw0, hw1)
    before = hwtstamp.read(hw0.name)
    found = flown(hw0, tmp_path)
    assert found.figures is not None
    seen = verdicts(found)
    assert seen["transmit"] is seen["phc"] is seen["frequency"] is Verdict.OK, found.findings
    assert seen["receive"] is seen["ptp"] is seen["neighbour"] is Verdict.NOT_SEEN
    assert found.figures.transmit.sent == found.figures.transmit.stamped == COUNT
    assert {cost.method for cost in found.figures.costs} >= {"PTP_SYS_OFFSET_EXTENDED"}
    assert found.options["tx_timestamp_timeout"] >= 10
    assert hwtstamp.read(hw0.name) == before
    assert list(tmp_path.iterdir()) == []


def test_late_stamps_ask_for_a_longer_timeout(simulate: Simulate, tmp_path: Path) -> None:
    hw0, hw1 = simulate(Nic(), Nic())
    up(hw0, hw1)
    hw0.do(tx_stamp_late_ns=40_000_000)
    found = flown(hw0, tmp_path)
    assert found.figures is not None
    assert verdicts(found)["transmit"] is Verdict.OK
    assert found.figures.transmit.p50_us is not None
    assert found.figures.transmit.p50_us >= 40_000
    assert found.options["tx_timestamp_timeout"] >= 80


def test_lost_stamps_are_counted_one_by_one(simulate: Simulate, tmp_path: Path) -> None:
    hw0, hw1 = simulate(Nic(), Nic())
    up(hw0, hw1)
    hw0.do(tx_stamp_lost_every=5)
    found = flown(hw0, tmp_path, count=20)
    assert found.figures is not None
    assert found.verdict is Verdict.FAILED
    assert (found.figures.transmit.lost, found.figures.transmit.stamped) == (4, 16)


def test_a_nic_that_stamps_nothing_is_given_up_soon(simulate: Simulate, tmp_path: Path) -> None:
    hw0, hw1 = simulate(Nic(), Nic())
    up(hw0, hw1)
    hw0.do(tx_stamp_lost_every=1)
    found = flown(hw0, tmp_path)
    assert found.figures is not None
    assert verdicts(found)["transmit"] is Verdict.FAILED
    assert found.figures.transmit.sent == 5
    assert found.options == {}


def test_a_shared_clock_is_said_to_be_shared(simulate: Simulate, tmp_path: Path) -> None:
    ports = simulate(Nic(phc=0), Nic(), Nic(phc=0), Nic())
    up(*ports)
    found = flown(ports[0], tmp_path)
    phc = next(one for one in found.findings if one.check == "phc")
    assert phc.verdict is Verdict.OK
    assert phc.text.endswith(f"which {ports[2].name} shares")


def test_a_nic_without_a_clock_is_refused(simulate: Simulate, tmp_path: Path) -> None:
    hw0, hw1 = simulate(Nic(phc=None), Nic())
    up(hw0, hw1)
    with pytest.raises(InvalidInput, match="makes no hardware time stamps"):
        flown(hw0, tmp_path)
    run("ip", "link", "set", hw1.name, "down")
    with pytest.raises(InvalidInput, match="is down"):
        flown(hw1, tmp_path)


def test_a_nic_in_use_is_refused(simulate: Simulate, tmp_path: Path) -> None:
    hw0, hw1 = simulate(Nic(), Nic())
    up(hw0, hw1)
    config = hwtstamp.write(hw0.name, hwtstamp.wanted(("ptpv2-event", "all")))
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(0x88F7)) as ptp:
        ptp.bind((hw0.name, 0x88F7))
        with pytest.raises(Conflict, match="its time stamping is in use"):
            flown(hw0, tmp_path)
    assert hwtstamp.read(hw0.name) == config
    assert flown(hw0, tmp_path).verdict is Verdict.OK, "ptp4l leaves it on when it ends"
    assert hwtstamp.read(hw0.name) == config


@pytest.mark.long
def test_received_messages_and_who_sends_them(simulate: Simulate, tmp_path: Path) -> None:
    hw0, hw1 = simulate(Nic(), Nic())
    up(hw0, hw1)
    server = subprocess.Popen(
        ["ptp4l", "-i", hw1.name, "-2", "-m", "--tx_timestamp_timeout", "100",
         "--logSyncInterval", "-3", "--logAnnounceInterval", "-2",
         "--uds_address", str(tmp_path / "sock")],
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        found = flown(hw0, tmp_path / "records", listen_s=15.0)
        seen = verdicts(found)
        assert seen["receive"] is seen["ptp"] is Verdict.OK, found.findings
        hw0.do(rx_stamp_lost_every=2)
        found = flown(hw0, tmp_path / "records", listen_s=5.0)
        assert verdicts(found)["receive"] is Verdict.FAILED, found.findings
    finally:
        server.kill()
        server.wait()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_whatever_ends_a_preflight_the_nic_is_put_back(
    simulate: Simulate, tmp_path: Path, number: int
) -> None:
    hw0, hw1 = simulate(Nic(), Nic())
    up(hw0, hw1)
    before = hwtstamp.read(hw0.name)
    records = tmp_path / "records"
    process = subprocess.Popen(
        [
            *(sys.executable, "-m", "chronovisor.clock.preflight", hw0.name),
            *("--list", "/nonexistent", "--records", str(records), "--listen", "60"),
        ],
        stdout=subprocess.PIPE,
    )
    assert process.stdout is not None
    while json.loads(process.stdout.readline())["step"] != "transmit":
        pass
    during = hwtstamp.read(hw0.name)
    assert during is not None
    assert during.on
    assert hwtstamp.put_back(records) == [], "it is at work, and nobody else's business"
    process.send_signal(number)
    process.wait()
    process.stdout.close()
    if number == signal.SIGKILL:
        assert hwtstamp.read(hw0.name) == during
        assert hwtstamp.put_back(records) == [hw0.name]
    assert hwtstamp.read(hw0.name) == before
    assert list(records.iterdir()) == []


@pytest.mark.long
def test_through_visord_with_its_outcome_applied(
    simulate: Simulate, namespace: MakeNamespace, tmp_path: Path
) -> None:
    free, far = simulate(Nic(driver="ice", device=0x1593), Nic())
    left = namespace()
    left.take(free)
    left.take(far)
    free.do(tx_stamp_late_ns=30_000_000)
    with host_in(tmp_path, left) as host:
        rows = json.loads(host.do("clock", "devices", "--format", "json"))
        assert {row["name"] for row in rows if row["name"]} == {free.name, far.name}
        words = ("clock", "preflight", free.name, "--count", "20", "--listen", "200ms")
        text = host.do(*words)
        assert text.startswith(f"{free.name}: ok")
        assert "visorctl clock set options.ptp4l.tx_timestamp_timeout=" in text
        report = json.loads(host.do(*words, "--apply", "--format", "json"))
        wanted = report["options"]["tx_timestamp_timeout"]
        assert wanted >= 60
        stored = host.client.get(KEY)["value"]
        assert stored["options"]["ptp4l"]["tx_timestamp_timeout"] == wanted
        again = host.do(*words, "--apply")
        assert "Apply: " in again
        free.do(tx_stamp_lost_every=1)
        code, output, _ = host.ctl(*words, "--apply")
        assert (code, f"{free.name}: failed" in output) == (1, True)


def test_a_clock_that_is_not_the_ports_own_is_found_out(simulate: Simulate) -> None:
    hw0, hw1 = simulate(Nic(), Nic())
    up(hw0, hw1)
    truth.step(hw1.clock, 1000 * 10**9)
    hwtstamp.write(hw0.name, hwtstamp.wanted(("ptpv2-event", "all")))
    for other, outside in ((hw0, 0), (hw1, 5)):
        with Phc(int(other.clock.removeprefix("ptp"))) as phc:
            seen = measure.transmit(hw0.name, bytes(6), phc, 5, lambda *_: None)
        assert (seen.stamped, seen.outside) == (5, outside)


def test_a_nic_unplugged_during_a_preflight_is_told(simulate: Simulate, tmp_path: Path) -> None:
    hw0, hw1 = simulate(Nic(), Nic())
    up(hw0, hw1)

    def progress(step: str, done: int, _: int) -> None:
        if (step, done) == ("transmit", 3):
            hw0.unplug()

    with pytest.raises(ChronovisorError):
        preflight(hw0.name, shipped(), tmp_path, progress, count=20, listen_s=0.2)
    hw0.replug()
    assert hwtstamp.put_back(tmp_path) in ([], [hw0.name])
    assert list(tmp_path.iterdir()) == []
