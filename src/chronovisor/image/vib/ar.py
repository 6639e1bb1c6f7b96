"""The outer container of a VIB: a Unix `ar` archive.

`!<arch>` and a newline, then members: a header of 60 bytes, the data, and a newline where the size
is odd (ar(5); GNU binutils' include/aout/ar.h). A VIB needs no symbol table and no long names.
What is written here is, to the byte, what `ar qcD` writes.
"""

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass

from chronovisor.errors import InvalidInput
from chronovisor.image.limits import DEFAULT, Limits
from chronovisor.image.refusal import about, malformed, printable
from chronovisor.image.vib.region import Region

MAGIC = b"!<arch>\n"
HEADER_BYTES = 60
HEADER_END = b"`\n"
NAME_BYTES = 15
"""Longest member name: GNU ar ends it with a slash within a field of 16."""

_NAME = re.compile(rb"[A-Za-z0-9_][A-Za-z0-9._+-]*")


@dataclass(frozen=True, slots=True)
class Member:
    """One member: its name, where its header stands in the archive, and its data."""

    name: str
    header_offset: int
    data: Region


def header(name: str, size: int) -> bytes:
    """Return a member's header with time, owner and mode as `ar` writes them with `D`."""
    if not _NAME.fullmatch(name.encode("ascii", "replace")) or len(name) > NAME_BYTES:
        raise InvalidInput(
            f"'{printable(name)}' cannot name a member of a VIB",
            hint=f"use up to {NAME_BYTES} letters, digits, dots, dashes and underscores",
        )
    if size >= 10**10:
        raise InvalidInput(f"member {name}: {size} bytes do not fit the ten digits of ar's header")
    fields = f"{name + '/':<16}{0:<12}{0:<6}{0:<6}{'644':<8}{size:<10}".encode("ascii")
    return fields + HEADER_END


def padding(size: int) -> bytes:
    """Return what must follow a member's data so that the next header is aligned."""
    return b"\n" if size % 2 else b""


def members(descriptor: int, where: str, limits: Limits = DEFAULT) -> list[Member]:
    """Return the members of the archive in an open file, in order.

    Everything about headers is checked, that no member is cut and that no name comes twice; data
    is not read.
    """
    with about(where):
        size = os.fstat(descriptor).st_size
    whole = Region(where, descriptor, 0, size)
    if whole.read(0, len(MAGIC)) != MAGIC:
        raise malformed(where, 0, "not a VIB: it does not begin with '!<arch>'")
    found: dict[str, Member] = {}
    for member in _walk(whole):
        if member.name in found:
            raise malformed(where, member.header_offset, f"a second member '{member.name}'")
        found[member.name] = member
        if len(found) > limits.payloads + 2:
            offset = member.header_offset
            raise malformed(where, offset, f"more than {limits.payloads} payloads")
    return list(found.values())


def _walk(whole: Region) -> Iterator[Member]:
    offset = len(MAGIC)
    while offset < whole.size:
        name, size = _parse(whole, offset)
        start = offset + HEADER_BYTES
        if start + size > whole.size:
            missing = start + size - whole.size
            raise malformed(
                whole.name, offset, f"member '{name}' is cut: {missing} of {size} bytes are missing"
            )
        data = Region(f"{whole.name}, member {name}", whole.descriptor, start, size)
        yield Member(name, offset, data)
        offset = start + size + size % 2


def _parse(whole: Region, offset: int) -> tuple[str, int]:
    raw = whole.read(offset, HEADER_BYTES)
    if len(raw) < HEADER_BYTES:
        raise malformed(whole.name, offset, f"a member's header is cut after {len(raw)} bytes")
    if raw[58:60] != HEADER_END:
        raise malformed(whole.name, offset, "a member's header does not end as ar's do")
    return _parse_name(raw[:16], whole.name, offset), _parse_size(raw[48:58], whole.name, offset)


def _parse_name(raw: bytes, where: str, offset: int) -> str:
    name = raw.rstrip(b" ").removesuffix(b"/")  # GNU ends names with a slash, others with spaces
    if _NAME.fullmatch(name):
        return name.decode("ascii")
    if raw.startswith((b"/", b"#1/")):
        raise malformed(
            where, offset, "symbol tables and long member names do not belong in a VIB",
            hint="names of payloads have at most 15 characters",
        )  # fmt: skip
    raise malformed(where, offset, f"'{printable(raw)}' cannot name a member of a VIB")


def _parse_size(raw: bytes, where: str, offset: int) -> int:
    digits = raw.rstrip(b" ")
    # int() alone would also take '+1', '1_0' and other alphabets' digits
    if not re.fullmatch(rb"[0-9]{1,10}", digits):
        raise malformed(where, offset, f"'{printable(raw)}' is not a member's size")
    return int(digits)
