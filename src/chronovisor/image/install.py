"""Takes packages into a host's image and out of it: files below its directory, and the profile.

A package is copied first and checked in the copy, so that what was checked is what is kept. The
profile is written last: killed anywhere before, the host has its old image and perhaps a file that
the next change clears away.
"""

import hashlib
import secrets
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

from chronovisor.errors import Conflict, Denied, InvalidInput, NotFound
from chronovisor.image import durable, plan, profile
from chronovisor.image.limits import CHUNK_BYTES, DEFAULT, Limits
from chronovisor.image.plan import Plan
from chronovisor.image.profile import VIBS, Installed, Override, Profile
from chronovisor.image.refusal import about
from chronovisor.image.vib.acceptance import AcceptanceLevel
from chronovisor.image.vib.package import Package, opened
from chronovisor.image.vib.verify import Policy, Report, verify


@dataclass(frozen=True, slots=True)
class Act:
    """Who does it, when (ISO 8601), and how packages are judged."""

    user: str
    at: str
    policy: Policy
    limits: Limits = DEFAULT

    @property
    def options(self) -> tuple[str, ...]:
        """Return the overrides in force, as they stand on a command line."""
        given = [("--no-sig-check", self.policy.no_signature_check), ("--force", self.policy.force)]
        return tuple(option for option, is_given in given if is_given)


@dataclass(frozen=True, slots=True)
class _Incoming:
    copy: Path
    vib: Installed
    reasons: tuple[str, ...]


def install(directory: Path, files: Sequence[Path], act: Act, *, dry_run: bool = False) -> Plan:
    """Take packages in and return what was done. Every override in force is recorded.

    Raises Denied where a package or its level is refused, Conflict where relations would break.
    """
    with profile.locked(directory):
        current = profile.load(directory)
        _clear(directory, current)
        incoming: list[_Incoming] = []
        try:
            # extend, not a list of its own: what was taken before an error must be cleared away
            incoming.extend(_take(directory, file, current.acceptance_level, act) for file in files)
            _check_names([item.vib for item in incoming])
            planned = plan.install(current.vibs, [item.vib for item in incoming])
            _check_relations(planned, act)
            if not dry_run:
                _commit(directory, current, planned, incoming, act)
        finally:
            for item in incoming:
                with suppress(OSError):
                    item.copy.unlink()
        return planned


def remove(directory: Path, names: Sequence[str], act: Act, *, dry_run: bool = False) -> Plan:
    """Take packages out by name or id."""
    with profile.locked(directory):
        current = profile.load(directory)
        planned = plan.remove(current.vibs, names)
        absent = [problem for problem in planned.problems if problem.where in names]
        absent = [problem for problem in absent if problem.message.startswith("no such")]
        if absent:
            raise NotFound("; ".join(map(str, absent)), hint="`visorctl image list` shows all")
        _check_relations(planned, act)
        if not dry_run:
            _commit(directory, current, planned, [], act)
            _clear(directory, profile.load(directory))
        return planned


def set_level(directory: Path, level: AcceptanceLevel) -> Profile:
    """Set the level that packages must have at least; Conflict where one does not."""
    with profile.locked(directory):
        current = profile.load(directory)
        below = [vib.id for vib in current.vibs if not vib.acceptance_level.meets(level)]
        if below:
            raise Conflict(
                f"below level {level}: {', '.join(below)}",
                hint="remove these packages first, or choose a lower level",
            )
        changed = replace(current, acceptance_level=level, generation=current.generation + 1)
        profile.save(directory, changed)
        return changed


def _take(directory: Path, file: Path, required: AcceptanceLevel, act: Act) -> _Incoming:
    copy = directory / VIBS / f".{secrets.token_hex(8)}.incoming"
    digest = hashlib.sha256()
    try:
        with about(file), file.open("rb") as source, durable.replacing(copy) as target:
            while chunk := source.read(CHUNK_BYTES):
                digest.update(chunk)
                target.write(chunk)
        with opened(copy, act.limits) as package:
            package = replace(package, path=file)  # messages name what the operator named
            report = verify(package, act.policy)
            report.demand()
            reasons = tuple(check.detail for check in report.warnings)
            reasons += _check_level(package, required, act.policy.force)
            return _Incoming(copy, _installed(package, report, digest.hexdigest(), act), reasons)
    except BaseException:  # whatever it is, the copy must not stay
        with suppress(OSError):
            copy.unlink()
        raise


def _check_level(package: Package, required: AcceptanceLevel, force: bool) -> tuple[str, ...]:
    descriptor = package.descriptor
    if descriptor.acceptance_level.meets(required):
        return ()
    text = (
        f"VIB {descriptor.id}'s acceptance level is {descriptor.acceptance_level}, which is not "
        f"compliant with the ImageProfile acceptance level {required}"
    )
    if not force:
        raise Denied(
            text, hint="`visorctl image acceptance LEVEL` changes the host's acceptance level"
        )
    return (text,)


def _installed(package: Package, report: Report, sha256: str, act: Act) -> Installed:
    it = package.descriptor
    return Installed(
        id=it.id,
        name=it.name,
        version=it.version,
        vendor=it.vendor,
        kind=it.kind,
        summary=it.summary,
        acceptance_level=it.acceptance_level,
        install_date=act.at,
        sha256=sha256,
        size=package.size,
        signed_by=report.signed_by,
        depends=tuple(map(str, it.depends)),
        conflicts=tuple(map(str, it.conflicts)),
        replaces=tuple(map(str, it.replaces)),
        provides=tuple(map(str, it.provides)),
        live_install_allowed=it.live_install_allowed,
        live_remove_allowed=it.live_remove_allowed,
        overridden=act.options,
    )


def _check_names(vibs: Sequence[Installed]) -> None:
    names = [vib.name for vib in vibs]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise InvalidInput(f"two of the packages are called {', '.join(twice)}")


def _check_relations(planned: Plan, act: Act) -> None:
    if planned.problems and not act.policy.force:
        raise Conflict(
            "; ".join(map(str, planned.problems)),
            hint="add what is missing to the same command; --force overrides and is recorded",
        )


def _commit(
    directory: Path, current: Profile, planned: Plan, incoming: Sequence[_Incoming], act: Act
) -> None:
    relations = tuple(map(str, planned.problems))
    records = [
        Override(act.at, act.user, item.vib.id, act.options, item.reasons + relations)
        for item in incoming
        if act.options
    ]
    records += [
        Override(act.at, act.user, vib.id, act.options, relations)
        for vib in planned.removed
        if act.options and not incoming
    ]
    if not (planned.installed or planned.removed or records):
        return
    with about(directory):
        for item in incoming:
            if item.vib in planned.installed:
                item.copy.rename(directory / VIBS / item.vib.file_name)
        durable.sync_directory(directory / VIBS)
    left = tuple(vib for vib in current.vibs if vib not in planned.removed)
    vibs = tuple(sorted((*left, *planned.installed), key=lambda vib: vib.id))
    profile.save(
        directory,
        replace(
            current,
            generation=current.generation + 1,
            vibs=vibs,
            overrides=(*current.overrides, *records),
        ),
    )


def _clear(directory: Path, current: Profile) -> None:
    """Remove files that no package of the profile has: what a killed command left."""
    known = {vib.file_name for vib in current.vibs}
    for path in (directory / VIBS).iterdir():
        if path.name not in known:
            with suppress(OSError):
                path.unlink()
