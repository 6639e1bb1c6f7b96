"""A part of an open file, read a chunk at a time."""

import os
from collections.abc import Iterator
from dataclasses import dataclass

from chronovisor.image.limits import CHUNK_BYTES
from chronovisor.image.refusal import about, malformed


@dataclass(frozen=True, slots=True)
class Region:
    """`size` bytes from `offset` of the open file `descriptor`; `name` is for messages.

    Reading does not move the descriptor, so regions of one file can be read side by side.
    """

    name: str
    descriptor: int
    offset: int
    size: int

    def read(self, start: int, count: int) -> bytes:
        """Return up to `count` bytes from `start` (in the region); fewer at its end only."""
        count = max(0, min(count, self.size - start))
        pieces: list[bytes] = []
        with about(self.name):
            while count and (piece := os.pread(self.descriptor, count, self.offset + start)):
                pieces.append(piece)
                start, count = start + len(piece), count - len(piece)
        if count:
            raise malformed(self.name, start, f"ends {count} bytes early: it was cut meanwhile")
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def chunks(self) -> Iterator[bytes]:
        """Yield the whole region in chunks of at most CHUNK_BYTES."""
        for start in range(0, self.size, CHUNK_BYTES):
            yield self.read(start, CHUNK_BYTES)
