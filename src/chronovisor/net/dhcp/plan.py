"""What must be done so that VMs get what their ports say; pure.

dnsmasq 2.90 takes up new files by itself, and never forgets: a file that is gone or changed holds
until it reads everything again (SIGHUP), and an address stays blocked by the lease of a MAC address
that no longer has it. So what goes, goes first: file, reload, lease; what comes, comes last. The
mark on disk makes sure that the reload follows even when visord is killed in between.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from chronovisor.net.dhcp.leases import Lease
from chronovisor.net.dhcp.place import DAEMONS, DNSMASQ, Place
from chronovisor.net.dhcp.wanted import Wanted
from chronovisor.worlds import WorldSpec

MOST_EVENTS = 4000
"""New files at once beyond which dnsmasq is told to read all; the kernel queues 16,384 events."""


@dataclass(frozen=True, slots=True)
class MarkReload:
    """Note on disk that dnsmasq must read all files again."""

    path: Path
    reason: str

    def __str__(self) -> str:
        """Return the action as a line for people."""
        return "note that dnsmasq must read its files again"


@dataclass(frozen=True, slots=True)
class WriteFile:
    """Write a port's file."""

    path: Path
    text: str
    reason: str

    def __str__(self) -> str:
        """Return the action as a line for people."""
        return f"write {self.path}"


@dataclass(frozen=True, slots=True)
class RemoveFile:
    """Remove a port's file."""

    path: Path
    reason: str

    def __str__(self) -> str:
        """Return the action as a line for people."""
        return f"remove {self.path}"


@dataclass(frozen=True, slots=True)
class Reload:
    """Have dnsmasq read its files again (SIGHUP), and take the mark away."""

    mark: Path
    reason: str

    def __str__(self) -> str:
        """Return the action as a line for people."""
        return "have dnsmasq read its files again"


@dataclass(frozen=True, slots=True)
class ReleaseLease:
    """Make dnsmasq forget a lease. Applied by `release.send`."""

    lease: Lease
    reason: str

    def __str__(self) -> str:
        """Return the action as a line for people."""
        return f"release the lease of {self.lease.address} to {self.lease.mac}"


@dataclass(frozen=True, slots=True)
class StartDaemon:
    """Start a daemon that should run and does not."""

    spec: WorldSpec
    reason: str

    def __str__(self) -> str:
        """Return the action as a line for people."""
        return f"start {self.spec.name}"


@dataclass(frozen=True, slots=True)
class RestartDaemon:
    """Restart a daemon whose command line changed."""

    spec: WorldSpec
    reason: str

    def __str__(self) -> str:
        """Return the action as a line for people."""
        return f"restart {self.spec.name}"


@dataclass(frozen=True, slots=True)
class StopDaemon:
    """Stop a daemon that nothing needs any more."""

    name: str
    reason: str

    def __str__(self) -> str:
        """Return the action as a line for people."""
        return f"stop {self.name}"


Action = (
    MarkReload | WriteFile | RemoveFile | Reload | ReleaseLease
    | StartDaemon | RestartDaemon | StopDaemon
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Observed:
    """What is: the ports' files, IPv4 leases, daemons that run or are tried (generation by name).

    `reload_pending` says that the mark stands.
    """

    files: Mapping[Path, str]
    leases: tuple[Lease, ...]
    daemons: Mapping[str, str]
    reload_pending: bool = False


def plan(wanted: Wanted, observed: Observed, at: Place) -> list[Action]:
    """Return what turns `observed` into `wanted`, in order; empty when they agree."""
    specs = {spec.name: spec for spec in wanted.daemons}
    stops = [
        StopDaemon(name, "no network has a use for it")
        for name in reversed(DAEMONS)
        if name in observed.daemons and name not in specs
    ]
    starts = [*_starts(wanted, observed)]
    fresh = {action.spec.name for action in starts}
    gone, came = _file_changes(wanted, observed)
    serving = DNSMASQ in specs and DNSMASQ not in fresh
    stale = [one for one in gone if one.path.parent in (at.hosts, at.options)]
    many = sum(one.path.parent in (at.hosts, at.options) for one in came) > MOST_EVENTS
    marks: list[Action] = []
    if (stale or many) and not observed.reload_pending:
        marks = [MarkReload(at.reload_mark, stale[0].reason if stale else "many new ports")]
    reloads: list[Action] = []
    if stale or many or observed.reload_pending:
        why = stale[0].reason if stale else "a change before was cut off, or many ports are new"
        reloads = [Reload(at.reload_mark, why)]
    releases = [*_releases(wanted, observed)] if serving else []
    # Many new files: the reload comes after them.
    middle = [*came, *reloads, *releases] if many else [*reloads, *releases, *came]
    return [*stops, *marks, *gone, *middle, *starts]


def _file_changes(
    wanted: Wanted, observed: Observed
) -> tuple[list[RemoveFile | WriteFile], list[WriteFile]]:
    """Return what takes something away (removed and changed files) and what only adds."""
    gone: list[RemoveFile | WriteFile] = [
        RemoveFile(path, f"port {path.name} is gone or needs it no more")
        for path in observed.files
        if path not in wanted.files
    ]
    came = []
    for path, text in wanted.files.items():
        if path not in observed.files:
            came.append(WriteFile(path, text, f"port {path.name} is new"))
        elif observed.files[path] != text:
            gone.append(WriteFile(path, text, f"port {path.name} or its network changed"))
    return gone, came


def _releases(wanted: Wanted, observed: Observed) -> Iterator[ReleaseLease]:
    for lease in observed.leases:
        mac = wanted.leases.get(lease.address)
        if mac is None:
            yield ReleaseLease(lease, "no port has this address")
        elif mac != lease.mac:
            yield ReleaseLease(lease, f"the address belongs to {mac} now")


def _starts(wanted: Wanted, observed: Observed) -> Iterator[StartDaemon | RestartDaemon]:
    for spec in wanted.daemons:
        running = observed.daemons.get(spec.name)
        if running is None:
            yield StartDaemon(spec, "it does not run")
        elif running != spec.generation:
            yield RestartDaemon(spec, "its command line changed: other devices")
