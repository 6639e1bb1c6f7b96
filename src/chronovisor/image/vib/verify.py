"""Whether a package is what it claims to be, and whether a host should take it."""

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

from chronovisor.errors import Denied, InvalidInput, Problem, ProtocolError
from chronovisor.image.refusal import clean, malformed
from chronovisor.image.vib import extensibility, signature
from chronovisor.image.vib.acceptance import AcceptanceLevel
from chronovisor.image.vib.descriptor import Payload, PayloadType
from chronovisor.image.vib.package import STRONG_DIGESTS, Package
from chronovisor.image.vib.signature import SignedBy
from chronovisor.image.vib.tarball import Kind
from chronovisor.image.vib.trust import Trust


class Outcome(StrEnum):
    """How a check ended. A warning is what was overridden, or nothing that matters."""

    OK = "ok"
    WARNING = "warning"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Check:
    """One check: what was looked at, how it ended, and in words why."""

    name: str
    outcome: Outcome
    detail: str


@dataclass(frozen=True, slots=True)
class Policy:
    """What is asked of a package. The two overrides turn failures of their kind to warnings."""

    trusted: Trust = field(default_factory=Trust)
    no_signature_check: bool = False
    force: bool = False
    at: datetime | None = None
    absolute_links: bool = False


@dataclass(frozen=True, slots=True)
class Report:
    """All checks of one package, and who signed it where that was established."""

    package_id: str
    checks: tuple[Check, ...]
    signed_by: SignedBy | None

    @property
    def failures(self) -> tuple[Check, ...]:
        """Return the checks that forbid using the package."""
        return tuple(check for check in self.checks if check.outcome is Outcome.FAILED)

    @property
    def warnings(self) -> tuple[Check, ...]:
        """Return the checks that people should hear about."""
        return tuple(check for check in self.checks if check.outcome is Outcome.WARNING)

    def demand(self) -> None:
        """Raise Denied if any check failed, with all of them in the message."""
        if self.failures:
            text = "; ".join(check.detail for check in self.failures)
            raise Denied(f"{self.package_id} is refused: {text}", hint=_hint(self.failures))


def _hint(failures: tuple[Check, ...]) -> str:
    if any(check.name == "signature" for check in failures):
        return "`visorctl vib verify` shows every check; --no-sig-check overrides the signature's"
    return "`visorctl vib verify` shows every check; --force overrides this and is recorded"


def verify(
    package: Package, policy: Policy, progress: Callable[[int], None] = lambda _: None
) -> Report:
    """Check everything about a package; `progress` hears the stored bytes as they are done.

    A container, checksum or archive that is broken raises ProtocolError: nothing overrides that.
    """
    found: dict[str, Kind] = {}
    checks = [_container(package)]
    for payload in package.descriptor.payloads:
        checks.append(_payload(package, payload, policy, found))
        progress(package.stored(payload).size)
    checks.append(_file_list(package, found, policy))
    checks.append(_extensibility(package, found, policy))
    signing, signed_by = check_signature(package, policy)
    return Report(package.descriptor.id, (*checks, signing), signed_by)


def _container(package: Package) -> Check:
    text = f"{len(package.members)} members, {package.size} bytes"
    return Check("container", Outcome.OK, text)


def _payload(package: Package, payload: Payload, policy: Policy, found: dict[str, Kind]) -> Check:
    name = f"payload {payload.name}"
    if not any(payload.digest(kind) for kind in STRONG_DIGESTS):
        return Check(name, Outcome.FAILED, f"payload '{payload.name}' has no SHA-256 checksum")
    entries = 0
    for entry, _ in package.contents(payload, absolute_links=policy.absolute_links):
        entries += 1
        if entry.kind is not Kind.DIRECTORY and payload.kind is not PayloadType.BOOT:
            if entry.path in found:
                where = f"{package.name}, payload {payload.name}"
                raise malformed(where, entry.offset, f"'{entry.path}' is in another payload too")
            found[entry.path] = entry.kind
    if len(found) > package.limits.entries:
        raise ProtocolError(f"{package.name}: more than {package.limits.entries} files in all")
    text = f"{payload.kind}, {package.stored(payload).size} bytes, {entries} entries"
    return Check(name, Outcome.OK, text)


def _file_list(package: Package, found: dict[str, Kind], policy: Policy) -> Check:
    listed = set(package.descriptor.files)
    hidden, absent = sorted(found.keys() - listed), sorted(listed - found.keys())
    if hidden:
        # some builders list files proper only: a link alone does not make a package suspect
        is_grave = any(found[path] is not Kind.SYMLINK for path in hidden)
        outcome = Outcome.FAILED if is_grave and not policy.force else Outcome.WARNING
        return Check("file-list", outcome, f"{_some(hidden)} not in the descriptor's file list")
    if absent:
        return Check("file-list", Outcome.WARNING, f"{_some(absent)} listed but not there")
    return Check("file-list", Outcome.OK, f"{len(listed)} files")


def _some(paths: list[str]) -> str:
    more = f" and {len(paths) - 3} more" if len(paths) > 3 else ""
    return ", ".join(map(clean, paths[:3])) + more


def _extensibility(package: Package, found: dict[str, Kind], policy: Policy) -> Check:
    descriptor = package.descriptor
    problems = extensibility.violations(
        descriptor.name, descriptor.acceptance_level, found.keys() | set(descriptor.files)
    )
    if not problems:
        return Check("extensibility", Outcome.OK, f"rules of level {descriptor.acceptance_level}")
    outcome = Outcome.WARNING if policy.force else Outcome.FAILED
    return Check("extensibility", outcome, worded(problems))


def worded(problems: list[Problem]) -> str:
    """Return violations as one line: the first in full, and how many more there are."""
    first = f"{problems[0].where}: {problems[0].message} ({problems[0].valid.partition(':')[0]})"
    return first if len(problems) == 1 else f"{first} and {len(problems) - 1} more"


def check_signature(package: Package, policy: Policy) -> tuple[Check, SignedBy | None]:
    """Check a package's signature alone, and say who made it."""
    level = package.descriptor.acceptance_level
    if not package.signature:
        return _unsigned(level, policy), None
    where = f"{package.name}, member sig.pkcs7"
    try:
        by = signature.verify(
            package.descriptor_bytes, package.signature, policy.trusted, level, policy.at, where
        )
    except (Denied, ProtocolError, InvalidInput) as error:
        outcome = Outcome.WARNING if policy.no_signature_check else Outcome.FAILED
        return Check("signature", outcome, error.message), None
    return Check("signature", Outcome.OK, f"by '{by.subject}', trusted through '{by.root}'"), by


def _unsigned(level: AcceptanceLevel, policy: Policy) -> Check:
    if level is AcceptanceLevel.COMMUNITY:
        return Check("signature", Outcome.OK, "unsigned, as level community may be")
    outcome = Outcome.WARNING if policy.no_signature_check else Outcome.FAILED
    return Check("signature", outcome, f"unsigned, which level {level} may not be")
