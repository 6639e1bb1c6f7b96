"""`vib.toml`: what a package is, written by a person; every mistake is told at once.

A module of its own because pydantic takes longer to load than a package to be checked.
"""

from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError

from chronovisor.errors import InvalidInput, Problem
from chronovisor.image.vib.acceptance import AcceptanceLevel
from chronovisor.image.vib.descriptor import (
    NAME,
    PAYLOAD,
    VENDOR,
    Descriptor,
    PayloadType,
    SoftwarePlatform,
)
from chronovisor.image.vib.ingredients import PAYLOADS, Archive, Compression, PayloadRecipe, Recipe
from chronovisor.image.vib.relation import RELATION, relation

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


def interpret(written: dict[str, Any], file: Path) -> Recipe:
    """Return the recipe in the fields of a vib.toml; InvalidInput names every wrong one."""
    try:
        model = PackageToml.model_validate(written)
    except ValidationError as error:
        problems = [_problem(file, details) for details in error.errors(include_url=False)]
        raise InvalidInput(f"{file}: {len(problems)} things are wrong", problems) from None
    payloads = tuple(_payload(payload, file.parent) for payload in model.payload)
    return Recipe(_descriptor(model), payloads, model.release_date is not None)


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
