"""What a depot's metadata says of its packages, read from documents that nobody vouches for."""

import re
from collections.abc import Mapping
from dataclasses import dataclass

from chronovisor.errors import NotFound
from chronovisor.image import paths, xmltree
from chronovisor.image.limits import DEFAULT, Limits
from chronovisor.image.refusal import malformed, printable
from chronovisor.image.vib import descriptor_read
from chronovisor.image.vib.descriptor import Descriptor
from chronovisor.image.xmltree import Element

_SIZE = re.compile(r"[0-9]{1,15}")
_SHA256 = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, slots=True)
class Listed:
    """A package of a depot: what it says of itself, and where its file is and how to know it."""

    descriptor: Descriptor
    relative_path: str
    size: int
    sha256: str


def vendor_indexes(raw: bytes, where: str, limits: Limits = DEFAULT) -> list[str]:
    """Return the paths of the vendors' indexes that an index.xml names."""
    root = xmltree.parse(raw, where, limits, limits.index_bytes)
    found = [
        _path(vendor.value("relativePath"), vendor.find("indexfile") or vendor, where, limits)
        for vendor in root.all("vendor")
    ]
    if not found:
        raise malformed(where, root.offset, "the index names no vendor")
    return found


def metadata_files(raw: bytes, where: str, limits: Limits = DEFAULT) -> list[str]:
    """Return the paths of the metadata.zip files that a vendor's index names."""
    root = xmltree.parse(raw, where, limits, limits.index_bytes)
    places = [url for data in root.all("metadata") for url in data.all("url")]
    # one file is listed for every version of the product that it serves
    return list(dict.fromkeys(_path("", url, where, limits) for url in places))


def _path(above: str, element: Element, where: str, limits: Limits) -> str:
    name = f"{above.strip().rstrip('/')}/{element.text.strip()}".lstrip("/")
    if element.text.strip().startswith("/") or above.strip().startswith("/"):
        name = "/" + name  # so that it is refused as what it is
    if "://" in name:
        raise malformed(
            f"{where}, line {element.line}",
            element.offset,
            f"'{printable(name)}' leads to another place; only paths in the depot are followed",
        )
    path = paths.inside(
        name,
        lambda message: malformed(f"{where}, line {element.line}", element.offset, message),
        limits,
    )
    if not path:
        raise malformed(f"{where}, line {element.line}", element.offset, "a path is missing")
    return path


def packages(documents: Mapping[str, bytes], where: str, limits: Limits = DEFAULT) -> list[Listed]:
    """Return the packages that the documents of a metadata.zip describe.

    `vibs/*.xml` are read; where there are none (old bundles), so there are no packages.
    """
    found: list[Listed] = []
    for name, raw in sorted(documents.items()):
        if name.startswith("vibs/") and name.endswith(".xml"):
            if len(found) >= limits.depot_packages:
                raise malformed(where, 0, f"more than {limits.depot_packages} packages")
            found.append(_listed(raw, f"{where}, {name}", limits))
    if not found:
        raise NotFound(f"{where} describes no packages")
    return found


def _listed(raw: bytes, where: str, limits: Limits) -> Listed:
    root = xmltree.parse(raw, where, limits)
    descriptor = descriptor_read.interpret(root, where, limits)
    size, digest = root.value("packed-size"), _digest(root)
    if not _SIZE.fullmatch(size) or int(size) > limits.stored_bytes:
        raise malformed(where, root.offset, f"<packed-size> is '{printable(size)}'")
    if not _SHA256.fullmatch(digest):
        raise malformed(where, root.offset, "there is no sha-256 <checksum> of the package")
    place = root.find("relative-path")
    if place is None:
        raise malformed(where, root.offset, "<relative-path> is missing")
    return Listed(descriptor, _path("", place, where, limits), int(size), digest)


def _digest(root: Element) -> str:
    for checksum in root.all("checksum"):
        if checksum.attributes.get("checksum-type") == "sha-256":
            return checksum.text.strip().lower()
    return ""
