"""What a preflight measures: each function exercises one thing and returns figures, no opinion."""

import select
import socket
import statistics
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

from chronovisor.clock.devices import netlink
from chronovisor.clock.devices.netlink import Netlink
from chronovisor.clock.preflight import stamps
from chronovisor.clock.preflight.frames import (
    ETHERTYPE_LLDP,
    Neighbour,
    delay_request,
    message,
    neighbour,
)
from chronovisor.clock.preflight.phc import Phc
from chronovisor.errors import ChronovisorError, ProtocolError

PATIENCE_S = 1.0
"""How long to wait for one transmit stamp before it counts as lost: drivers give up by then."""

PAUSE_S = 0.01
"""Time between messages: a hundred a second, which no profile reaches."""

MOST_LOST_IN_A_ROW = 5
"""After so many without any stamp nothing more is to be learnt."""

_MOST_SOURCES = 32
_LINK_MODES_GET, _HEADER, _SPEED, _DUPLEX = 4, 1, 5, 6  # ETHTOOL_MSG_LINKMODES_GET
_UNKNOWN = 0xFFFFFFFF
_DUPLEX_NAMES = {0: "half", 1: "full"}

Progress = Callable[[str, int, int], None]


@dataclass(frozen=True, slots=True)
class Transmit:
    """Transmit stamps: latencies from the end of send(2) to where the stamp can be read.

    `lost` came not at all within the patience; `outside` have times that the NIC's clock did not
    have while the message was sent, so they are of another clock or another message.
    """

    sent: int
    stamped: int
    lost: int
    outside: int
    p50_us: float | None = None
    p99_us: float | None = None
    max_us: float | None = None


@dataclass(frozen=True, slots=True)
class Receive:
    """PTP and LLDP heard within `listened_s`, and which event messages the NIC stamped."""

    listened_s: float
    stamped: int
    unstamped: int
    outside: int
    heard: dict[str, int]
    sources: tuple[str, ...]
    neighbour: Neighbour | None


@dataclass(frozen=True, slots=True)
class LinkMode:
    """Speed in Mb/s and duplex of the link, None and empty where not told."""

    speed_mbps: int | None = None
    duplex: str = ""


def transmit(device: str, mac: bytes, phc: Phc, count: int, progress: Progress) -> Transmit:
    """Send event messages, each when the stamp of the one before is there or given up."""
    latencies_us: list[float] = []
    lost = outside = in_a_row = sent = 0
    with stamps.sender(device) as channel:
        for number in range(count):
            before_ns = phc.now_ns()
            channel.send(delay_request(mac, number))
            sent_ns = time.monotonic_ns()
            sent += 1
            stamp = _stamp_of(channel, number, sent_ns + int(PATIENCE_S * 1e9))
            progress("transmit", sent, count)
            if stamp is None:
                lost, in_a_row = lost + 1, in_a_row + 1
                if in_a_row >= MOST_LOST_IN_A_ROW and not latencies_us:
                    break
                continue
            in_a_row = 0
            latencies_us.append((stamp.at_monotonic_ns - sent_ns) / 1000)
            outside += not before_ns <= stamp.hardware_ns <= phc.now_ns()
            time.sleep(PAUSE_S)
    p50, p99, most = percentiles(latencies_us)
    return Transmit(sent, len(latencies_us), lost, outside, p50, p99, most)


def _stamp_of(channel: socket.socket, number: int, until_ns: int) -> stamps.Stamp | None:
    """Return the stamp of one message; those of earlier ones, which were given up, are passed."""
    while (found := stamps.next_stamp(channel, until_ns)) is not None:
        if found.number == number:
            return found
    return None


def percentiles(values: list[float]) -> tuple[float | None, float | None, float | None]:
    """Return median, 99th percentile and maximum, None for no values."""
    if not values:
        return None, None, None
    values = sorted(values)
    at_99 = min(len(values) - 1, -(-99 * len(values) // 100) - 1)
    return round(statistics.median(values), 1), round(values[at_99], 1), round(values[-1], 1)


def receive(device: str, phc: Phc | None, seconds: float, progress: Progress) -> Receive:
    """Listen for PTP and LLDP; frames that are neither, or broken, are passed over."""
    heard: Counter[str] = Counter()
    sources: dict[str, None] = {}
    stamped = unstamped = outside = 0
    found: Neighbour | None = None
    started_s = time.monotonic()
    with stamps.listener(device) as channel:
        while (left_s := started_s + seconds - time.monotonic()) > 0:
            progress("receive", round(seconds - left_s), round(seconds))
            if not select.select([channel], [], [], min(left_s, 1.0))[0]:
                continue
            try:
                data, ethertype, stamp_ns = stamps.receive(channel)
                if ethertype == ETHERTYPE_LLDP:
                    found = neighbour(data)
                    continue
                seen = message(ethertype, data)
            except ProtocolError:
                continue
            heard[seen.name] += 1
            if len(sources) < _MOST_SOURCES:
                sources[f"{seen.source} by {seen.transport} in domain {seen.domain}"] = None
            if seen.event:
                stamped += stamp_ns is not None
                unstamped += stamp_ns is None
                outside += stamp_ns is not None and phc is not None and _strange(stamp_ns, phc)
    return Receive(seconds, stamped, unstamped, outside, dict(heard), tuple(sources), found)


def _strange(stamp_ns: int, phc: Phc) -> bool:
    """Say whether a stamp is not of the last seconds of this clock."""
    return not 0 <= phc.now_ns() - stamp_ns <= 2_000_000_000


def link_mode(device: str) -> LinkMode:
    """Return speed and duplex (ETHTOOL_MSG_LINKMODES_GET); nothing where the driver tells none."""
    try:
        with Netlink(netlink.GENERIC) as generic:
            name = netlink.attribute(2, device.encode() + b"\0")
            asked = netlink.nested(_HEADER, name)
            answers = generic.ask_generic("ethtool", _LINK_MODES_GET, asked)
        return read_link_mode(answers[0]) if answers else LinkMode()
    except ChronovisorError:
        return LinkMode()


def read_link_mode(found: netlink.Attributes) -> LinkMode:
    """Return what an answer says. Raises `ProtocolError`."""
    speed = netlink.u32(found[_SPEED]) if _SPEED in found else _UNKNOWN
    duplex = found.get(_DUPLEX, b"\xff")
    name = _DUPLEX_NAMES.get(duplex[0], "") if duplex else ""
    return LinkMode(None if speed in (0, _UNKNOWN) else speed, name)
