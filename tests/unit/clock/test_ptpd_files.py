"""The two files of ptpd: what 2.3.1 wrote when it was watched, and what no program writes."""

import contextlib
import random
from pathlib import Path

import pytest

from chronovisor.clock.ptp import PortState
from chronovisor.clock.ptpd import statistics, status_file
from chronovisor.clock.ptpd.tail import CHUNK_BYTES, Tail
from chronovisor.clock.reading import TimeProperties
from chronovisor.errors import ProtocolError

SLAVE = b"""\
Host info          :  vm, PID 20871
Local time         :  Sat Nov 21 09:56:10 UTC 2026
Kernel time        :  Sat Nov 21 09:56:10 GMT 2026
Interface          :  vB
Preset             :  slaveonly
Transport          :  ipv4, multicast
Delay mechanism    :  E2E
Sync mode          :  TWO_STEP
PTP domain         :  7
Port state         :  PTP_SLAVE
Local port ID      :  76a295fffe71c19d(unknown)/1
Best master ID     :  ea26ddfffe437e06(gm.example)/2
Best master IP     :  10.9.0.1
GM priority        :  Priority1 10, Priority2 128, clockClass 248
Time properties    :  ARB timescale, tracbl: time N, freq Y, src: INTERNAL_OSCILLATOR(0xa0)
UTC properties     :  UTC valid: N, UTC offset: 37
Offset from Master : -0.000000063 s, mean  0.000000557 s, dev  0.000000732 s
Mean Path Delay    :  0.000002898 s, mean  0.000002566 s, dev  0.000000501 s
Clock status       :  in control, read-only
Clock correction   :  0.000 ppm, mean  0.000 ppm, dev  0.000 ppm
Message rates      :  4/s sync, 1/2s delay, 1/s announce
TimingService      :  current PTP0, best PTP0, pref PTP0
TimingServices     :  total 1, avail 1, oper 1, idle 0, in_ctrl 1
Performance        :  Message RX 9/s, TX 0/s
Announce received  :  47
Sync received      :  183
Follow-up received :  182
DelayReq sent      :  48
DelayResp received :  46
State transitions  :  3
PTP Engine resets  :  1
"""
LISTENING = b"""\
Host info          :  vm, PID 20871
Interface          :  vB
Delay mechanism    :  E2E
PTP domain         :  0
Port state         :  PTP_LISTENING
Local port ID      :  76a295fffe71c19d(unknown)/1
State transitions  :  4
PTP Engine resets  :  2
"""
PEER = SLAVE.replace(b"Mean Path Delay   ", b"Mean Path (p)Delay").replace(
    b"DelayReq sent      :  48\n",
    b"PdelayReq          :  6 received, 2 sent\nPdelayResp         :  2 received, 6 sent\n",
)
LINE = (
    b"1795255211.473835564, slv,ea26ddfffe437e06(unknown)/1,  0.000003140, -0.001001140,"
    b"  0.001008270, -0.000998336, 0.000000000, S, 0.000000000, 0, 0.000000000, 0, 0, 0,"
    b" -0.000998336,  0.000000000"
)


def test_a_slave() -> None:
    found = status_file.parse(SLAVE)
    assert found is not None
    assert (found.pid, found.interface, found.domain) == (20871, "vB", 7)
    assert (found.state, found.delay_mechanism) == (PortState.SLAVE, "E2E")
    assert (str(found.own_port), str(found.parent)) == (
        "76a295.fffe.71c19d-1",
        "ea26dd.fffe.437e06-2",
    )
    assert (found.parent_address, found.priority1, found.clock_class) == ("10.9.0.1", 10, 248)
    assert (found.offset_ns, found.mean_path_delay_ns) == (-63.0, 2898.0)
    assert found.log_intervals == {"sync": -2, "delay": 1, "announce": 0}
    assert found.time_properties == TimeProperties(
        time_source="INTERNAL_OSCILLATOR",
        utc_offset_s=37,
        utc_offset_valid=False,
        ptp_timescale=False,
        time_traceable=False,
        frequency_traceable=True,
    )
    counts = (found.received.announce, found.received.sync, found.received.follow_up)
    assert (*counts, found.received.delay_resp, found.sent.delay_req) == (47, 183, 182, 46, 48)
    assert (found.received.pdelay_resp, found.received.signaling) == (0, None)


def test_a_listener_has_no_master() -> None:
    found = status_file.parse(LISTENING)
    assert found is not None
    assert (found.state, found.parent, found.offset_ns) == (PortState.LISTENING, None, None)
    assert found.received.announce == 0


def test_peer_delays() -> None:
    found = status_file.parse(PEER)
    assert found is not None
    assert found.mean_path_delay_ns == 2898.0
    assert (found.received.pdelay_req, found.sent.pdelay_req, found.sent.pdelay_resp) == (6, 2, 6)


@pytest.mark.parametrize("size", [0, 1, 19, 400, len(SLAVE) - 2, len(SLAVE) - 1])
def test_a_half_written_status_is_none(size: int) -> None:
    assert status_file.parse(SLAVE[:size]) is None


@pytest.mark.parametrize(
    ("was", "becomes", "word"),
    [
        (b"PTP_SLAVE", b"PTP_DANCING", "DANCING"),
        (b"Port state ", b"Sport state", "Port state"),
        (b"PID 20871", b"PID -3", "-3"),
        (b"PTP domain         :  7", b"PTP domain         :  99999999999999999999", "PTP domain"),
        (b"-0.000000063 s", b"nan s", "nan"),
        (b"0.000002898 s", b"1e9 s", "1e9"),
        (b"ea26ddfffe437e06(gm.example)/2", b"ea26ddfffe437e06/2", "ea26ddfffe437e06/2"),
        (b"ea26ddfffe437e06(gm.example)/2", b"ea26ddfffe437e06(x)/70000", "70000"),
        (b"10.9.0.1", b"10.9.0.256", "10.9.0.256"),
        (b"Priority1 10,", b"Priority1 ten,", "Priority1 ten"),
        (b"received  :  47", b"received  :  many", "many"),
        (b"Sync mode          :  TWO_STEP", b"Sync mode", "Sync mode"),
    ],
)
def test_a_status_that_no_ptpd_writes(was: bytes, becomes: bytes, word: str) -> None:
    assert was in SLAVE
    with pytest.raises(ProtocolError, match=word.replace("(", r"\(")):
        status_file.parse(SLAVE.replace(was, becomes, 1))


def test_a_status_of_any_size_is_bounded() -> None:
    with pytest.raises(ProtocolError, match="octets"):
        status_file.parse(b"x" * (status_file.MAX_BYTES + 1))


def test_a_line_with_a_measurement() -> None:
    found = statistics.parse(LINE)
    assert found is not None
    assert (found.at_ns, found.state) == (1795255211473835564, PortState.SLAVE)
    assert str(found.parent) == "ea26dd.fffe.437e06-1"
    assert (found.path_delay_ns, found.offset_ns) == (3140.0, -1001140.0)


@pytest.mark.parametrize(
    ("was", "becomes"),
    [
        (b" S,", b" D,"),  # an answer to a delay request measures no offset
        (b" S,", b" I,"),
        (b"  0.000003140", b"  0.000000000"),  # no path delay yet
    ],
)
def test_a_line_without_a_measurement(was: bytes, becomes: bytes) -> None:
    found = statistics.parse(LINE.replace(was, becomes, 1))
    assert found is not None
    assert found.offset_ns is None


@pytest.mark.parametrize(
    ("line", "state"),
    [
        (b"1795255211.000000001, init, ", PortState.INITIALIZING),
        (b"1795255211.000000001, lstn_reset,  2 ", PortState.LISTENING),
        (b"1795255211.000000001, flt,  2 ", PortState.FAULTY),
        (b"1795255211.000000001, novel,  2 ", None),
    ],
)
def test_a_line_of_a_state(line: bytes, state: PortState | None) -> None:
    found = statistics.parse(line)
    assert found is not None
    assert (found.state, found.parent, found.offset_ns) == (state, None, None)


@pytest.mark.parametrize("line", [b"", b"  ", b"# Timestamp, State"])
def test_a_line_that_says_nothing(line: bytes) -> None:
    assert statistics.parse(line) is None


@pytest.mark.parametrize(
    "line",
    [
        LINE[:-40],
        LINE + b", 1",
        LINE.replace(b"1795255211.", b"2026-11-21 "),
        LINE.replace(b"-0.001001140", b"nan"),
        LINE.replace(b"0.000003140", b"inf"),
        LINE.replace(b"(unknown)", b""),
        b"x" * (statistics.MAX_LINE_BYTES + 1),
    ],
)
def test_a_line_that_no_ptpd_writes(line: bytes) -> None:
    with pytest.raises(ProtocolError):
        statistics.parse(line)


@pytest.mark.parametrize("seed", range(40))
def test_hostile_files_raise_nothing_but_protocol_errors(seed: int) -> None:
    """Repeat one with `-k "hostile and [SEED]"`."""
    chance = random.Random(seed)
    for _ in range(100):
        for whole, parse in (
            (SLAVE, status_file.parse),
            (PEER, status_file.parse),
            (LINE, statistics.parse),
        ):
            data = bytearray(whole)
            for _ in range(chance.randrange(1, 8)):
                place = chance.randrange(len(data))
                match chance.randrange(4):
                    case 0:
                        data[place] = chance.randrange(256)
                    case 1:
                        del data[place : place + chance.randrange(1, 60)]
                    case 2:
                        data[place:place] = chance.randbytes(chance.randrange(1, 30))
                    case _:
                        data[place:place] = b"9" * chance.randrange(1, 40)
                if not data:
                    data = bytearray(b"\n")
            with contextlib.suppress(ProtocolError):
                parse(bytes(data))


def test_the_end_of_a_file_is_followed(tmp_path: Path) -> None:
    path = tmp_path / "packets"
    tail = Tail(path, 1024)
    assert tail.lines() == []
    path.write_bytes(b"one\ntw")
    assert tail.lines() == [b"one"]
    with path.open("ab") as file:
        file.write(b"o\nthree\n")
    assert tail.lines() == [b"two", b"three"]
    assert tail.lines() == []
    tail.close()


def test_a_file_that_is_rotated_loses_no_line(tmp_path: Path) -> None:
    path = tmp_path / "packets"
    tail = Tail(path, 1024)
    path.write_bytes(b"one\n")
    assert tail.lines() == [b"one"]
    with path.open("ab") as file:
        file.write(b"two\n")
    path.rename(tmp_path / "packets.1")
    path.write_bytes(b"three\n")
    assert tail.lines() == [b"two", b"three"]
    path.write_bytes(b"")
    assert tail.lines() == []
    path.write_bytes(b"4\n")
    assert tail.lines() == [b"4"]
    path.unlink()
    assert tail.lines() == []
    path.write_bytes(b"five\n")
    assert tail.lines() == [b"five"]
    tail.close()


def test_a_backlog_is_passed_over(tmp_path: Path) -> None:
    path = tmp_path / "packets"
    path.write_bytes(b"first\n" * 10_000)
    tail = Tail(path, 1024)
    assert len([line for line in tail.lines() if line == b"first"]) < 1000
    with path.open("ab") as file:
        file.write(b"y" * (3 * CHUNK_BYTES) + b"\nlast\n")
    assert tail.lines()[-1] == b"last"
    with path.open("ab") as file:
        file.write(b"z" * 2000)
    assert tail.lines() == []
    with path.open("ab") as file:
        file.write(b"\nnext\n")
    assert tail.lines()[-1] == b"next"
    tail.close()
