"""Writes depots: an offline bundle, or a directory for a web server."""

import fcntl
import hashlib
import io
import os
import shutil
import zipfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from pathlib import Path

from chronovisor.errors import Conflict, InvalidInput
from chronovisor.image import durable
from chronovisor.image.depot import archive, metadata
from chronovisor.image.depot.listing import Listed
from chronovisor.image.depot.metadata import Vendor
from chronovisor.image.limits import CHUNK_BYTES
from chronovisor.image.refusal import about
from chronovisor.image.vib.package import Package, opened
from chronovisor.image.vib.region import Region

__all__ = ["Vendor", "publish", "write_bundle"]


def write_bundle(
    files: Sequence[Path], output: Path, vendor: Vendor, epoch_s: int | None = None
) -> list[Listed]:
    """Write an offline bundle of packages. Equal packages give equal bytes.

    Times in it are `epoch_s` (SOURCE_DATE_EPOCH), or the newest package's release date.
    """
    with ExitStack() as stack:
        packages = [stack.enter_context(opened(path)) for path in files]
        listed = _listed(packages)
        at = _moment(listed, epoch_s)
        replacing = durable.replacing(output)
        with replacing as stream, about(output), zipfile.ZipFile(stream, "w") as bundle:
            for name, raw in _top(listed, vendor, at).items():
                bundle.writestr(archive.member(name, at, packed=name.endswith(".xml")), raw)
            for package, item in zip(packages, listed, strict=True):
                info = archive.member(item.relative_path, at, packed=False)
                with bundle.open(info, "w", force_zip64=item.size > 1 << 31) as target:
                    for chunk in _whole(package).chunks():
                        target.write(chunk)
        return listed


def publish(
    files: Sequence[Path], directory: Path, vendor: Vendor, epoch_s: int | None = None
) -> list[Listed]:
    """Write a depot into a directory. Packages that are there already stay listed.

    Packages are written before the index that names them, and each file is replaced whole: a
    client that reads meanwhile sees the old depot or the new one.
    """
    with ExitStack() as stack:
        stack.enter_context(_only_publisher(directory))
        packages = {
            package.descriptor.file_name: package
            for package in (stack.enter_context(opened(path)) for path in _all(files, directory))
        }
        listed = _listed(list(packages.values()))
        at = _moment(listed, epoch_s)
        for package, item in zip(packages.values(), listed, strict=True):
            _copy(package, directory / item.relative_path)
        # metadata.zip before the indexes: what they name is there when they are
        for name, raw in reversed(_top(listed, vendor, at).items()):
            with durable.replacing(directory / name) as stream:
                stream.write(raw)
        return listed


def _all(files: Sequence[Path], directory: Path) -> Iterator[Path]:
    """Yield the packages of a directory, then the new ones, which win over equal ids."""
    with about(directory):
        yield from sorted((directory / "vib20").glob("*/*.vib"))
    yield from files


@contextmanager
def _only_publisher(directory: Path) -> Iterator[None]:
    """Make the directory and wait for whoever publishes to it: each lists what all have put in."""
    with about(directory):
        directory.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        with about(directory):
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _copy(package: Package, target: Path) -> None:
    with about(target):
        target.parent.mkdir(parents=True, exist_ok=True)
        if target.exists() and target.samefile(package.path):
            return
    with durable.replacing(target) as stream, about(target):
        shutil.copyfileobj(_Chunks(_whole(package)), stream, CHUNK_BYTES)


class _Chunks(io.RawIOBase):
    """A region as a readable stream."""

    def __init__(self, region: Region) -> None:
        self._region, self._position = region, 0

    def read(self, size: int = -1) -> bytes:
        chunk = self._region.read(self._position, CHUNK_BYTES if size < 0 else size)
        self._position += len(chunk)
        return chunk


def _whole(package: Package) -> Region:
    descriptor = package.members[0].data.descriptor
    return Region(package.name, descriptor, 0, package.size)


def _listed(packages: Sequence[Package]) -> list[Listed]:
    listed = []
    for package in packages:
        digest = hashlib.sha256()
        for chunk in _whole(package).chunks():
            digest.update(chunk)
        it = package.descriptor
        path = f"vib20/{it.name}/{it.file_name}"
        listed.append(Listed(it, path, package.size, digest.hexdigest()))
    paths = [item.relative_path for item in listed]
    if not paths:
        raise InvalidInput("a depot needs at least one package")
    if len(set(paths)) < len(paths):
        twice = sorted({path for path in paths if paths.count(path) > 1})
        raise Conflict(f"two packages have the same id: {twice[0]}")
    return listed


def _moment(listed: Sequence[Listed], epoch_s: int | None) -> datetime:
    if epoch_s is not None:
        return datetime.fromtimestamp(epoch_s, UTC)
    return max(item.descriptor.release_date for item in listed)


def _top(listed: Sequence[Listed], vendor: Vendor, at: datetime) -> dict[str, bytes]:
    """Return the files at the top of a depot, in the order of a bundle."""
    packed = io.BytesIO()
    archive.write_documents(packed, metadata.documents(listed, vendor, at), at)
    return {
        "index.xml": metadata.index(vendor),
        "vendor-index.xml": metadata.vendor_index(vendor),
        "metadata.zip": packed.getvalue(),
    }
