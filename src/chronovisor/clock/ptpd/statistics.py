"""Reads the statistics lines of ptpd 2.3.1, written with Unix timestamps.

A line has seventeen columns while there is a master: time, state, the master's port, one way delay,
offset from master, slave to master, master to slave, observed drift, the last packet (I none, S
Sync, D delay, P peer delay), mean and deviation of delay, offset and drift, and the raw times of
master to slave and slave to master. In other states it ends after the state and its count.
Measured from what 2.3.1 writes.
"""

import re
from dataclasses import dataclass

from chronovisor.clock.ptp import PortIdentity, PortState
from chronovisor.clock.ptpd.identity import port_identity
from chronovisor.errors import ProtocolError

COLUMNS = 17
MAX_LINE_BYTES = 1024
"""Size above which a line is not ptpd's; 2.3.1 writes about 200 bytes."""

_TIME = re.compile(r"([0-9]{1,10})\.([0-9]{9})")
_NUMBER = re.compile(r"-?[0-9]{1,12}(?:\.[0-9]{1,12})?")
_STATES = {
    "dsbl": PortState.DISABLED,
    "flt": PortState.FAULTY,
    "init": PortState.INITIALIZING,
    "lstn": PortState.LISTENING,
    "mst": PortState.MASTER,
    "pass": PortState.PASSIVE,
    "slv": PortState.SLAVE,
    "uncl": PortState.UNCALIBRATED,
}


@dataclass(frozen=True, slots=True)
class Line:
    """A line: Unix time, state (None: one that is not known), and what was measured, if anything.

    `offset_ns` is None unless a Sync of `parent` was just put to use.
    """

    at_ns: int
    state: PortState | None
    parent: PortIdentity | None = None
    path_delay_ns: float | None = None
    offset_ns: float | None = None


def parse(line: bytes) -> Line | None:
    """Return what a line says, None for a comment; raises `ProtocolError`."""
    if len(line) > MAX_LINE_BYTES:
        raise ProtocolError(f"ptpd's statistics: a line of {len(line)} octets")
    text = line.decode("ascii", "replace")
    if not text.strip() or text.startswith("#"):
        return None
    columns = [column.strip() for column in text.split(",")]
    at_ns = _time_ns(columns[0])
    state = _state(columns[1] if len(columns) > 1 else "")
    if len(columns) <= 3:
        return Line(at_ns, state)
    if len(columns) != COLUMNS:
        raise ProtocolError(f"ptpd's statistics: a line of {len(columns)} columns: {text[:80]!r}")
    for number in (*columns[3:8], *columns[9:]):
        if not _NUMBER.fullmatch(number):
            raise ProtocolError(f"ptpd's statistics: {number[:80]!r} is no number")
    delay_ns, offset_ns = (round(float(text) * 1e9, 3) for text in columns[3:5])
    # Before the first answer to a delay request the offset is only the time of flight
    measured = columns[8] == "S" and delay_ns != 0
    parent = port_identity(columns[2])
    return Line(at_ns, state, parent, delay_ns, offset_ns if measured else None)


def _time_ns(text: str) -> int:
    found = _TIME.fullmatch(text)
    if found is None:
        raise ProtocolError(f"ptpd's statistics: {text[:80]!r} is no time")
    return int(found[1]) * 1_000_000_000 + int(found[2])


def _state(text: str) -> PortState | None:
    return next((state for word, state in _STATES.items() if text.startswith(word)), None)
