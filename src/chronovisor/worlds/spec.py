"""What a world is meant to be: program, surroundings, limits, restart policy.

A `WorldSpec` is written to disk beside the process it started, so it goes to JSON and back
unchanged: ``WorldSpec.from_json(spec.to_json()) == spec``.
"""

import re
import signal
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Literal

from pydantic import TypeAdapter, ValidationError

from chronovisor.errors import InvalidInput, Problem
from chronovisor.worlds.sandbox import Sandbox, problems

_NAME = re.compile(r"[a-z0-9][a-z0-9-]*\Z")
_LONGEST_NAME = 128  # leaves room for suffixes under NAME_MAX (255) in directories and cgroups
_VALID_NAME = f"1 to {_LONGEST_NAME} of a-z, 0-9 and -, not beginning with -"


@dataclass(frozen=True, slots=True)
class Limits:
    """What a world may use; None means no limit of its own.

    `memory_bytes` counts resident memory of all its processes where a cgroup can, `cpu_percent`
    is of one core (250 is two and a half cores), `processes` counts threads too, as the kernel
    does, and `fifo_priority` (1 to 99) puts it under SCHED_FIFO (sched(7)).
    """

    memory_bytes: int | None = None
    cpu_percent: int | None = None
    processes: int | None = None
    fifo_priority: int | None = None
    open_files: int | None = None


@dataclass(frozen=True, slots=True)
class RestartPolicy:
    """When and how soon a world that ended is started again.

    The words are those of ESXi's watchdog. A run shorter than `min_uptime_s` is a quick failure;
    `max_quick_failures` of them in a row, or `max_total_failures` of any kind, end the attempts
    (None: never). The wait doubles with each quick failure from `backoff_initial_s` up to
    `backoff_max_s`. With `on_failure` an exit with status 0 is an end and no failure.
    """

    min_uptime_s: float = 10.0
    max_quick_failures: int | None = 10
    max_total_failures: int | None = None
    backoff_initial_s: float = 0.5
    backoff_max_s: float = 30.0
    mode: Literal["always", "on_failure", "never"] = "always"


@dataclass(frozen=True, slots=True)
class LogLimits:
    """How much of a world's output is kept: `files` files of at most `max_bytes` each."""

    max_bytes: int = 1 << 20
    files: int = 3


@dataclass(frozen=True, slots=True)
class WorldSpec:
    """A process to be kept running.

    `argv[0]` is looked up in the PATH of the world. `env` is all it gets beside PATH, LANG and,
    with a `user`, HOME, USER and LOGNAME: nothing leaks from visord. `user` None is visord's own
    user, `working_directory` None is `/`. `generation` is a digest chosen by whoever asks for the
    world: as long as it is equal, what runs is what is wanted, whatever else differs. Of all worlds
    with the same `lock` one at a time has a process; another waits until that has ended. With a
    `sandbox` it runs in a container.

    Raises `InvalidInput` with every problem at once.
    """

    name: str
    argv: tuple[str, ...]
    env: Mapping[str, str] = field(default_factory=dict)
    user: str | None = None
    working_directory: str | None = None
    limits: Limits = field(default_factory=Limits)
    restart: RestartPolicy = field(default_factory=RestartPolicy)
    stop_signal: str = "SIGTERM"
    stop_timeout_s: float = 5.0
    generation: str = ""
    log: LogLimits = field(default_factory=LogLimits)
    lock: str | None = None
    sandbox: Sandbox | None = None

    def __post_init__(self) -> None:
        """Refuse what could never run."""
        problems = [*_problems(self)]
        if problems:
            raise InvalidInput(f"world {self.name!r} cannot be described so", problems)

    def to_json(self) -> dict[str, object]:
        """Return the spec as a JSON object."""
        document = _ADAPTER.dump_python(self, mode="json")
        assert isinstance(document, dict)
        return document

    @classmethod
    def from_json(cls, document: object) -> "WorldSpec":
        """Return the spec that `to_json` made `document` of; raise `InvalidInput` if none did."""
        try:
            # Strictness of JSON, not of Python: a list is a tuple there.
            return _ADAPTER.validate_json(_DOCUMENT.dump_json(document), strict=True)
        except ValidationError as error:
            raise InvalidInput(
                "not the description of a world",
                [
                    Problem(".".join(map(str, item["loc"])), item["msg"], str(item["input"])[:80])
                    for item in error.errors()
                ],
            ) from None


def _problems(spec: WorldSpec) -> Iterator[Problem]:
    if not _NAME.match(spec.name) or len(spec.name) > _LONGEST_NAME:
        yield Problem("name", "is not a world's name", spec.name, _VALID_NAME)
    if spec.lock is not None and (not _NAME.match(spec.lock) or len(spec.lock) > _LONGEST_NAME):
        yield Problem("lock", "is not a lock's name", spec.lock, _VALID_NAME)
    if not spec.argv or not spec.argv[0]:
        yield Problem("argv", "names no program", valid="a program and its arguments")
    texts = {f"argv[{index}]": text for index, text in enumerate(spec.argv)}
    texts |= {f"env[{key!r}]": value for key, value in spec.env.items()}
    for where, text in texts.items():
        if "\0" in text:
            yield Problem(where, "holds a NUL byte", repr(text))
    for key in spec.env:
        if not key or "=" in key or "\0" in key:
            yield Problem("env", "is not a variable's name", repr(key), "text without '=' and NUL")
    if spec.stop_signal not in signal.Signals.__members__:
        yield Problem("stop_signal", "is not a signal", spec.stop_signal, "SIGTERM, SIGINT, …")
    if spec.sandbox is not None:
        yield from problems(spec.sandbox)
    yield from _number_problems(spec)


def _number_problems(spec: WorldSpec) -> Iterator[Problem]:
    limits, restart, log = spec.limits, spec.restart, spec.log
    ranges: list[tuple[str, float | None, float, float]] = [
        ("limits.memory_bytes", limits.memory_bytes, 1 << 20, 1 << 62),
        ("limits.cpu_percent", limits.cpu_percent, 1, 1_000_000),
        ("limits.processes", limits.processes, 1, 4_194_304),  # PID_MAX_LIMIT
        ("limits.fifo_priority", limits.fifo_priority, 1, 99),  # sched(7)
        ("limits.open_files", limits.open_files, 3, 1 << 30),
        ("restart.min_uptime_s", restart.min_uptime_s, 0, 1e9),
        ("restart.max_quick_failures", restart.max_quick_failures, 1, 1e9),
        ("restart.max_total_failures", restart.max_total_failures, 1, 1e9),
        ("restart.backoff_initial_s", restart.backoff_initial_s, 0, 1e6),
        ("restart.backoff_max_s", restart.backoff_max_s, restart.backoff_initial_s, 1e6),
        ("stop_timeout_s", spec.stop_timeout_s, 0, 3600),
        ("log.max_bytes", log.max_bytes, 4096, 1 << 40),
        ("log.files", log.files, 1, 100),
    ]
    for where, value, low, high in ranges:
        if value is not None and not low <= value <= high:
            yield Problem(where, "is out of range", str(value), f"{low:g} to {high:g}")


_ADAPTER = TypeAdapter(WorldSpec)
_DOCUMENT: TypeAdapter[object] = TypeAdapter(object)
