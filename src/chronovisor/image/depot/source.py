"""A depot to read from, wherever it is."""

import hashlib
import io
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from chronovisor.errors import Conflict, InvalidInput, NotFound
from chronovisor.image import durable
from chronovisor.image.depot import archive, listing
from chronovisor.image.depot.archive import Archive
from chronovisor.image.depot.listing import Listed
from chronovisor.image.depot.remote import Progress, Remote
from chronovisor.image.limits import CHUNK_BYTES, DEFAULT, Limits
from chronovisor.image.refusal import about, malformed
from chronovisor.image.vib.relation import version_key

INDEX = "index.xml"


class Store(Protocol):
    """Where a depot's files are."""

    def read(self, path: str, most: int) -> bytes:
        """Return a small file; an error where it has more than `most` bytes."""

    def save(self, path: str, target: Path, size: int, sha256: str, progress: Progress) -> None:
        """Write a file to `target`, which appears when it is complete and as listed."""


@dataclass(frozen=True, slots=True)
class _Directory:
    root: Path

    def read(self, path: str, most: int) -> bytes:
        with about(self.root / path), (self.root / path).open("rb") as stream:
            raw = stream.read(most + 1)
        if len(raw) > most:
            raise malformed(str(self.root / path), most, f"larger than {most} bytes")
        return raw

    def save(self, path: str, target: Path, size: int, sha256: str, progress: Progress) -> None:
        file = self.root / path
        with about(file), file.open("rb") as stream:
            chunks = iter(lambda: stream.read(CHUNK_BYTES), b"")
            _keep(chunks, str(file), target, size, sha256, progress)


@dataclass(frozen=True, slots=True)
class _Bundle:
    archive: Archive

    def read(self, path: str, most: int) -> bytes:
        return self.archive.read(path, most)

    def save(self, path: str, target: Path, size: int, sha256: str, progress: Progress) -> None:
        where = f"{self.archive.where}, {path}"
        chunks = self.archive.chunks(path, self.archive.limits.stored_bytes)
        _keep(chunks, where, target, size, sha256, progress)


def _keep(
    chunks: Iterator[bytes], where: str, target: Path, size: int, sha256: str, progress: Progress
) -> None:
    digest, done = hashlib.sha256(), 0
    with durable.replacing(target) as stream:
        for chunk in chunks:
            done += len(chunk)
            if done > size:
                break
            digest.update(chunk)
            with about(target):
                stream.write(chunk)
            progress(done, size)
        if done != size or digest.hexdigest() != sha256:
            found = "another size" if done != size else f"the SHA-256 {digest.hexdigest()}"
            raise Conflict(
                f"{where} has {found}: it is not the file that the depot lists",
                hint="the depot is damaged or was tampered with: fetch it again",
            )


@dataclass(frozen=True, slots=True)
class Depot:
    """An opened depot and the packages it lists, sorted by id."""

    where: str
    packages: tuple[Listed, ...]
    store: Store

    def find(self, name: str) -> Listed:
        """Return a package by id, or the newest of a name."""
        for package in self.packages:
            if package.descriptor.id == name:
                return package
        named = [package for package in self.packages if package.descriptor.name == name]
        if not named:
            raise NotFound(f"{self.where} lists no package '{name}'")
        return max(named, key=lambda package: version_key(package.descriptor.version))

    def fetch(
        self, package: Listed, directory: Path, progress: Progress = lambda _done, _all: None
    ) -> Path:
        """Write a package's file into a directory and return its path.

        A file that is there already and is the listed one is left as it is.
        """
        target = directory / package.descriptor.file_name
        if not _is(target, package):
            path, size, sha256 = package.relative_path, package.size, package.sha256
            self.store.save(path, target, size, sha256, progress)
        return target


def _is(target: Path, package: Listed) -> bool:
    with about(target):
        if not target.is_file() or target.stat().st_size != package.size:
            return False
        with target.open("rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest() == package.sha256


@contextmanager
def opened(source: str, limits: Limits = DEFAULT) -> Iterator[Depot]:
    """Open the depot at a URL, in a zip file or in a directory, and read what it lists."""
    if "://" in source:
        yield _listed(Remote.at(source), source, limits)
        return
    path = Path(source)
    with about(path):
        is_directory, is_index = path.is_dir(), path.name == INDEX
        if is_directory or is_index:
            root = path if is_directory else path.parent
            yield _listed(_Directory(root), source, limits)
            return
        if not archive.is_zip(path):
            raise InvalidInput(
                f"{path} is not a depot", hint="name an offline bundle, a directory or a URL"
            )
        with path.open("rb") as stream:
            yield _listed(_Bundle(Archive(stream, path.name, limits)), source, limits)


def _listed(store: Store, where: str, limits: Limits) -> Depot:
    found: dict[str, Listed] = {}
    most = limits.index_bytes
    for index in listing.vendor_indexes(store.read(INDEX, most), f"{where}, {INDEX}", limits):
        above = index.rpartition("/")[0]
        for metadata in listing.metadata_files(store.read(index, most), f"{where}, {index}"):
            path = f"{above}/{metadata}" if above else metadata
            raw = io.BytesIO(store.read(path, most))
            documents = archive.documents(raw, f"{where}, {path}", limits)
            for package in listing.packages(documents, f"{where}, {path}", limits):
                _add(found, package, where)
    return Depot(where, tuple(found[key] for key in sorted(found)), store)


def _add(found: dict[str, Listed], package: Listed, where: str) -> None:
    known = found.setdefault(package.descriptor.id, package)
    if known.sha256 != package.sha256:
        raise Conflict(f"{where} lists two different packages {package.descriptor.id}")
