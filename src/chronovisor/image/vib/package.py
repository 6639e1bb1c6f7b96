"""An opened VIB: its members, its descriptor and what its payloads hold, read as a stream."""

import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from chronovisor.errors import InvalidInput, ProtocolError
from chronovisor.image.limits import DEFAULT, Limits
from chronovisor.image.refusal import about, malformed
from chronovisor.image.vib import ar, compression, descriptor_read
from chronovisor.image.vib.descriptor import Checksum, Descriptor, Payload, PayloadType
from chronovisor.image.vib.region import Region
from chronovisor.image.vib.tarball import Entry, Kind, Reader

DESCRIPTOR = "descriptor.xml"
SIGNATURE = "sig.pkcs7"
STRONG_DIGESTS = ("sha-256", "sha-512")
GUNZIP = "gunzip"

_HASHLIB = {"sha-256": "sha256", "sha-512": "sha512", "sha-1": "sha1", "md5": "md5"}
_OLD = {"debian-binary": "a Debian package inside", "complete.rpm": "an RPM inside"}

Contents = Iterator[tuple[Entry, Iterator[memoryview]]]


@dataclass(frozen=True, slots=True)
class Package:
    """A VIB whose container and descriptor have been read; its payloads have not."""

    path: Path
    size: int
    descriptor: Descriptor
    descriptor_bytes: bytes
    signature: bytes
    members: tuple[ar.Member, ...]
    limits: Limits

    @property
    def name(self) -> str:
        """Return the file's name, for messages."""
        return self.path.name

    def stored(self, payload: Payload) -> Region:
        """Return a payload's bytes as they are in the file."""
        return next(member.data for member in self.members if member.name == payload.name)

    def contents(self, payload: Payload, *, absolute_links: bool = False) -> Contents:
        """Yield (entry, data) of a payload; its checksums are checked on the way.

        What is stored is checked before any of it is unpacked, what is unpacked once all of it
        has gone by: whoever acts on the entries must be ready to undo it when this raises.
        A `boot` payload is one file, itself.
        """
        stored = self.stored(payload)
        check_digests(stored.chunks(), payload, "", stored)
        if payload.kind is PayloadType.BOOT:
            yield from self._boot(payload, stored)
            return
        digests = _Digests(payload, GUNZIP)
        chunks = digests.watching(compression.unpack(stored, self.limits))
        yield from Reader(chunks, stored.name, self.limits, absolute_links)
        digests.compare(stored)

    def _boot(self, payload: Payload, stored: Region) -> Contents:
        entry = Entry(payload.name, Kind.FILE, stored.size, 0o644, self.descriptor.epoch_s, "", 0)
        yield entry, map(memoryview, stored.chunks())
        if any(checksum.process == GUNZIP for checksum in payload.checksums):
            check_digests(compression.unpack(stored, self.limits), payload, GUNZIP, stored)


class _Digests:
    """Computes the digests that a payload states for one form of it."""

    def __init__(self, payload: Payload, process: str) -> None:
        self._payload = payload
        self._running = [
            (checksum, hashlib.new(_HASHLIB[checksum.kind], usedforsecurity=False))
            for checksum in payload.checksums
            if checksum.process == process
        ]

    def watching(self, chunks: Iterator[bytes]) -> Iterator[bytes]:
        """Yield the chunks on."""
        for chunk in chunks:
            for _, digest in self._running:
                digest.update(chunk)
            yield chunk

    def compare(self, stored: Region) -> None:
        """Raise ProtocolError for the first digest that is not as stated."""
        for checksum, digest in self._running:
            if digest.hexdigest() != checksum.value:
                raise _mismatch(checksum, digest.hexdigest(), self._payload, stored)


def check_digests(chunks: Iterator[bytes], payload: Payload, process: str, stored: Region) -> None:
    """Compare chunks with the digests that a payload states for them."""
    digests = _Digests(payload, process)
    for _ in digests.watching(chunks):
        pass
    digests.compare(stored)


def _mismatch(checksum: Checksum, found: str, payload: Payload, stored: Region) -> ProtocolError:
    form = f" after {checksum.process}" if checksum.process else ""
    return ProtocolError(
        f"{stored.name} (at byte {stored.offset} of the file): {checksum.kind}{form} of payload "
        f"'{payload.name}' is {found}, the descriptor says {checksum.value}",
        hint="the file is damaged or was tampered with; fetch it again from a source you trust",
    )


@contextmanager
def opened(path: Path, limits: Limits = DEFAULT) -> Iterator[Package]:
    """Open a VIB for the length of a block.

    Raises NotFound, ProtocolError (the container or the XML is broken) or InvalidInput (the
    descriptor breaks a rule, or the package is of ESX 4's kind).
    """
    with about(path):
        # O_NONBLOCK: a FIFO in place of a file must not hang us
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        yield _read(path, descriptor, limits)
    finally:
        os.close(descriptor)


def _read(path: Path, descriptor: int, limits: Limits) -> Package:
    members = tuple(ar.members(descriptor, path.name, limits))
    by_name = {member.name: member for member in members}
    for name, what in _OLD.items():
        if name in by_name:
            raise InvalidInput(
                f"{path.name}: a VIB of ESX 4 ({what}: member '{name}')",
                hint="only VIBs of ESXi 5 and later can be read",
            )
    text = _small(by_name, DESCRIPTOR, path.name, limits.descriptor_bytes)
    signature = _small(by_name, SIGNATURE, path.name, limits.signature_bytes)
    found = descriptor_read.parse(text, f"{path.name}, member {DESCRIPTOR}", limits)
    _check_members(found, members, path.name, limits)
    with about(path):
        size = os.fstat(descriptor).st_size
    return Package(path, size, found, text, signature, members, limits)


def _small(members: dict[str, ar.Member], name: str, where: str, most: int) -> bytes:
    member = members.get(name)
    if member is None:
        raise malformed(where, len(ar.MAGIC), f"there is no member '{name}'")
    if member.data.size > most:
        raise malformed(where, member.header_offset, f"member '{name}' is larger than {most} bytes")
    return member.data.read(0, member.data.size)


def _check_members(
    descriptor: Descriptor, members: tuple[ar.Member, ...], where: str, limits: Limits
) -> None:
    """Hold the container against the descriptor: the same payloads, of the same size."""
    stored = {m.name: m for m in members if m.name not in (DESCRIPTOR, SIGNATURE)}
    for payload in descriptor.payloads:
        member = stored.pop(payload.name, None)
        if member is None:
            raise malformed(where, len(ar.MAGIC), f"payload '{payload.name}' is missing")
        size, offset = member.data.size, member.header_offset
        if payload.size is not None and size != payload.size:
            raise malformed(
                where,
                offset,
                f"payload '{payload.name}' has {size} bytes, the descriptor says {payload.size}",
            )
        if size > limits.stored_bytes:
            raise malformed(where, offset, f"payload '{payload.name}' is larger than the limit")
    for member in stored.values():
        raise malformed(
            where, member.header_offset, f"member '{member.name}' is not in the descriptor"
        )
