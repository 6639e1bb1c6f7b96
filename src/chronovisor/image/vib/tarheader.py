"""The 512-byte header of tar and vmtar, read and written, and the extended headers, read.

POSIX.1-1988 ustar, POSIX.1-2001 pax and GNU tar's long names and base-256 numbers (tar(5) of
libarchive); of vmtar, the last 16 bytes.
"""

import re
import struct
from dataclasses import dataclass, field, replace

from chronovisor.image.refusal import malformed, printable

BLOCK_BYTES = 512
USTAR = b"ustar\x0000"
GNU = b"ustar  \0"
VISOR = b"visor  "
EXTENSIONS = frozenset({b"x", b"g", b"L", b"K"})
EXTENSION_BYTES = 64 * 1024
MOST_SIZE = 1 << 62

_CHECKSUM = slice(148, 156)
_PAX_KEYS = frozenset({"path", "linkpath", "size", "mtime"})


@dataclass(frozen=True, slots=True)
class Header:
    """The fields that matter here. `name` and `link` are bytes: their coding is not known yet.

    `data_offset` is 0 where data follow the header.
    """

    name: bytes
    kind: bytes
    size: int
    mode: int = 0o644
    mtime_s: int = 0
    link: bytes = b""
    is_visor: bool = False
    data_offset: int = 0
    offset: int = 0


@dataclass(frozen=True, slots=True)
class Extension:
    """What extended headers said about the next entry; `globals` about all from here on."""

    values: dict[str, bytes] = field(default_factory=dict)
    globals: dict[str, bytes] = field(default_factory=dict)

    def __bool__(self) -> bool:
        return bool(self.values)


def parse(block: bytes, offset: int, where: str) -> Header:
    """Return the header in a block that stands at `offset` of the archive."""
    stated = _number(block[_CHECKSUM], "checksum", offset, where)
    if stated != checksum(block):
        raise malformed(where, offset, "not a tar header: its checksum is wrong")
    magic = block[257:265]
    is_visor = magic.startswith(VISOR)
    size = _number(block[124:136], "size", offset, where)
    header = Header(
        name=_text(block[:100]),
        kind=block[156:157],
        size=size,
        mode=_number(block[100:108], "mode", offset, where),
        mtime_s=_number(block[136:148], "time", offset, where),
        link=_text(block[157:257]),
        is_visor=is_visor,
        data_offset=struct.unpack_from("<I", block, 496)[0] if is_visor else 0,
        offset=offset,
    )
    # GNU's own format uses the prefix field for something else; vmtar keeps 151 bytes of it
    prefix = _text(block[345:496] if is_visor else block[345:500])
    if prefix and (is_visor or magic.startswith(b"ustar\0")):
        header = replace(header, name=prefix + b"/" + header.name)
    return header


def checksum(block: bytes) -> int:
    """Return the sum of a header's bytes with the checksum's own field taken as spaces."""
    return sum(block) - sum(block[_CHECKSUM]) + 8 * 0x20


def _text(raw: bytes) -> bytes:
    return raw.split(b"\0", 1)[0]


def _number(raw: bytes, what: str, offset: int, where: str) -> int:
    if raw[0] == 0x80:  # GNU's base-256, positive
        value = int.from_bytes(raw[1:], "big")
        if value > MOST_SIZE:
            raise malformed(where, offset, f"the {what} in a header is out of range")
        return value
    digits = raw.rstrip(b" \0").lstrip(b" ")
    if not re.fullmatch(rb"[0-7]*", digits):
        raise malformed(where, offset, f"the {what} in a header is '{printable(raw)}'")
    return int(digits or b"0", 8)


def render(header: Header, *, data_offset: int | None = None) -> bytes:
    """Return a header block; with `data_offset` a vmtar one, else ustar.

    The name must fit: `split(name)` tells. Owner and group are root's, as is proper in a package.
    """
    room = 151 if data_offset is not None else 155
    name, prefix = split(header.name, room) or (header.name[:100], b"")
    block = bytearray(BLOCK_BYTES)
    struct.pack_into("<100s8s8s8s", block, 0, name, _octal(header.mode, 8), *[_octal(0, 8)] * 2)
    struct.pack_into(
        "<12s12s8s", block, 124, _size(header.size), _octal(header.mtime_s, 12), b" " * 8
    )
    struct.pack_into("<1s100s8s", block, 156, header.kind, header.link, USTAR)
    struct.pack_into("<32s32s8s8s", block, 265, b"root", b"root", _octal(0, 8), _octal(0, 8))
    struct.pack_into(f"<{room}s", block, 345, prefix)
    if data_offset is not None:
        block[257:265] = VISOR + b"\0"
        struct.pack_into("<IIII", block, 496, data_offset, 0, 0, 0)
    block[_CHECKSUM] = b"%06o\0 " % checksum(bytes(block))
    return bytes(block)


def split(name: bytes, room: int = 155) -> tuple[bytes, bytes] | None:
    """Return (name, prefix) that fit the header's fields, or nothing where they do not."""
    if len(name) <= 100:
        return name, b""
    for cut in range(len(name) - 101, min(room, len(name) - 1)):
        # vmtar readers take the prefix up to a zero byte, so one must be left in its field
        if name[cut : cut + 1] == b"/" and 0 < cut < room and name[cut + 1 :]:
            return name[cut + 1 :], name[:cut]
    return None


def long_name(name: bytes) -> bytes:
    """Return GNU's extended header for a name that does not fit, to stand before the entry's."""
    raw = name + b"\0"
    return render(Header(b"././@LongLink", b"L", len(raw))) + raw + bytes(-len(raw) % BLOCK_BYTES)


def _octal(value: int, width: int) -> bytes:
    return b"%0*o\0" % (width - 1, value)


def _size(value: int) -> bytes:
    # 8 GiB and more do not fit eleven octal digits: GNU's base-256
    return _octal(value, 12) if value < 1 << 33 else b"\x80" + value.to_bytes(11, "big")


def extend(extension: Extension, header: Header, raw: bytes, where: str) -> Extension:
    """Return an extension to which an extended header's data are added."""
    if header.kind == b"L":
        return replace(extension, values=extension.values | {"path": _text(raw)})
    if header.kind == b"K":
        return replace(extension, values=extension.values | {"linkpath": _text(raw)})
    records = _records(raw, header.offset, where)
    if header.kind == b"g":
        return replace(extension, globals=extension.globals | records)
    return replace(extension, values=extension.values | records)


def _records(raw: bytes, offset: int, where: str) -> dict[str, bytes]:
    """Return the `length key=value` records of a pax header that matter here."""
    records: dict[str, bytes] = {}
    while raw:
        found = re.match(rb"([0-9]{1,8}) ([^=]+)=", raw)
        length = int(found[1]) if found else 0
        if not found or not found.end() < length <= len(raw) or raw[length - 1 : length] != b"\n":
            raise malformed(where, offset, "an extended header's record is broken")
        key = found[2].decode("ascii", "replace")
        if key.startswith("GNU.sparse"):
            raise malformed(where, offset, "sparse files do not belong in a package")
        if key in _PAX_KEYS:
            records[key] = raw[found.end() : length - 1]
        raw = raw[length:]
    return records


def apply(extension: Extension, header: Header, where: str) -> Header:
    """Return a header with what extended headers said about it."""
    values = extension.globals | extension.values
    if not values:
        return header
    size, mtime_s = header.size, header.mtime_s
    if "size" in values:
        size = _decimal(values["size"], "size", header.offset, where)
    if "mtime" in values:
        mtime_s = _decimal(values["mtime"].split(b".")[0], "time", header.offset, where)
    return replace(
        header,
        name=values.get("path", header.name),
        link=values.get("linkpath", header.link),
        size=size,
        mtime_s=mtime_s,
    )


def _decimal(raw: bytes, what: str, offset: int, where: str) -> int:
    if not re.fullmatch(rb"[0-9]{1,18}", raw):
        raise malformed(where, offset, f"an extended header's {what} is '{printable(raw)}'")
    return int(raw)
