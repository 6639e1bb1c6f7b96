"""Builds packages. Equal input gives equal bytes, whoever builds and whenever."""

import hashlib
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import BinaryIO, Protocol

from chronovisor.errors import Denied, InvalidInput, Problem
from chronovisor.image.durable import replacing
from chronovisor.image.limits import CHUNK_BYTES
from chronovisor.image.refusal import about
from chronovisor.image.vib import (
    ar,
    compression,
    descriptor_read,
    descriptor_write,
    extensibility,
    signature,
    tarwrite,
)
from chronovisor.image.vib.acceptance import AcceptanceLevel
from chronovisor.image.vib.descriptor import Checksum, Descriptor, Payload, PayloadType
from chronovisor.image.vib.ingredients import Archive, Compression, PayloadRecipe, Recipe
from chronovisor.image.vib.package import DESCRIPTOR, SIGNATURE, Package
from chronovisor.image.vib.signature import SigningKey
from chronovisor.image.vib.tarball import Kind
from chronovisor.image.vib.tarwrite import Source


@dataclass(frozen=True, slots=True)
class Built:
    """What was built, and what about it a host may refuse."""

    path: Path
    size: int
    descriptor: Descriptor
    warnings: tuple[str, ...]


class _Compressor(Protocol):
    def compress(self, chunk: bytes, /) -> bytes: ...

    def flush(self) -> bytes: ...


@dataclass(frozen=True, slots=True)
class _Spooled:
    """A finished payload in a nameless temporary file."""

    entry: Payload
    stream: BinaryIO


def build(
    recipe: Recipe,
    output: Path,
    *,
    key: SigningKey | None = None,
    force: bool = False,
    epoch_s: int | None = None,
) -> Built:
    """Build a package into the file `output`, or below it under its own name if a directory.

    `epoch_s` (SOURCE_DATE_EPOCH) is the time that files get, and the release date where the
    recipe has none. Without either, it is the newest file's. Files that the level does not allow
    raise Denied, or with `force` become warnings.
    """
    trees = {payload.name: _tree(payload) for payload in recipe.payloads}
    descriptor = _dated(recipe, trees, epoch_s)
    mtime_s = descriptor.epoch_s if epoch_s is None else epoch_s
    files = [
        source.path
        for payload in recipe.payloads
        for source in trees[payload.name]
        if source.kind is not Kind.DIRECTORY and payload.kind is not PayloadType.BOOT
    ]
    warnings = _check_files(descriptor, files, force)
    with about(output):
        target = output / descriptor.file_name if output.is_dir() else output
    with ExitStack() as stack:
        spooled = [
            stack.enter_context(_spool(payload, trees[payload.name], mtime_s, target.parent))
            for payload in recipe.payloads
        ]
        entries = tuple(item.entry for item in spooled)
        final = replace(descriptor, files=tuple(files), payloads=entries)
        size = _write(final, spooled, key, target)
    if key is None and final.acceptance_level is not AcceptanceLevel.COMMUNITY:
        level = final.acceptance_level
        warnings.append(f"unsigned: no host takes it at level {level} before `visorctl vib sign`")
    return Built(target, size, final, tuple(warnings))


def _tree(payload: PayloadRecipe) -> list[Source]:
    if payload.kind is not PayloadType.BOOT:
        return tarwrite.scan(payload.source)
    with about(payload.source):
        status = payload.source.stat()
    return [
        Source(
            payload.name, Kind.FILE, 0o644, status.st_size, int(status.st_mtime), "", payload.source
        )
    ]


def _dated(recipe: Recipe, trees: dict[str, list[Source]], epoch_s: int | None) -> Descriptor:
    if recipe.is_dated:
        return recipe.descriptor
    newest = max((source.mtime_s for tree in trees.values() for source in tree), default=0)
    moment = datetime.fromtimestamp(max(0, newest) if epoch_s is None else epoch_s, UTC)
    return replace(recipe.descriptor, release_date=moment)


def _check_files(descriptor: Descriptor, files: Sequence[str], force: bool) -> list[str]:
    twice = sorted({path for path in files if files.count(path) > 1}) if _repeats(files) else []
    if twice:
        problems = [Problem(path, "is in two payloads") for path in twice]
        raise InvalidInput(f"VIB {descriptor.name}: {twice[0]} is in two payloads", problems)
    broken = extensibility.violations(descriptor.name, descriptor.acceptance_level, files)
    if broken and not force:
        raise Denied(
            "; ".join(f"{problem.where}: {problem.message}" for problem in broken[:10]),
            hint=f"{broken[0].valid}; --force builds it all the same, and hosts need --force too",
        )
    return [f"{problem.where}: {problem.message}" for problem in broken]


def _repeats(files: Sequence[str]) -> bool:
    return len(set(files)) < len(files)


@contextmanager
def _spool(
    payload: PayloadRecipe, tree: list[Source], mtime_s: int, directory: Path
) -> Iterator[_Spooled]:
    """Make a payload in a file without a name: nothing stays of it when we are killed."""
    with about(directory), tempfile.TemporaryFile(dir=directory) as stream:
        yield _Spooled(_fill(stream, payload, tree, mtime_s), stream)


def _fill(stream: BinaryIO, payload: PayloadRecipe, tree: list[Source], mtime_s: int) -> Payload:
    """Write a payload as it will be stored, and return its entry with size and checksums."""
    stored, packer = hashlib.sha256(), _packer(payload)
    unpacked, old = hashlib.sha256(), hashlib.sha1(usedforsecurity=False)

    def keep(data: bytes) -> None:
        stored.update(data)
        stream.write(data)

    def pack(data: bytes) -> None:
        unpacked.update(data)
        old.update(data)
        keep(packer.compress(data))

    if payload.kind is PayloadType.BOOT:
        for chunk in tree[0].chunks():
            keep(chunk)
        return _entry(payload, stream, [Checksum("sha-256", "", stored.hexdigest())])
    write = tarwrite.write_vmtar if payload.archive is Archive.VMTAR else tarwrite.write_tar
    write(tree, mtime_s, pack, f"payload {payload.name}")
    keep(packer.flush())
    checksums = [
        Checksum("sha-256", "", stored.hexdigest()),
        Checksum("sha-256", "gunzip", unpacked.hexdigest()),
        Checksum("sha-1", "gunzip", old.hexdigest()),
    ]
    return _entry(payload, stream, checksums)


def _entry(payload: PayloadRecipe, stream: BinaryIO, checksums: list[Checksum]) -> Payload:
    return Payload(payload.name, payload.kind, stream.tell(), tuple(checksums))


def _packer(payload: PayloadRecipe) -> _Compressor:
    if payload.compression is Compression.XZ:
        return compression.xz_writer()
    return compression.GzipWriter(payload.level)


def _write(
    descriptor: Descriptor, spooled: Sequence[_Spooled], key: SigningKey | None, target: Path
) -> int:
    text = descriptor_write.render(descriptor)
    if descriptor_read.parse(text, str(target)) != descriptor:
        raise InvalidInput(
            f"{target}: a text of the descriptor would be read back otherwise than it was given",
            hint="take white space off the ends of texts, and empty items out of lists",
        )
    with replacing(target) as stream:
        stream.write(ar.MAGIC)
        _write_member(stream, DESCRIPTOR, [text], len(text))
        signed = b"" if key is None else signature.sign(text, key)
        _write_member(stream, SIGNATURE, [signed], len(signed))
        for item in spooled:
            item.stream.seek(0)
            chunks = iter(partial(item.stream.read, CHUNK_BYTES), b"")
            _write_member(stream, item.entry.name, chunks, item.entry.size or 0)
        return stream.tell()


def _write_member(
    stream: BinaryIO, name: str, chunks: Iterator[bytes] | Sequence[bytes], size: int
) -> None:
    stream.write(ar.header(name, size))
    for chunk in chunks:
        stream.write(chunk)
    stream.write(ar.padding(size))


def sign(package: Package, key: SigningKey, output: Path) -> None:
    """Write a copy of a package whose descriptor is signed with `key`; payloads stay as they are.

    `output` may be the package's own file: it is replaced when the copy is complete.
    """
    signed = signature.sign(package.descriptor_bytes, key)
    with replacing(output) as stream:
        stream.write(ar.MAGIC)
        text = package.descriptor_bytes
        _write_member(stream, DESCRIPTOR, [text], len(text))
        _write_member(stream, SIGNATURE, [signed], len(signed))
        for payload in package.descriptor.payloads:
            stored = package.stored(payload)
            _write_member(stream, payload.name, stored.chunks(), stored.size)
