"""What a recipe says: payloads with their sources and packing, and the descriptor around them."""

from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from chronovisor.image.vib.descriptor import Descriptor, PayloadType

PAYLOADS = "payloads"
"""Directory of a package's tree that holds its payloads."""


class Archive(StrEnum):
    """How the files of a payload are put together."""

    TAR = "tar"
    VMTAR = "vmtar"


class Compression(StrEnum):
    """How an archive is packed."""

    GZIP = "gzip"
    XZ = "xz"


@dataclass(frozen=True, slots=True)
class PayloadRecipe:
    """One payload: a directory, or the file of a `boot` payload."""

    name: str
    kind: PayloadType
    source: Path
    archive: Archive = Archive.TAR
    compression: Compression = Compression.GZIP
    level: int = 6


@dataclass(frozen=True, slots=True)
class Recipe:
    """A package to be built. `is_dated` tells whether somebody chose the release date."""

    descriptor: Descriptor
    payloads: tuple[PayloadRecipe, ...]
    is_dated: bool
