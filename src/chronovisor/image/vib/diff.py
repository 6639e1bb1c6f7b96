"""What differs between two packages: in their descriptors, and file by file."""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, fields

from chronovisor.image.vib.descriptor import Descriptor
from chronovisor.image.vib.package import Package
from chronovisor.image.vib.tarball import Kind


@dataclass(frozen=True, slots=True)
class Difference:
    """Something that is not the same; an empty side means that it is not there at all."""

    where: str
    left: str
    right: str


_ELSEWHERE = frozenset({"files", "payloads", "unknown"})


def diff(left: Package, right: Package) -> Iterator[Difference]:
    """Yield what differs, descriptor first, then payloads, then files by path."""
    yield from _descriptors(left.descriptor, right.descriptor)
    if bool(left.signature) != bool(right.signature):
        yield Difference("signature", _signed(left), _signed(right))
    ours, theirs = _payloads(left), _payloads(right)
    for name in sorted(ours.keys() | theirs.keys()):
        if ours.get(name) != theirs.get(name):
            yield Difference(f"payload {name}", ours.get(name, ""), theirs.get(name, ""))
    ours, theirs = _files(left), _files(right)
    for path in sorted(ours.keys() | theirs.keys()):
        if ours.get(path) != theirs.get(path):
            yield Difference(path, ours.get(path, ""), theirs.get(path, ""))


def _descriptors(left: Descriptor, right: Descriptor) -> Iterator[Difference]:
    for field in fields(Descriptor):
        ours, theirs = getattr(left, field.name), getattr(right, field.name)
        if field.name not in _ELSEWHERE and ours != theirs:
            yield Difference(f"descriptor {field.name}", _text(ours), _text(theirs))


def _text(value: object) -> str:
    return ", ".join(map(str, value)) if isinstance(value, tuple) else str(value)


def _signed(package: Package) -> str:
    return "signed" if package.signature else "unsigned"


def _payloads(package: Package) -> dict[str, str]:
    return {
        payload.name: f"{payload.kind}, {package.stored(payload).size} bytes"
        for payload in package.descriptor.payloads
    }


def _files(package: Package) -> dict[str, str]:
    found: dict[str, str] = {}
    for payload in package.descriptor.payloads:
        for entry, data in package.contents(payload, absolute_links=True):
            text = f"{entry.kind} {entry.mode:04o}"
            if entry.kind is Kind.FILE:
                digest = hashlib.sha256()
                for piece in data:
                    digest.update(piece)
                text += f" {entry.size} bytes sha-256 {digest.hexdigest()[:16]}…"
            elif entry.link:
                text += f" → {entry.link}"
            found[f"{payload.name}:/{entry.path}"] = text
    return found
