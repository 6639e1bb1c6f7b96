"""Limits of a world, turned into what the kernel can enforce here, and honesty about the rest.

Pure but for the user database and making the cgroups: `arrange` says what the launcher has to do.
"""

import resource
from dataclasses import dataclass, field

from chronovisor.worlds.cgroups import LIMIT_OF, Cgroups, Group, limit_files
from chronovisor.worlds.spec import Limits, WorldSpec
from chronovisor.worlds.state import Enforcement

_NO_CONTROLLER = "no cgroup controller '{}' here"


@dataclass(slots=True)
class Arrangement:
    """What the launcher is to do: join `groups`, set `rlimits` (limit, resource, value)."""

    groups: list[Group] = field(default_factory=list)
    rlimits: list[tuple[str, int, int]] = field(default_factory=list)
    enforced: dict[str, Enforcement] = field(default_factory=dict)

    def note(self, limit: str, by: str | None, problem: str | None = None) -> None:
        """Keep what enforces a limit, or why nothing does."""
        self.enforced[limit] = Enforcement(limit, by, problem)


def arrange(spec: WorldSpec, cgroups: Cgroups) -> Arrangement:
    """Make the world's cgroups and return how each of its limits is enforced.

    A cgroup that refuses leaves its limits unenforced, with the kernel's reason.
    """
    arrangement = Arrangement()
    files = _controller_files(spec.limits, cgroups, arrangement)
    try:
        arrangement.groups = cgroups.make(spec.name, files, for_runtime=spec.sandbox is not None)
    except OSError as error:
        for controller in files:
            problem = f"{error.filename}: {error.strerror}"
            arrangement.note(LIMIT_OF[controller], None, problem)
    _fall_back(spec, arrangement)
    if spec.limits.open_files is not None:
        arrangement.rlimits.append(("open_files", resource.RLIMIT_NOFILE, spec.limits.open_files))
        arrangement.note("open_files", "RLIMIT_NOFILE (each process)")
    if spec.limits.fifo_priority is not None:
        arrangement.note("fifo_priority", "SCHED_FIFO")
    return arrangement


def _controller_files(
    limits: Limits, cgroups: Cgroups, arrangement: Arrangement
) -> dict[str, dict[str, str]]:
    files = {}
    for controller, limit in LIMIT_OF.items():
        value: int | None = getattr(limits, limit)
        version = cgroups.version(controller)
        if value is None:
            continue
        if limit == "cpu_percent" and limits.fifo_priority is not None:
            # The quota is of the fair scheduler (sched-bwc.rst); and a version 1 cgroup without
            # a real-time budget of its own would refuse SCHED_FIFO altogether.
            arrangement.note(
                limit, None, "SCHED_FIFO is outside the quota; sched_rt_runtime_us bounds it"
            )
        elif version is None:
            problem = cgroups.problem.get(controller, _NO_CONTROLLER.format(controller))
            arrangement.note(limit, None, problem)
        else:
            files[controller] = limit_files(controller, version, value)
            name = next(iter(files[controller]))
            arrangement.note(limit, f"cgroup v{version} {controller}, {name}")
    return files


def _fall_back(spec: WorldSpec, arrangement: Arrangement) -> None:
    """Use resource limits (getrlimit(2)) where a cgroup is missing and one comes near."""
    limits = spec.limits
    memory = arrangement.enforced.get("memory_bytes")
    if limits.memory_bytes is not None and memory and memory.by is None:
        item = ("memory_bytes", resource.RLIMIT_AS, limits.memory_bytes)
        arrangement.rlimits.append(item)
        by = "RLIMIT_AS (address space of each process)"
        arrangement.note("memory_bytes", by, memory.problem)
    processes = arrangement.enforced.get("processes")
    if limits.processes is not None and processes and processes.by is None:
        if spec.user in (None, "root"):
            text = f"{processes.problem}, and RLIMIT_NPROC does not bind root"
            arrangement.note("processes", None, text)
        else:
            item = ("processes", resource.RLIMIT_NPROC, limits.processes)
            arrangement.rlimits.append(item)
            by = f"RLIMIT_NPROC (all processes of user {spec.user})"
            arrangement.note("processes", by, processes.problem)
