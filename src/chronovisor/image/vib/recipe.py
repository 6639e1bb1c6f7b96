"""What a package is to be built from: `vib.toml`, a descriptor to fill in, or a bare directory.

The directory is laid out as the community's build scripts do it: below `payloads/` one directory
for each payload (`payloads/payload1/etc/vmware/trx.conf`), or a file for a `boot` payload. Beside
it may stand a `vib.toml`, or a `descriptor.xml` whose payloads, sizes, checksums and file list
are filled in.
"""

import tomllib
from dataclasses import replace
from pathlib import Path
from typing import Any

from chronovisor.errors import InvalidInput, NotFound, Problem
from chronovisor.image.limits import MIB
from chronovisor.image.refusal import about
from chronovisor.image.vib import descriptor_read
from chronovisor.image.vib.descriptor import (
    PAYLOAD,
    RESERVED,
    PayloadType,
)
from chronovisor.image.vib.ingredients import (
    PAYLOADS,
    Archive,
    Compression,
    PayloadRecipe,
    Recipe,
)

TOML = "vib.toml"
DESCRIPTOR = "descriptor.xml"


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
    return _from_toml((_read_toml(file) if has_toml else {}) | given, file)


def _read_toml(file: Path) -> dict[str, Any]:
    with about(file), file.open("rb") as stream:
        raw = stream.read(MIB + 1)
    if len(raw) > MIB:
        raise InvalidInput(f"{file} is larger than {MIB} bytes")
    try:
        return tomllib.loads(raw.decode("utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise InvalidInput(f"{file}: not TOML: {error}") from None


def _from_toml(written: dict[str, Any], file: Path) -> Recipe:
    from chronovisor.image.vib import vib_toml  # here, because it loads pydantic

    found = vib_toml.interpret(written, file)
    payloads = found.payloads or _found_payloads(file.parent)
    return replace(found, payloads=_checked(payloads, file))


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
