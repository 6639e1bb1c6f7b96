"""What a package is to be built from: `vib.toml`, a descriptor to fill in, or a bare directory.

The directory is laid out as the community's build scripts do it: below `payloads/` one directory
for each payload (`payloads/payload1/etc/vmware/trx.conf`), or a file for a `boot` payload. Beside
it may stand a `vib.toml`, or a `descriptor.xml` whose payloads, sizes, checksums and file list
are filled in.
"""

import tomllib
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError

from chronovisor.errors import InvalidInput, NotFound, Problem
from chronovisor.image.limits import MIB
from chronovisor.image.refusal import about
from chronovisor.image.vib import descriptor_read
from chronovisor.image.vib.acceptance import AcceptanceLevel
from chronovisor.image.vib.descriptor import (
    NAME,
    PAYLOAD,
    RESERVED,
    VENDOR,
    Descriptor,
    PayloadType,
    SoftwarePlatform,
)
from chronovisor.image.vib.relation import RELATION, relation

TOML = "vib.toml"
DESCRIPTOR = "descriptor.xml"
PAYLOADS = "payloads"


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


_UNDATED = datetime.fromtimestamp(0, UTC)

Word = Annotated[str, StringConstraints(pattern=rf"^{NAME.pattern}$")]
RelationText = Annotated[str, StringConstraints(pattern=rf"^{RELATION.pattern}$")]


class _Strict(BaseModel):
    model_config = ConfigDict(
        extra="forbid", strict=False, alias_generator=lambda name: name.replace("_", "-")
    )


class PlatformToml(_Strict):
    """A product that the package is for."""

    version: str = ""
    locale: str = ""
    product: str = "embeddedEsx"


class PayloadToml(_Strict):
    """A `[[payload]]` of vib.toml; `source` is relative to the file."""

    name: Annotated[str, StringConstraints(pattern=rf"^{PAYLOAD.pattern}$")]
    type: PayloadType = PayloadType.TGZ
    source: Path | None = None
    archive: Archive = Archive.TAR
    compression: Compression = Compression.GZIP
    level: int = Field(6, ge=1, le=9)


class PackageToml(_Strict):
    """A whole vib.toml."""

    name: Word
    version: Word
    vendor: Annotated[str, StringConstraints(pattern=rf"^{VENDOR.pattern}$")]
    summary: str = ""
    description: str = ""
    release_date: datetime | None = None
    type: str = Field("bootbank", pattern="^(bootbank|locker|meta)$")
    acceptance_level: AcceptanceLevel = AcceptanceLevel.COMMUNITY
    urls: dict[str, str] = Field(default_factory=dict)
    tags: list[str] = Field(default_factory=list)
    depends: list[RelationText] = Field(default_factory=list)
    conflicts: list[RelationText] = Field(default_factory=list)
    replaces: list[RelationText] = Field(default_factory=list)
    provides: list[RelationText] = Field(default_factory=list)
    compatible_with: list[RelationText] = Field(default_factory=list)
    maintenance_mode: bool = False
    software_platforms: list[PlatformToml] = Field(default_factory=list)
    hardware_platforms: list[str] = Field(default_factory=list)
    live_install_allowed: bool = True
    live_remove_allowed: bool = True
    cimom_restart: bool = False
    stateless_ready: bool = True
    overlay: bool = False
    payload: list[PayloadToml] = Field(default_factory=list)


def load(path: Path, given: dict[str, Any] | None = None) -> Recipe:
    """Return the recipe in a directory or in a vib.toml.

    `given` are fields of vib.toml that override the file's, or stand in for a missing file.
    """
    given = given or {}
    with about(path):
        is_directory = path.is_dir()
        directory = path if is_directory else path.parent
        file = directory / TOML if is_directory else path
        has_toml, template = file.exists(), directory / DESCRIPTOR
        has_template = is_directory and template.exists()
    if not is_directory and not has_toml:
        raise NotFound(f"{path}: there is no such file or directory")
    if has_template and not has_toml:
        return _from_descriptor(template, directory, given)
    if not has_toml and not given:
        raise NotFound(
            f"{path} holds neither {TOML} nor {DESCRIPTOR}",
            hint="write one, or give --name, --package-version and --vendor",
        )
    return _from_toml(_read_toml(file) if has_toml else {}, given, file)


def _read_toml(file: Path) -> dict[str, Any]:
    with about(file), file.open("rb") as stream:
        raw = stream.read(MIB + 1)
    if len(raw) > MIB:
        raise InvalidInput(f"{file} is larger than {MIB} bytes")
    try:
        return tomllib.loads(raw.decode("utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise InvalidInput(f"{file}: not TOML: {error}") from None


def _from_toml(written: dict[str, Any], given: dict[str, Any], file: Path) -> Recipe:
    try:
        model = PackageToml.model_validate(written | given)
    except ValidationError as error:
        problems = [_problem(file, details) for details in error.errors(include_url=False)]
        raise InvalidInput(f"{file}: {len(problems)} things are wrong", problems) from None
    payloads = tuple(_payload(payload, file.parent) for payload in model.payload)
    payloads = payloads or _found_payloads(file.parent)
    return Recipe(_descriptor(model), _checked(payloads, file), model.release_date is not None)


def _problem(file: Path, details: Any) -> Problem:
    where = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in details["loc"])
    value = details.get("input")
    shown = "" if details["type"] == "missing" else str(value)[:80]
    return Problem(f"{file}: {where.lstrip('.')}", details["msg"], shown)


def _payload(payload: PayloadToml, directory: Path) -> PayloadRecipe:
    source = payload.source or Path(PAYLOADS) / payload.name
    return PayloadRecipe(
        payload.name,
        payload.type,
        directory / source,
        payload.archive,
        payload.compression,
        payload.level,
    )


def _found_payloads(directory: Path) -> tuple[PayloadRecipe, ...]:
    place = directory / PAYLOADS
    with about(place):
        found = sorted(place.iterdir()) if place.is_dir() else []
    return tuple(
        PayloadRecipe(path.name, PayloadType.TGZ if path.is_dir() else PayloadType.BOOT, path)
        for path in found
    )


def _checked(payloads: tuple[PayloadRecipe, ...], file: Path) -> tuple[PayloadRecipe, ...]:
    """Return the payloads if each can be built and stored under its name."""
    problems = []
    seen: set[str] = set()
    for payload in payloads:
        where = f"{file}: payload {payload.name}"
        if not PAYLOAD.fullmatch(payload.name) or payload.name in RESERVED:
            valid = "up to 15 letters, digits and ._-"
            problems.append(Problem(where, "its name cannot be stored", payload.name, valid))
        if payload.name in seen:
            problems.append(Problem(where, "a second one of this name"))
        seen.add(payload.name)
        is_boot = payload.kind is PayloadType.BOOT
        if is_boot and not payload.source.is_file():
            problems.append(Problem(where, f"{payload.source} is not a file, as type boot is"))
        elif not is_boot and not payload.source.is_dir():
            problems.append(Problem(where, f"{payload.source} is not a directory"))
        if payload.kind is PayloadType.TGZ and (payload.archive, payload.compression) != (
            Archive.TAR,
            Compression.GZIP,
        ):
            problems.append(Problem(where, "type tgz is tar in gzip; vgz takes vmtar and xz"))
    if problems:
        raise InvalidInput(f"{file}: {problems[0].message}", problems)
    return payloads


def _descriptor(model: PackageToml) -> Descriptor:
    moment = model.release_date or _UNDATED
    moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return Descriptor(
        name=model.name,
        version=model.version,
        vendor=model.vendor,
        summary=model.summary.strip(),
        description=model.description.strip(),
        release_date=moment.astimezone(UTC),
        kind=model.type,
        urls=tuple(model.urls.items()),
        depends=tuple(map(relation, model.depends)),
        conflicts=tuple(map(relation, model.conflicts)),
        replaces=tuple(map(relation, model.replaces)),
        provides=tuple(map(relation, model.provides)),
        compatible_with=tuple(map(relation, model.compatible_with)),
        tags=tuple(model.tags),
        maintenance_mode=model.maintenance_mode,
        software_platforms=tuple(
            SoftwarePlatform(platform.version, platform.locale, platform.product)
            for platform in model.software_platforms
        ),
        hardware_platforms=tuple(model.hardware_platforms),
        acceptance_level=model.acceptance_level,
        live_install_allowed=model.live_install_allowed,
        live_remove_allowed=model.live_remove_allowed,
        cimom_restart=model.cimom_restart,
        stateless_ready=model.stateless_ready,
        overlay=model.overlay,
    )


def _from_descriptor(file: Path, directory: Path, given: dict[str, Any]) -> Recipe:
    if given:
        raise InvalidInput(
            f"{file} already says what the package is", hint="change it there, or use a vib.toml"
        )
    with about(file), file.open("rb") as stream:
        raw = stream.read(8 * MIB)
    template = descriptor_read.parse(raw, str(file))
    if template.unknown:
        problems = [
            Problem(f"{file}:{it.line}", f"{it.path} is unknown") for it in template.unknown
        ]
        raise InvalidInput(f"{file} has elements that would be lost", problems)
    payloads = tuple(
        PayloadRecipe(payload.name, payload.kind, directory / PAYLOADS / payload.name)
        for payload in template.payloads
    )
    payloads = payloads or _found_payloads(directory)
    return Recipe(replace(template, payloads=()), _checked(payloads, file), True)
