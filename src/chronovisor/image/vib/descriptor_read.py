"""Reads `descriptor.xml`.

Whatever is wrong is reported
at once, each with its line. The form of versioned constraints (`relation`, `version`) is the one
commonly described; it has not been checked against a vendor's package, so reading is lenient.
"""

import re
from collections.abc import Iterator
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any, TypeVar

from chronovisor.errors import InvalidInput, Problem
from chronovisor.image import paths, xmltree
from chronovisor.image.limits import DEFAULT, Limits
from chronovisor.image.refusal import malformed, printable
from chronovisor.image.vib.acceptance import AcceptanceLevel
from chronovisor.image.vib.descriptor import (
    FLAGS,
    NAME,
    PAYLOAD,
    RELATIONS,
    RESERVED,
    VENDOR,
    Checksum,
    Descriptor,
    Payload,
    PayloadType,
    SoftwarePlatform,
    Unknown,
    instant,
)
from chronovisor.image.vib.relation import PART, Relation, operator_named
from chronovisor.image.xmltree import Element

DIGEST_DIGITS = {"sha-256": 64, "sha-1": 40, "sha-512": 128, "md5": 32}
MOST_PROBLEMS = 100
_KINDS = ("bootbank", "locker", "meta")
_SIZE_DIGITS = re.compile(r"[0-9]{1,15}")
_TRUE_BY_DEFAULT = frozenset({"live-install-allowed", "live-remove-allowed", "stateless-ready"})
# the last three stand only in a depot's copy of a descriptor
_KNOWN = frozenset(FLAGS) | {
    *("type", "name", "version", "vendor", "summary", "description", "release-date", "urls"),
    *("relationships", "software-tags", "system-requires", "file-list", "acceptance-level"),
    *("payloads", "relative-path", "packed-size", "checksum"),
}

Option = TypeVar("Option", bound=StrEnum)


def parse(raw: bytes, where: str = "descriptor.xml", limits: Limits = DEFAULT) -> Descriptor:
    """Return the descriptor in a document.

    Raises ProtocolError where it is not XML, InvalidInput with every broken rule where it is no
    descriptor.
    """
    return interpret(xmltree.parse(raw, where, limits), where, limits)


def interpret(root: Element, where: str, limits: Limits = DEFAULT) -> Descriptor:
    """Return the descriptor in a parsed document."""
    if root.name != "vib":
        raise malformed(where, root.offset, f"the document is <{printable(root.name)}>, not <vib>")
    return _Reading(root, where, limits).descriptor()


class _Reading:
    """One reading: gathers problems while it turns elements into values."""

    def __init__(self, root: Element, where: str, limits: Limits) -> None:
        self.root, self.where, self.limits = root, where, limits
        self.problems: list[Problem] = []

    def wrong(self, line: int, message: str, value: str = "", valid: str = "") -> None:
        if len(self.problems) < MOST_PROBLEMS:  # a hostile file has as many as it likes
            self.problems.append(Problem(f"{self.where}:{line}", message, printable(value), valid))

    def descriptor(self) -> Descriptor:
        found = self._read()
        if self.problems:
            first = self.problems[0]
            more = f" and {len(self.problems) - 1} more" if len(self.problems) > 1 else ""
            raise InvalidInput(f"{first.where}: {first.message}{more}", self.problems)
        return found

    def _read(self) -> Descriptor:
        root, requires = self.root, self.root.find("system-requires")
        unknown = [child for child in root.children if child.name not in _KNOWN]
        for name in ("type", "name", "version", "vendor", "acceptance-level", "payloads"):
            if len(found := list(root.all(name))) > 1:
                self.wrong(found[1].line, f"a second <{name}>")
        fields: dict[str, Any] = {field: self._relations(name) for name, field in RELATIONS.items()}
        fields |= {
            field: self._flag(name, name in _TRUE_BY_DEFAULT) for name, field in FLAGS.items()
        }
        return Descriptor(
            name=self._named("name", NAME),
            version=self._named("version", NAME),
            vendor=self._named("vendor", VENDOR),
            summary=root.value("summary"),
            description=root.value("description"),
            release_date=self._date(),
            kind=self._kind(),
            format_version=root.attributes.get("version", ""),
            urls=tuple(
                (url.attributes.get("key", ""), url.text.strip())
                for url in self._children("urls", "url")
            ),
            tags=tuple(tag.text.strip() for tag in self._children("software-tags", "tag")),
            maintenance_mode=requires is not None
            and self._flag("maintenance-mode", False, requires),
            software_platforms=self._software(requires),
            hardware_platforms=self._hardware(requires),
            files=self._files(),
            acceptance_level=self._level(),
            payloads=self._payloads(),
            unknown=tuple(Unknown(f"vib/{child.name}", child.line) for child in unknown),
            **fields,
        )

    def _children(self, name: str, inner: str) -> Iterator[Element]:
        parent = self.root.find(name)
        return iter(()) if parent is None else parent.all(inner)

    def _named(self, name: str, pattern: re.Pattern[str]) -> str:
        child = self.root.find(name)
        if child is None:
            self.wrong(self.root.line, f"<{name}> is missing")
            return "?"
        text = child.text.strip()
        if not pattern.fullmatch(text):
            self.wrong(
                child.line,
                f"<{name}> is '{printable(text)}'",
                text,
                "letters, digits and ._+~-, at most 100",
            )
        return text

    def _kind(self) -> str:
        text = self.root.value("type")
        if text not in _KINDS:
            child = self.root.find("type") or self.root
            self.wrong(child.line, f"<type> is '{printable(text)}'", text, ", ".join(_KINDS))
        return text

    def _level(self) -> AcceptanceLevel:
        place = self.root.find("acceptance-level") or self.root
        text = self.root.value("acceptance-level")
        found = self._option(AcceptanceLevel, text, place, "acceptance level")
        return found or AcceptanceLevel.COMMUNITY

    def _option(self, options: type[Option], text: str, place: Element, what: str) -> Option | None:
        try:
            return options(text)
        except ValueError:
            valid = ", ".join(option.value for option in options)
            self.wrong(place.line, f"the {what} is '{printable(text)}'", text, valid)
            return None

    def _date(self) -> datetime:
        text = self.root.value("release-date")
        moment = instant(text)
        if moment is None:
            child = self.root.find("release-date") or self.root
            valid = "such as 2026-11-21T09:30:00+00:00"
            self.wrong(child.line, f"<release-date> is '{printable(text)}'", text, valid)
        return moment or datetime.fromtimestamp(0, UTC)

    def _flag(self, name: str, default: bool, parent: Element | None = None) -> bool:
        child = (self.root if parent is None else parent).find(name)
        text = "" if child is None else child.text.strip().lower()
        if child is not None and text not in ("true", "false"):
            self.wrong(child.line, f"<{name}> is '{printable(text)}'", text, "true, false")
        return default if child is None else text == "true"

    def _relations(self, name: str) -> tuple[Relation, ...]:
        parent = self.root.find("relationships")
        group = None if parent is None else parent.find(name)
        return () if group is None else tuple(map(self._relation, group.children))

    def _relation(self, child: Element) -> Relation:
        name, version = child.attributes.get("name", ""), child.attributes.get("version", "")
        spelled = child.attributes.get("relation", "=" if version else "")
        operator = operator_named(spelled)
        is_written = PART.fullmatch(name) and (not version or PART.fullmatch(version))
        if not is_written or operator is None or bool(operator) != bool(version):
            self.wrong(
                child.line,
                f"<{printable(child.name)}> is not a relation",
                f"{name} {spelled} {version}",
                "name, or name with relation (<<, <=, =, >=, >>) and version",
            )
        return Relation(name, operator or "", version)

    def _software(self, requires: Element | None) -> tuple[SoftwarePlatform, ...]:
        found = [] if requires is None else [*requires.all("softwarePlatform")]
        found += [] if requires is None else [*requires.all("swPlatform")]
        return tuple(
            SoftwarePlatform(
                child.attributes.get("version", ""),
                child.attributes.get("locale", ""),
                child.attributes.get("productLineID", ""),
            )
            for child in found
        )

    def _hardware(self, requires: Element | None) -> tuple[str, ...]:
        if requires is None:
            return ()
        return tuple(
            child.attributes.get("vendor") or child.text.strip()
            for name in ("hardwarePlatform", "hwPlatform")
            for child in requires.all(name)
        )

    def _files(self) -> tuple[str, ...]:
        files = []
        for child in self._children("file-list", "file"):

            def refuse(message: str, line: int = child.line) -> InvalidInput:
                self.wrong(line, message)
                return InvalidInput(message)

            try:
                files.append(paths.inside(child.text.strip(), refuse, self.limits))
            except InvalidInput:
                continue  # it is in self.problems
        return tuple(files)

    def _payloads(self) -> tuple[Payload, ...]:
        found = tuple(self._payload(child) for child in self._children("payloads", "payload"))
        names = [payload.name for payload in found]
        if len(found) > self.limits.payloads:
            self.wrong(self.root.line, f"more than {self.limits.payloads} payloads")
        elif len(set(names)) < len(names):
            self.wrong(self.root.line, "two payloads have the same name", ", ".join(names))
        return found

    def _payload(self, child: Element) -> Payload:
        name, size = child.attributes.get("name", ""), child.attributes.get("size")
        if not PAYLOAD.fullmatch(name) or name in RESERVED:
            valid = "up to 15 letters, digits and ._-"
            self.wrong(child.line, f"a payload is called '{printable(name)}'", name, valid)
        kind = self._option(PayloadType, child.attributes.get("type", ""), child, "payload's type")
        if size is not None and not _SIZE_DIGITS.fullmatch(size):
            self.wrong(child.line, f"payload '{name}' has the size '{printable(size)}'", size)
            size = None
        checksums = tuple(map(self._checksum, child.all("checksum")))
        return Payload(
            name, kind or PayloadType.TGZ, None if size is None else int(size), checksums
        )

    def _checksum(self, child: Element) -> Checksum:
        kind = child.attributes.get("checksum-type", "")
        value = child.text.strip().lower()
        digits = DIGEST_DIGITS.get(kind)
        if digits is None:
            valid = ", ".join(DIGEST_DIGITS)
            self.wrong(child.line, f"the checksum type is '{printable(kind)}'", kind, valid)
        elif not re.fullmatch(rf"[0-9a-f]{{{digits}}}", value):
            self.wrong(child.line, f"not a {kind} checksum", value, f"{digits} hex digits")
        return Checksum(kind, child.attributes.get("verify-process", ""), value)
