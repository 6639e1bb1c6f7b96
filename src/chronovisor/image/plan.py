"""What installing or removing packages would do to an image profile: pure, to be shown or done."""

from collections.abc import Sequence
from dataclasses import dataclass

from chronovisor.errors import Problem
from chronovisor.image.profile import Installed
from chronovisor.image.vib.relation import Relation, relation


@dataclass(frozen=True, slots=True)
class Plan:
    """Packages in, out and left as they are; `problems` are broken relations of the outcome."""

    installed: tuple[Installed, ...] = ()
    removed: tuple[Installed, ...] = ()
    skipped: tuple[Installed, ...] = ()
    problems: tuple[Problem, ...] = ()

    @property
    def needs_reboot(self) -> bool:
        """Tell whether a package comes or goes that cannot do so live."""
        coming = any(not vib.live_install_allowed for vib in self.installed)
        return coming or any(not vib.live_remove_allowed for vib in self.removed)


def install(present: Sequence[Installed], incoming: Sequence[Installed]) -> Plan:
    """Return what installing `incoming` would do. A package replaces one of its own name."""
    known = {(vib.id, vib.sha256) for vib in present}
    skipped = tuple(vib for vib in incoming if (vib.id, vib.sha256) in known)
    coming = tuple(vib for vib in incoming if (vib.id, vib.sha256) not in known)
    removed = tuple(old for old in present if any(_supersedes(new, old) for new in coming))
    left = [vib for vib in present if vib not in removed]
    return Plan(coming, removed, skipped, _problems([*left, *coming]))


def remove(present: Sequence[Installed], names: Sequence[str]) -> Plan:
    """Return what removing the packages of these names (or ids) would do."""
    removed = tuple(vib for vib in present if vib.name in names or vib.id in names)
    missing = [
        Problem(name, "no such package is installed")
        for name in names
        if not any(name in (vib.name, vib.id) for vib in removed)
    ]
    left = [vib for vib in present if vib not in removed]
    return Plan((), removed, (), (*missing, *_problems(left)))


def _supersedes(new: Installed, old: Installed) -> bool:
    if new.name == old.name:
        return True
    return any(_meets(old, relation(text)) for text in new.replaces)


def _offers(vib: Installed) -> tuple[Relation, ...]:
    return (*map(relation, vib.provides), Relation(vib.name, "=", vib.version))


def _meets(vib: Installed, wanted: Relation) -> bool:
    return any(wanted.met_by(offer) for offer in _offers(vib))


def _problems(vibs: Sequence[Installed]) -> tuple[Problem, ...]:
    unmet = [
        Problem(vib.id, f"depends on {text}, which nothing provides")
        for vib in vibs
        for text in vib.depends
        if not any(_meets(other, relation(text)) for other in vibs)
    ]
    conflicts = [
        Problem(vib.id, f"conflicts with {other.id}")
        for vib in vibs
        for text in vib.conflicts
        for other in vibs
        if other is not vib and _meets(other, relation(text))
    ]
    return (*unmet, *conflicts)
