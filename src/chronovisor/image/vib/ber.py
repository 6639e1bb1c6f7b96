"""Just enough ASN.1 to walk a CMS signature: tag, length and contents in BER (X.690).

Signatures in the field are BER, not DER: `openssl smime` leaves its certificates unsorted, and
others write indefinite lengths. So nothing is decoded here but structure; numbers, names and
certificates go to `cryptography` as bytes.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from chronovisor.image.refusal import malformed

INTEGER, OCTET_STRING, OBJECT_ID, SEQUENCE, SET = 0x02, 0x04, 0x06, 0x30, 0x31
CONTEXT_0, CONTEXT_1, CONTEXT_0_PRIMITIVE = 0xA0, 0xA1, 0x80
_CONSTRUCTED = 0x20
MOST_DEPTH = 16
MOST_PIECES = 4096


@dataclass(frozen=True, slots=True)
class Value:
    """One value: its first tag byte, where its contents are in `raw`, and where all of it is."""

    raw: bytes
    where: str
    tag: int
    start: int
    body: int
    end: int
    after: int  # `end`, or behind the two zeros that end an indefinite length
    depth: int

    @property
    def contents(self) -> bytes:
        """Return the bytes between the length and the end."""
        return self.raw[self.body : self.end]

    @property
    def encoded(self) -> bytes:
        """Return the whole value as it stands."""
        return self.raw[self.start : self.after]

    def children(self) -> Iterator["Value"]:
        """Yield the values inside a constructed one."""
        if not self.tag & _CONSTRUCTED:
            raise malformed(self.where, self.start, "a value of its own where a list belongs")
        position = self.body
        while position < self.end:
            child = read(self.raw, self.where, position, self.end, self.depth + 1)
            yield child
            position = child.after

    def octets(self) -> bytes:
        """Return an octet string's bytes, also where it is written in pieces."""
        if not self.tag & _CONSTRUCTED:
            return self.contents
        return b"".join(child.octets() for child in self.children())


def read(raw: bytes, where: str, start: int = 0, end: int | None = None, depth: int = 0) -> Value:
    """Return the value that begins at `start`."""
    end = len(raw) if end is None else end
    if depth > MOST_DEPTH:
        raise malformed(where, start, f"values are nested deeper than {MOST_DEPTH}")
    if start + 2 > end:
        raise malformed(where, start, "the signature is cut")
    tag, length, body = raw[start], raw[start + 1], start + 2
    if tag & 0x1F == 0x1F:
        raise malformed(where, start, "a tag that no signature has")
    if length == 0x80:
        return _indefinite(raw, where, start, end, depth)
    if length > 0x80:
        count = length & 0x7F
        if count > 4 or body + count > end:
            raise malformed(where, start, "a length that no signature has")
        length, body = int.from_bytes(raw[body : body + count], "big"), body + count
    if body + length > end:
        raise malformed(where, start, "a value is longer than what holds it")
    return Value(raw, where, tag, start, body, body + length, body + length, depth)


def _indefinite(raw: bytes, where: str, start: int, end: int, depth: int) -> Value:
    if not raw[start] & _CONSTRUCTED:
        raise malformed(where, start, "a value without a length")
    position = body = start + 2
    for _ in range(MOST_PIECES):
        if raw[position : position + 2] == b"\0\0" and position + 2 <= end:
            return Value(raw, where, raw[start], start, body, position, position + 2, depth)
        position = read(raw, where, position, end, depth + 1).after
    raise malformed(where, start, f"a value in more than {MOST_PIECES} pieces")


class Fields:
    """Reads the children of a sequence one after the other, by tag."""

    def __init__(self, value: Value) -> None:
        self._value, self._children = value, value.children()
        self._next = next(self._children, None)

    def optional(self, *tags: int) -> Value | None:
        """Return the next value if it has one of the tags."""
        found = self._next
        if found is None or found.tag not in tags:
            return None
        self._next = next(self._children, None)
        return found

    def required(self, what: str, *tags: int) -> Value:
        """Return the next value, which must have one of the tags."""
        found = self.optional(*tags)
        if found is None:
            place = self._next or self._value
            raise malformed(place.where, place.start, f"the {what} is missing")
        return found
