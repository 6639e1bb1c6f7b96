"""Reads the status file of ptpd 2.3.1: lines of a name, a colon and words, rewritten every second.

ptpd empties the file and writes it anew, so a reader may meet nothing or a part. What is whole ends
with the line `PTP Engine resets`. Lines appear only when they have something to say: a counter that
is missing is 0, a master that is missing is none. Measured from what 2.3.1 writes.
"""

import math
import re
from dataclasses import dataclass, field
from ipaddress import IPv4Address

from chronovisor.clock.ptp import PortIdentity, PortState
from chronovisor.clock.ptpd.identity import port_identity
from chronovisor.clock.reading import MessageCounts, TimeProperties
from chronovisor.errors import ProtocolError

MAX_BYTES = 16 * 1024
"""Size above which a file is not ptpd's; 2.3.1 writes about 1.5 KiB."""

_LAST = "PTP Engine resets"
_LARGEST = 2**63
_NO_COUNTS = MessageCounts()
_NUMBER = r"(-?[0-9]{1,10}\.[0-9]{1,12})"
_SECONDS = re.compile(rf" ?{_NUMBER} s(?:,.*)?")
_PRIORITY = re.compile(r"Priority1 ([0-9]{1,3}), Priority2 ([0-9]{1,3}), clockClass ([0-9]{1,3})")
_TIME = re.compile(
    r"(ARB|PTP) timescale, tracbl: time ([YN]), freq ([YN]), src: ([A-Z0-9_]{1,40})\(0x[0-9a-f]+\)"
)
_UTC = re.compile(r"UTC valid: ([YN]), UTC offset: (-?[0-9]{1,5})(?:,? .*)?")
_RATE = re.compile(r"(?:([0-9]{1,4})/s|1/([0-9]{1,4})s) ([a-z]+)")
_BOTH_WAYS = re.compile(r"([0-9]{1,19}) received, ([0-9]{1,19}) sent")


@dataclass(frozen=True, slots=True)
class PtpdStatus:
    """What a whole status file says. Delays and offsets are in ns; intervals are powers of two."""

    pid: int
    interface: str
    domain: int
    delay_mechanism: str
    state: PortState
    own_port: PortIdentity | None = None
    parent: PortIdentity | None = None
    parent_address: str | None = None
    priority1: int | None = None
    priority2: int | None = None
    clock_class: int | None = None
    time_properties: TimeProperties = field(default_factory=TimeProperties)
    offset_ns: float | None = None
    mean_path_delay_ns: float | None = None
    control: str = ""
    log_intervals: dict[str, int] = field(default_factory=dict)
    received: MessageCounts = _NO_COUNTS
    sent: MessageCounts = _NO_COUNTS


def parse(data: bytes) -> PtpdStatus | None:
    """Return what a status file says, None while it is half-written; raises `ProtocolError`."""
    if len(data) > MAX_BYTES:
        raise ProtocolError(f"ptpd's status file has more than {MAX_BYTES} octets")
    lines = data.split(b"\n")
    if lines[-1] or len(lines) < 2 or not lines[-2].startswith(_LAST.encode()):
        return None
    rows: dict[str, str] = {}
    for line in lines[:-1]:
        name, colon, words = line.decode("utf-8", "replace").partition(":")
        if not colon or not name.strip():
            raise ProtocolError(f"ptpd's status file: {name[:80]!r} is no line of it")
        rows[name.strip()] = words.strip()
    return _status(rows)


def _status(rows: dict[str, str]) -> PtpdStatus:
    state = _needed(rows, "Port state").removeprefix("PTP_")
    if state not in PortState.__members__:
        raise ProtocolError(f"ptpd's status file: {state[:80]!r} is no state of a port")
    received, sent = _counters(rows)
    p1, p2, clock_class = _numbers(rows, "GM priority", _PRIORITY, 3)
    delay = rows.get("Mean Path Delay", rows.get("Mean Path (p)Delay"))
    offset = rows.get("Offset from Master")
    return PtpdStatus(
        pid=_whole("Host info", _needed(rows, "Host info").rpartition("PID ")[2]),
        interface=_needed(rows, "Interface")[:80],
        domain=_whole("PTP domain", _needed(rows, "PTP domain")),
        delay_mechanism=_needed(rows, "Delay mechanism")[:20],
        state=PortState[state],
        own_port=_identity(rows.get("Local port ID")),
        parent=_identity(rows.get("Best master ID")),
        parent_address=_address(rows.get("Best master IP")),
        priority1=p1,
        priority2=p2,
        clock_class=clock_class,
        time_properties=_time_properties(rows),
        offset_ns=None if offset is None else _ns("Offset from Master", offset),
        mean_path_delay_ns=None if delay is None else _ns("Mean Path Delay", delay),
        control=rows.get("Clock status", "")[:80],
        log_intervals=_intervals(rows.get("Message rates", "")),
        received=received,
        sent=sent,
    )


def _needed(rows: dict[str, str], name: str) -> str:
    if name not in rows:
        raise ProtocolError(f"ptpd's status file has no line {name!r}")
    return rows[name]


def _whole(name: str, text: str) -> int:
    if not re.fullmatch(r"[0-9]{1,19}", text) or int(text) >= _LARGEST:
        raise ProtocolError(f"ptpd's status file: {name}: {text[:80]!r} is no whole number")
    return int(text)


def _ns(name: str, text: str) -> float:
    found = _SECONDS.fullmatch(text)
    if found is None:
        raise ProtocolError(f"ptpd's status file: {name}: {text[:80]!r} is no time in s")
    return round(float(found[1]) * 1e9, 3)


def _identity(text: str | None) -> PortIdentity | None:
    return None if text is None else port_identity(text)


def _address(text: str | None) -> str | None:
    try:
        return None if text is None else str(IPv4Address(text))
    except ValueError:
        raise ProtocolError(f"ptpd's status file: {(text or '')[:80]!r} is no address") from None


def _numbers(
    rows: dict[str, str], name: str, form: re.Pattern[str], count: int
) -> tuple[int | None, ...]:
    if name not in rows:
        return (None,) * count
    found = form.fullmatch(rows[name])
    if found is None:
        raise ProtocolError(f"ptpd's status file: {name}: {rows[name][:80]!r} is not understood")
    return tuple(int(number) for number in found.groups())


def _time_properties(rows: dict[str, str]) -> TimeProperties:
    time = _TIME.fullmatch(rows.get("Time properties", ""))
    utc = _UTC.fullmatch(rows.get("UTC properties", ""))
    return TimeProperties(
        time_source=time[4] if time else None,
        utc_offset_s=int(utc[2]) if utc else None,
        utc_offset_valid=utc[1] == "Y" if utc else None,
        ptp_timescale=time[1] == "PTP" if time else None,
        time_traceable=time[2] == "Y" if time else None,
        frequency_traceable=time[3] == "Y" if time else None,
    )


def _intervals(text: str) -> dict[str, int]:
    """Return intervals by kind of message; rates that are not written in this way are left out."""
    found = {}
    for part in text.split(", "):
        if rate := _RATE.fullmatch(part):
            per_s = int(rate[1]) if rate[1] else 1 / max(1, int(rate[2]))
            if per_s:
                found[rate[3]] = round(-math.log2(per_s))
    return found


def _counters(rows: dict[str, str]) -> tuple[MessageCounts, MessageCounts]:
    def count(name: str) -> int:
        return _whole(name, rows[name]) if name in rows else 0

    def both(name: str) -> tuple[int, int]:
        if name not in rows:
            return 0, 0
        found = _BOTH_WAYS.fullmatch(rows[name])
        if found is None:
            raise ProtocolError(f"ptpd's status file: {name}: {rows[name][:80]!r} is no count")
        return int(found[1]), int(found[2])

    requests, responses, follow_ups = (
        both(name) for name in ("PdelayReq", "PdelayResp", "PdelayRespFollowUp")
    )
    received = MessageCounts(
        announce=count("Announce received"),
        sync=count("Sync received"),
        follow_up=count("Follow-up received"),
        delay_resp=count("DelayResp received"),
        pdelay_req=requests[0],
        pdelay_resp=responses[0],
        pdelay_resp_follow_up=follow_ups[0],
    )
    sent = MessageCounts(
        delay_req=count("DelayReq sent"),
        pdelay_req=requests[1],
        pdelay_resp=responses[1],
        pdelay_resp_follow_up=follow_ups[1],
    )
    return received, sent
