"""What a package says of itself: `descriptor.xml` as a model.

`descriptor_read.parse` and `descriptor_write.render` are inverse over every descriptor that this
module can express. The text of a package that exists is never rendered anew: its signature covers
the bytes.
"""

import re
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum

from chronovisor.image.vib.acceptance import AcceptanceLevel
from chronovisor.image.vib.relation import Relation

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+~-]{0,99}")
"""Names, vendors and versions become parts of file names and addresses: nothing else may stand
in them but, for vendors, a space inside."""
VENDOR = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9 ._+~-]{0,98}[A-Za-z0-9._+~-])?")
PAYLOAD = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,14}")
RESERVED = frozenset({"descriptor.xml", "sig.pkcs7"})

# element in the document → field of the model
FLAGS = {
    "live-install-allowed": "live_install_allowed",
    "live-remove-allowed": "live_remove_allowed",
    "cimom-restart": "cimom_restart",
    "stateless-ready": "stateless_ready",
    "overlay": "overlay",
}
RELATIONS = {
    "depends": "depends",
    "conflicts": "conflicts",
    "replaces": "replaces",
    "provides": "provides",
    "compatibleWith": "compatible_with",
}


class PayloadType(StrEnum):
    """What a payload holds once it is unpacked."""

    TGZ = "tgz"  # tar
    VGZ = "vgz"  # vmtar or tar
    BOOT = "boot"  # one file for the boot bank, as it is


@dataclass(frozen=True, slots=True)
class Checksum:
    """A digest in lower-case hex. `process` is '' for the payload as stored, 'gunzip' unpacked."""

    kind: str
    process: str
    value: str


@dataclass(frozen=True, slots=True)
class Payload:
    """A payload's entry. `size` counts bytes as stored; None in a template still to be built."""

    name: str
    kind: PayloadType
    size: int | None = None
    checksums: tuple[Checksum, ...] = ()

    def digest(self, kind: str, process: str = "") -> str | None:
        """Return the stated digest of that kind."""
        for checksum in self.checksums:
            if (checksum.kind, checksum.process) == (kind, process):
                return checksum.value
        return None


@dataclass(frozen=True, slots=True)
class SoftwarePlatform:
    """A product that the package is for; `version` is a pattern such as `8.*`."""

    version: str = ""
    locale: str = ""
    product: str = "embeddedEsx"


@dataclass(frozen=True, slots=True)
class Unknown:
    """An element that this module does not know: where it stands, and in which line."""

    path: str
    line: int


@dataclass(frozen=True, slots=True)
class Descriptor:
    """A package. `unknown` lists what was read and is not in the model."""

    name: str
    version: str
    vendor: str
    summary: str
    description: str
    release_date: datetime
    kind: str = "bootbank"
    format_version: str = "5.0"
    urls: tuple[tuple[str, str], ...] = ()
    depends: tuple[Relation, ...] = ()
    conflicts: tuple[Relation, ...] = ()
    replaces: tuple[Relation, ...] = ()
    provides: tuple[Relation, ...] = ()
    compatible_with: tuple[Relation, ...] = ()
    tags: tuple[str, ...] = ()
    maintenance_mode: bool = False
    software_platforms: tuple[SoftwarePlatform, ...] = ()
    hardware_platforms: tuple[str, ...] = ()
    files: tuple[str, ...] = ()
    acceptance_level: AcceptanceLevel = AcceptanceLevel.COMMUNITY
    live_install_allowed: bool = True
    live_remove_allowed: bool = True
    cimom_restart: bool = False
    stateless_ready: bool = True
    overlay: bool = False
    payloads: tuple[Payload, ...] = ()
    unknown: tuple[Unknown, ...] = ()

    @property
    def id(self) -> str:
        """Return `<vendor>_<type>_<name>_<version>`, which is also the file's stem."""
        return f"{self.vendor}_{self.kind}_{self.name}_{self.version}"

    @property
    def file_name(self) -> str:
        """Return the name that the package's file has in a depot."""
        return f"{self.id}.vib"

    @property
    def offers(self) -> tuple[Relation, ...]:
        """Return what others may depend on: what it provides, and itself in its version."""
        return (*self.provides, Relation(self.name, "=", self.version))

    @property
    def epoch_s(self) -> int:
        """Return the release date as seconds since 1970, not below 0."""
        return max(0, int(self.release_date.timestamp()))


def instant(text: str) -> datetime | None:
    """Return an ISO 8601 date and time as UTC (which is meant where no zone stands)."""
    try:
        moment = datetime.fromisoformat(text.strip())
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).astimezone(UTC)
    except (ValueError, OverflowError):
        return None
