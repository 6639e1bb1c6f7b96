"""What must be done so that this host keeps time as it is told; pure.

A change restarts only what must restart. Options that PTP management can set are set live; files
and daemons are touched where the daemon's part of the settings really differs.

The system clock has one writer at most at every moment, also if the plan is cut off between any two
of its actions: what may no longer set the clock is stopped, or restarted so that it only measures,
before what shall set it starts; and an action is done once the process it ends is dead.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from ipaddress import IPv4Interface, IPv6Interface
from pathlib import Path

from chronovisor.worlds import RestartPolicy, WorldSpec

RESTARTS = RestartPolicy(min_uptime_s=5.0, backoff_initial_s=0.2, backoff_max_s=30.0)
"""A clock daemon that dies is back at once; one that cannot start is given up in the end."""

DAEMONS = ("ptp4l", "phc2sys", "ptpd", "chronyd")
"""The worlds of this plane in the order in which they start: phc2sys follows ptp4l.

Of ptp4l and ptpd one runs at most: what is left stops before the other starts."""


SANDBOXED = "+crx."
"""Stands in a generation between the digest of what a daemon reads and that of its sandbox."""

MOST_CHANGES = 4
"""Changed options that a reason names; a plan is read by people."""


@dataclass(frozen=True, slots=True)
class AssignAddress:
    """Give a PTP device an address of its settings. Applied by `addresses.apply`."""

    device: str
    address: IPv4Interface | IPv6Interface
    reason: str

    def __str__(self) -> str:
        """Return the action as a line for people."""
        return f"assign {self.address} to {self.device}"


@dataclass(frozen=True, slots=True)
class WriteFile:
    """Write a daemon's configuration file. Applied by `daemons.apply`."""

    path: Path
    text: str
    reason: str

    def __str__(self) -> str:
        """Return the action as a line for people."""
        return f"write {self.path}"


@dataclass(frozen=True, slots=True)
class StartDaemon:
    """Start a daemon that should run and does not. Applied by `daemons.apply`."""

    spec: WorldSpec
    reason: str

    def __str__(self) -> str:
        """Return the action as a line for people."""
        return f"start {self.spec.name}"


@dataclass(frozen=True, slots=True)
class RestartDaemon:
    """Restart a daemon whose settings it reads only at its start. Applied by `daemons.apply`."""

    spec: WorldSpec
    reason: str

    def __str__(self) -> str:
        """Return the action as a line for people."""
        return f"restart {self.spec.name}"


@dataclass(frozen=True, slots=True)
class ReviveDaemon:
    """Start a daemon again that cannot go on as it runs. Applied by `daemons.apply`."""

    name: str
    reason: str

    def __str__(self) -> str:
        """Return the action as a line for people."""
        return f"restart {self.name}"


@dataclass(frozen=True, slots=True)
class ReloadDaemon:
    """Have a daemon read its file again while it runs. Applied by `daemons.apply`."""

    name: str
    reason: str

    def __str__(self) -> str:
        """Return the action as a line for people."""
        return f"have {self.name} read its file again"


@dataclass(frozen=True, slots=True)
class StopDaemon:
    """Stop a daemon that should not run. Applied by `daemons.apply`."""

    name: str
    reason: str

    def __str__(self) -> str:
        """Return the action as a line for people."""
        return f"stop {self.name}"


@dataclass(frozen=True, slots=True)
class SetLive:
    """Set an option of the running ptp4l through PTP management. Applied by `live.apply`."""

    option: str
    value: int
    reason: str

    def __str__(self) -> str:
        """Return the action as a line for people."""
        return f"set {self.option} {self.value} in the running ptp4l"


@dataclass(frozen=True, slots=True)
class HandOverRate:
    """Have chronyd begin with the rate that the system clock has. Applied by `daemons.apply`."""

    path: Path
    text: str
    reason: str

    def __str__(self) -> str:
        """Return the action as a line for people."""
        return f"hand the system clock's rate over in {self.path}"


@dataclass(frozen=True, slots=True)
class HoldDaemon:
    """Stop a daemon that would take the time of a clock which nobody has set, until somebody has.

    Applied by `daemons.apply`.
    """

    name: str
    reason: str

    def __str__(self) -> str:
        """Return the action as a line for people."""
        return f"hold {self.name}"


Action = (
    AssignAddress
    | WriteFile
    | StartDaemon
    | RestartDaemon
    | ReviveDaemon
    | ReloadDaemon
    | StopDaemon
    | HoldDaemon
    | SetLive
    | HandOverRate
)


@dataclass(frozen=True, slots=True)
class WantedDaemon:
    """A daemon that should run, its configuration file, and the options settable while it runs.

    `spec.generation` is the digest of all that it reads at its start alone. `steers` says that it
    may set the system clock, `rate_file` where it reads at its start which rate the clock has.
    `follows` names the daemon that must have a calibrated port whenever this one starts. `reloads`
    says that a change of its file which starts nothing anew is for the running one, too.
    """

    spec: WorldSpec
    file: Path
    text: str
    live: Mapping[str, int]
    steers: bool = False
    rate_file: Path | None = None
    follows: str | None = None
    reloads: bool = False


@dataclass(frozen=True, slots=True)
class Wanted:
    """Everything that should be, in the order in which daemons start."""

    daemons: tuple[WantedDaemon, ...] = ()
    addresses: tuple[tuple[str, IPv4Interface | IPv6Interface], ...] = ()


@dataclass(frozen=True, slots=True)
class Observed:
    """What is: daemons that run (or are tried) by name with their generation, files, addresses.

    `live` holds the options that the running ptp4l answered for, empty while it does not answer.
    `rate_text` is the system clock's rate as `rate_file` has it, None while it is not known.
    `stuck` says of daemons why they cannot go on without a restart. `calibrated`: a PTP port
    follows a master, and its clock has been set by it (port state SLAVE).
    """

    daemons: Mapping[str, str]
    files: Mapping[Path, str]
    live: Mapping[str, int]
    addresses: frozenset[tuple[str, IPv4Interface | IPv6Interface]]
    rate_text: str | None = None
    stuck: Mapping[str, str] = field(default_factory=dict)
    calibrated: bool = False


def plan(wanted: Wanted, observed: Observed) -> list[Action]:
    """Return what turns `observed` into `wanted`, in the order it must be done; empty when equal.

    Daemons stop in the reverse of the order in which they start, and those that may set the system
    clock start last. One that follows another waits until that one has a calibrated port, which it
    has not when this plan starts it.
    """
    names = {daemon.spec.name for daemon in wanted.daemons}
    actions: list[Action] = [
        StopDaemon(name, "the settings have no use for it")
        for name in reversed(DAEMONS)
        if name in observed.daemons and name not in names
    ]
    actions += [
        AssignAddress(device, address, f"ip_config of {device}")
        for device, address in wanted.addresses
        if (device, address) not in observed.addresses
    ]
    started: set[str] = set()
    for daemon in sorted(wanted.daemons, key=lambda daemon: daemon.steers):  # keeps their order
        ready = observed.calibrated and daemon.follows not in started
        found = _for_daemon(daemon, observed)
        starts = any(isinstance(one, StartDaemon | RestartDaemon | ReviveDaemon) for one in found)
        if starts and daemon.follows and not ready:
            found = _held(daemon, observed)
        elif starts:
            started.add(daemon.spec.name)
        actions += found
    return actions


def _held(daemon: WantedDaemon, observed: Observed) -> list[Action]:
    """Return what is done in place of a start that must wait."""
    if daemon.spec.name not in observed.daemons:
        return []
    reason = f"a port of {daemon.follows} must be SLAVE when it starts, and none is"
    return [HoldDaemon(daemon.spec.name, reason)]


def _for_daemon(daemon: WantedDaemon, observed: Observed) -> list[Action]:
    actions: list[Action] = []
    running = observed.daemons.get(daemon.spec.name)
    file_differs = observed.files.get(daemon.file) != daemon.text
    if file_differs:
        actions.append(WriteFile(daemon.file, daemon.text, f"{daemon.spec.name} reads it"))
    if running != daemon.spec.generation and daemon.rate_file and observed.rate_text:
        reason = f"{daemon.spec.name} begins with it"
        actions.append(HandOverRate(daemon.rate_file, observed.rate_text, reason))
    if running is None:
        actions.append(StartDaemon(daemon.spec, "it does not run"))
    elif running != daemon.spec.generation:
        what = _boxed(running, daemon) or changes(observed.files.get(daemon.file), daemon)
        actions.append(RestartDaemon(daemon.spec, f"it reads this only at its start: {what}"))
    elif daemon.spec.name in observed.stuck:
        actions.append(ReviveDaemon(daemon.spec.name, observed.stuck[daemon.spec.name]))
    elif file_differs and daemon.reloads:
        actions.append(
            ReloadDaemon(daemon.spec.name, changes(observed.files.get(daemon.file), daemon))
        )
    else:
        actions += [
            SetLive(option, value, f"it is {observed.live[option]}; PTP management can set it")
            for option, value in sorted(daemon.live.items())
            if observed.live.get(option, value) != value
        ]
    return actions


def _boxed(running: str, daemon: WantedDaemon) -> str:
    """Return in words that what differs is the sandbox alone, empty if it is more."""
    before, mark_before, _ = running.partition(SANDBOXED)
    after, mark_after, _ = daemon.spec.generation.partition(SANDBOXED)
    if before != after:
        return ""
    names = {"": "none", SANDBOXED: "crx"}
    both = mark_before == mark_after
    return "its sandbox" if both else f"sandbox {names[mark_before]} -> {names[mark_after]}"


def changes(old: str | None, daemon: WantedDaemon) -> str:
    """Return in words which options differ between a daemon's old file and its new one."""
    before, after = _options(old or ""), _options(daemon.text)
    lasting = [key for key in before.keys() | after.keys() if key[1] not in daemon.live]
    words = [
        f"{option} {before.get((section, option), 'unset')} -> "
        f"{after.get((section, option), 'unset')}" + (f" on {section}" if section else "")
        for section, option in sorted(lasting)
        if before.get((section, option)) != after.get((section, option))
    ]
    if not words:
        return "its command line or the order of its ports"
    more = f" and {len(words) - MOST_CHANGES} more" if len(words) > MOST_CHANGES else ""
    return ", ".join(words[:MOST_CHANGES]) + more


def _options(text: str) -> dict[tuple[str, str], str]:
    """Return the options of a configuration file by section ("" is [global]) and name."""
    found: dict[tuple[str, str], str] = {}
    section = ""
    for line in text.splitlines():
        if line.startswith("["):
            section = line.strip("[]")
            section = "" if section == "global" else section
        elif line and not line.startswith("#"):
            name, _, value = line.partition(" ")
            value = value.removeprefix("= ")  # as in ptpd's file
            before = found.get((section, name))  # a table has a line for each of its masters
            found[section, name] = value if before is None else f"{before}, {value}"
    return found
