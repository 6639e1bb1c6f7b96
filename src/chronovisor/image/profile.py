"""The image profile: which packages this host has, how they came in, and what was overridden.

One JSON file, `profile.json`, replaced whole under a lock. `overrides` only ever grows: removing a
package does not take back that `--force` or `--no-sig-check` was used to bring it in.
"""

import fcntl
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from chronovisor.errors import InvalidInput, Unavailable
from chronovisor.image.durable import replacing
from chronovisor.image.limits import MIB
from chronovisor.image.refusal import about
from chronovisor.image.vib.acceptance import AcceptanceLevel
from chronovisor.image.vib.signature import SignedBy

FILE = "profile.json"
VIBS = "vibs"
LOCK = "lock"
FORMAT = 1
MOST_BYTES = 64 * MIB


@dataclass(frozen=True, slots=True)
class Installed:
    """A package of this host. Relations are texts as `Relation` prints them; times ISO 8601."""

    id: str
    name: str
    version: str
    vendor: str
    kind: str
    summary: str
    acceptance_level: AcceptanceLevel
    install_date: str
    sha256: str
    size: int
    signed_by: SignedBy | None = None
    depends: tuple[str, ...] = ()
    conflicts: tuple[str, ...] = ()
    replaces: tuple[str, ...] = ()
    provides: tuple[str, ...] = ()
    live_install_allowed: bool = True
    live_remove_allowed: bool = True
    overridden: tuple[str, ...] = ()

    @property
    def file_name(self) -> str:
        """Return the name of the package's file below `vibs/`: another build is another file."""
        return f"{self.sha256}.vib"


@dataclass(frozen=True, slots=True)
class Override:
    """One use of `--force` or `--no-sig-check`: when, by whom, for what, and what it overrode."""

    at: str
    user: str
    vib: str
    options: tuple[str, ...]
    reasons: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Profile:
    """A host's image. `generation` counts its changes."""

    format: int = FORMAT
    generation: int = 0
    acceptance_level: AcceptanceLevel = AcceptanceLevel.PARTNER
    vibs: tuple[Installed, ...] = ()
    overrides: tuple[Override, ...] = field(default_factory=tuple)


@cache
def _adapter() -> TypeAdapter[Profile]:
    return TypeAdapter(Profile)


def load(directory: Path) -> Profile:
    """Return the profile in a directory; an empty one where there is none yet."""
    path = directory / FILE
    with about(path):
        try:
            with path.open("rb") as stream:
                raw = stream.read(MOST_BYTES)
        except FileNotFoundError:
            return Profile()
    try:
        profile = _adapter().validate_json(raw)
    except ValidationError as error:
        raise InvalidInput(
            f"{path} is not an image profile: {error.errors()[0]['msg']}",
            hint="put a copy back from a backup; deleting it loses what was overridden",
        ) from None
    if profile.format != FORMAT:
        raise InvalidInput(
            f"{path} has format {profile.format}; this version reads {FORMAT}",
            hint="use the version of Chronovisor that wrote it",
        )
    return profile


def save(directory: Path, profile: Profile) -> None:
    """Replace the profile in a directory. The caller holds the lock."""
    data = json.dumps(_adapter().dump_python(profile, mode="json"), indent=2, ensure_ascii=False)
    with replacing(directory / FILE) as stream:
        stream.write(data.encode() + b"\n")


@contextmanager
def locked(directory: Path) -> Iterator[None]:
    """Hold the profile's lock for the length of a block, making the directories if need be."""
    with about(directory):
        (directory / VIBS).mkdir(mode=0o755, parents=True, exist_ok=True)
        flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
        descriptor = os.open(directory / LOCK, flags, 0o600)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise Unavailable(
                f"{directory} is being changed by another command", hint="try again when it is done"
            ) from None
        yield
    finally:
        os.close(descriptor)
