"""What ptp4l's parser says of a whole configuration file: the grammar around the options.

A line is what fgets(3) with a buffer of 1024 bytes returns, so the rest of a longer line counts as
a line of its own, even that of a comment. Bytes are judged, not characters; a NUL ends a line.
Everything here was observed on real daemons and is kept so by the differential test.
"""

import re
import socket
from collections.abc import Iterator
from dataclasses import dataclass, field

from chronovisor.clock.catalogue.catalogue import Catalogue
from chronovisor.clock.catalogue.option import Scope, Verdict

_SPACE = " \t\n\v\f\r"
_READ = 1023  # a buffer of 1024 with its terminator
_NAME = re.compile(f"[{_SPACE}]*([^{_SPACE}]+)")
_SETTING = re.compile(f"([^{_SPACE}]*)[{_SPACE}]+(.*)", re.DOTALL)
_INT_FIELD = rf"[{_SPACE}]*([+-]?[0-9]+)"
_TABLE_ID = re.compile("table_id" + _INT_FIELD)
_QUERY_INTERVAL = re.compile("logQueryInterval" + _INT_FIELD)
_PEER = re.compile(f"peer_address[{_SPACE}]*[^{_SPACE}]")
_ENTRY = re.compile(f"([^{_SPACE}]{{1,16}}+)[{_SPACE}]*([^{_SPACE}]{{1,64}})")
_MAC = re.compile(r"[+-]?(?:0[xX])?[0-9a-fA-F]+(?::[+-]?(?:0[xX])?[0-9a-fA-F]+){5}")


@dataclass(frozen=True, slots=True)
class Refusal:
    """The first line that ptp4l refuses, counted as it counts; it reads no further."""

    line: int
    why: Verdict | str


@dataclass(slots=True)
class _Tables:
    """The [unicast_master_table] sections read so far."""

    taken: set[int] = field(default_factory=set)
    named: bool = False


def first_refusal(data: bytes, catalogue: Catalogue) -> Refusal | None:
    """Return the first line of a file that ptp4l's parser refuses, None if it takes the file.

    Nothing beyond the parser is looked at: ptp4l may still refuse to start with what it read.
    """
    section: Scope | None = None
    table: _Tables | None = None
    tables = _Tables()
    for number, line in _lines(data):
        if line.startswith("["):
            table = None
            match _folded(line):
                case "[global]":
                    section = Scope.GLOBAL
                case "[unicast_master_table]":
                    table, tables.named = tables, False
                case _:
                    section = Scope.PORT
                    if not _NAME.match(line.replace("[", " ").replace("]", " ")):
                        return Refusal(number, "could not parse port name")
            continue
        if table is not None:
            why: Verdict | str | None = _table_line(line, table)
        elif section is None:
            why = "not in a section"
        else:
            why = _setting_line(line, section, catalogue)
        if why is not None:
            return Refusal(number, why)
    return None


def _lines(data: bytes) -> Iterator[tuple[int, str]]:
    """Give each line that says something, without the white space around it."""
    for number, whole in enumerate(_split(data), start=1):
        line = whole.partition("\0")[0].lstrip(_SPACE)
        if line and not line.startswith("#"):
            yield number, line[0] + line[1:].rstrip(_SPACE)


def _split(data: bytes) -> Iterator[str]:
    start = 0
    while start < len(data):
        newline = data.find(b"\n", start, start + _READ)
        end = newline + 1 if newline >= 0 else min(start + _READ, len(data))
        yield data[start:end].decode("latin-1")
        start = end


def _setting_line(line: str, section: Scope, catalogue: Catalogue) -> Verdict | str | None:
    match = _SETTING.fullmatch(line)
    if match is None:
        return "could not parse line"
    return catalogue.ptp4l_verdict(section, match[1], match[2])


def _table_line(line: str, tables: _Tables) -> str | None:
    if match := _TABLE_ID.match(line):
        number = _scanned_int(match[1])
        if number < 1 or number in tables.taken:
            return "out of range" if number < 1 else "already taken"
        tables.taken.add(number)
        tables.named = True
        return None
    if match := _QUERY_INTERVAL.match(line):
        if not tables.named:
            return "missing table_id"
        return None if -128 <= _scanned_int(match[1]) <= 127 else "out of range"
    if _PEER.match(line):
        return None if tables.named else "missing table_id"
    match = _ENTRY.match(line)
    if match is None:
        return "bad master table"
    if not tables.named:
        return "missing table_id"
    return None if _is_address(_folded(match[1]), match[2]) else "bad address"


def _scanned_int(digits: str) -> int:
    """Return what scanf's %d makes of digits on LP64: a long, saturated, then cut to an int."""
    value = max(-(2**63), min(2**63 - 1, int(digits)))
    return (value + 2**31) % 2**32 - 2**31


def _is_address(transport: str, text: str) -> bool:
    try:
        if transport == "udpv4":
            socket.inet_aton(text)
        elif transport == "udpv6":
            socket.inet_pton(socket.AF_INET6, text)
        else:
            return transport == "l2" and _MAC.match(text) is not None
    except (OSError, ValueError):
        return False
    return True


def _folded(text: str) -> str:
    return text.encode("latin-1").lower().decode("latin-1")
