"""How large anything from outside may be before it is refused.

Hostile files cost what they declare, not what they weigh: a kilobyte can unpack to a megabyte,
name a million files or nest ten thousand elements. Every reader of the image plane takes a
`Limits`; the defaults leave an order of magnitude above the largest real package.
"""

from dataclasses import dataclass

KIB = 1 << 10
MIB = 1 << 20
GIB = 1 << 30

CHUNK_BYTES = 256 * KIB
"""How much of a payload is in memory at a time."""


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds for one reading; sizes in bytes."""

    descriptor_bytes: int = 4 * MIB  # the largest known, esx-base, lists some 3,000 files
    signature_bytes: int = 256 * KIB
    stored_bytes: int = 16 * GIB  # one payload as stored
    unpacked_bytes: int = 64 * GIB  # one payload unpacked
    payloads: int = 256
    entries: int = 100_000  # files, links and directories, of a payload and of a package
    path_bytes: int = 1024
    xz_memory_bytes: int = 72 * MIB  # `xz -9` wants 65 MiB to unpack
    xml_depth: int = 32
    xml_nodes: int = 500_000
    index_bytes: int = 64 * MIB  # a depot's index.xml, metadata.zip, vmware.xml
    depot_packages: int = 20_000


DEFAULT = Limits()
