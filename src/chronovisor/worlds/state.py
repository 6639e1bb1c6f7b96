"""What a world is doing now: the snapshot that the API and people see."""

from dataclasses import dataclass
from enum import StrEnum


class State(StrEnum):
    """The states of a world.

    `failed` means that the restart policy is exhausted; `stopped` that somebody asked for it or
    that its work is done. Only `running` has a process that runs the program.
    """

    STARTING = "starting"
    RUNNING = "running"
    BACKOFF = "backoff"
    FAILED = "failed"
    STOPPED = "stopped"


@dataclass(frozen=True, slots=True)
class Enforcement:
    """One limit of a running world: `by` what it is enforced, or the `problem` why it is not.

    Both can be set: a limit may hold only in part.
    """

    limit: str
    by: str | None = None
    problem: str | None = None


@dataclass(frozen=True, slots=True)
class World:
    """A world as it is now.

    `generation` is that of the running process, which may lag behind `wanted_generation`.
    `started_at_s` is Unix time by the wall clock, `uptime_s` comes from the kernel and is right
    whatever happened to the wall clock. `next_attempt_s` is the wait left in `backoff`.
    `sandboxed` says that it is a container, `lock` which lock it shares with others.
    `adopted` says that an earlier visord started the process. `log_problem` says why output
    is not being written to the log, if so.
    """

    name: str
    state: State
    reason: str
    argv: tuple[str, ...]
    wanted_generation: str
    generation: str | None = None
    pid: int | None = None
    started_at_s: float | None = None
    uptime_s: float | None = None
    adopted: bool = False
    restarts: int = 0
    quick_failures: int = 0
    total_failures: int = 0
    next_attempt_s: float | None = None
    last_lines: tuple[str, ...] = ()
    enforced: tuple[Enforcement, ...] = ()
    log_problem: str | None = None
    sandboxed: bool = False
    lock: str | None = None
