"""Which cgroup hierarchies there are for us, and a directory in each for every world.

Version 2 (cgroups(7), Linux Documentation/admin-guide/cgroup-v2.rst): worlds live in
`chronovisor/<instance>/<world>` of visord's own cgroup, which systemd must have delegated. A cgroup
whose children have controllers may hold no processes, so controllers are handed down only when a
world has a limit, and visord then moves itself into the leaf `visord`. While controllers are handed
down, systemd cannot put a restarted visord into the unit's cgroup (EBUSY): the unit's ExecStopPost=
takes them back, and limits are written again when visord adopts its worlds; what such a world used
of memory until then is charged to the unit, and counts against the world's limit no more.
Version 1 (cgroup-v1/*.rst), also beside version 2: the same directories per controller, without
that rule.

Whatever cannot be had is a reason in words and no error: a world runs without the limit.
"""

import contextlib
import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

CONTROLLERS = ("memory", "cpu", "pids")
_TREE = "chronovisor"
_LEAF = "visord"
_PERIOD_US = 100_000  # the kernel's default for cpu.max and cpu.cfs_period_us
_RMDIR_ATTEMPTS = 10
_RMDIR_WAIT_S = 0.002


@dataclass(frozen=True, slots=True)
class Hierarchy:
    """A mounted hierarchy: its `version`, visord's `own` cgroup in it, usable `controllers`."""

    version: int
    own: Path
    controllers: frozenset[str]


@dataclass(frozen=True, slots=True)
class Group:
    """A cgroup made for one world, and the limits (fields of `Limits`) that it enforces."""

    path: Path
    limits: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Mounted:
    """A hierarchy as it is mounted, used by us or not; `names` are its controllers (version 1)."""

    version: int
    mount: Path
    own: Path
    names: frozenset[str]


def mounted(mountinfo: str, membership: str) -> list[Mounted]:
    """Return the hierarchies in /proc/self/mountinfo with the place /proc/self/cgroup gives us."""
    places: dict[str, str] = {}
    for line in membership.splitlines():
        _, controllers, path = line.split(":", 2)
        places |= dict.fromkeys(controllers.removeprefix("name=").split(","), path)
    found = []
    for line in mountinfo.splitlines():
        before, _, after = line.partition(" - ")
        kind, _, options = after.split(" ", 2)
        root, mount = before.split(" ")[3:5]
        if kind == "cgroup2" and "" in places:  # version 2 is named ""
            own = _place(mount, root, places[""])
            found.append(Mounted(2, Path(mount), own, frozenset()))
        elif kind == "cgroup":
            words = (word.removeprefix("name=") for word in options.split(","))
            if names := frozenset(words) & frozenset(places):
                own = _place(mount, root, places[min(names)])
                found.append(Mounted(1, Path(mount), own, names))
    return found


def hierarchies(found: Sequence[Mounted]) -> list[Hierarchy]:
    """Return those that may limit worlds.

    Controllers of version 2 are read from there later (`cgroup.controllers`), so they are empty.
    """
    usable = []
    for one in found:
        names = one.names & frozenset(CONTROLLERS)
        if names or one.version == 2:
            usable.append(Hierarchy(one.version, one.own, names))
    return usable


def _place(mounted: str, root: str, path: str) -> Path:
    # In a container the mount shows a part of the tree; mountinfo's root says which.
    inside = path.removeprefix(root) if root != "/" else path
    return Path(mounted, inside.lstrip("/"))


class Cgroups:
    """Makes and removes the cgroups of one visord's worlds.

    `problem` says per controller why it is not usable; a controller in neither `problem` nor a
    hierarchy does not exist here.
    """

    def __init__(
        self, instance: str, found: Sequence[Hierarchy], everywhere: Sequence[Mounted] = ()
    ) -> None:
        self._instance = instance
        self._everywhere = tuple(everywhere)
        self.problem: dict[str, str] = {}
        self._homes: dict[str, tuple[int, Path]] = {}  # controller: version, cgroup for all ours
        self._delegated: Path | None = None  # visord's own cgroup of version 2
        for hierarchy in found:
            if hierarchy.version == 1:
                for name in hierarchy.controllers:
                    self._homes[name] = (1, hierarchy.own / _TREE / instance)
            else:
                self._use_version_2(hierarchy.own)

    @classmethod
    def of_this_process(cls, instance: str) -> "Cgroups":
        """Use what this process finds itself in."""
        proc = Path("/proc/self")
        try:
            texts = [(proc / name).read_text() for name in ("mountinfo", "cgroup")]
        except OSError:  # a kernel without cgroups
            return cls(instance, [])
        found = mounted(*texts)
        return cls(instance, hierarchies(found), found)

    def _use_version_2(self, own: Path) -> None:
        if own.name == _LEAF and (own.parent / _TREE).is_dir():
            own = own.parent  # visord moved itself here in an earlier life, or systemd put it here
        available: set[str] = set()
        with contextlib.suppress(OSError):
            available = {*(own / "cgroup.controllers").read_text().split()} & {*CONTROLLERS}
        if not available:
            return
        problem = _not_delegated(own)
        if problem:
            self.problem = dict.fromkeys(available, problem)
            return
        self._delegated = own
        self._homes |= dict.fromkeys(available, (2, own / _TREE / self._instance))

    def version(self, controller: str) -> int | None:
        """Return the version of cgroups that has the controller for us, None if none has."""
        return self._homes[controller][0] if controller in self._homes else None

    def has(self, world: str, paths: Sequence[str]) -> bool:
        """Return whether `paths` are where this object would put the world's cgroups."""
        ours = {str(home / world) for _, home in self._homes.values()}
        return bool(paths) and ours.issuperset(paths)

    def make(
        self, world: str, files: Mapping[str, Mapping[str, str]], *, for_runtime: bool = False
    ) -> list[Group]:
        """Make the world's cgroups and write limits into them; raise `OSError` if refused.

        `files` has for each controller the files to write, see `limit_files`. The controller that
        counts processes is always used: it finds all of a world's processes.

        An OCI runtime hands every controller down by itself. With visord in a cgroup above, the
        kernel would give it those that take threads alone, and no process could enter (cgroups(7),
        "domain invalid"). So `for_runtime` does it in the order that works.
        """
        groups: dict[Path, list[str]] = {}
        wanted = self._homes if for_runtime else files
        handed_down = sorted(name for name in wanted if self.version(name) == 2)
        if handed_down and self._delegated:
            _hand_down(self._delegated, self._homes[handed_down[0]][1], handed_down)
        for controller, (version, home) in self._homes.items():
            if controller in files or controller == "pids" or version == 2:
                path = home / world
                _make_directory(path)
                groups.setdefault(path, [])
                for name, text in files.get(controller, {}).items():
                    _write_if_there(path / name, text)
                if controller in files:
                    groups[path].append(LIMIT_OF[controller])
        return [Group(path, tuple(limits)) for path, limits in groups.items()]

    def remove(self, paths: Sequence[str]) -> None:
        """Remove a world's empty cgroups, and ours around them once no world is left in there."""
        for path in map(Path, paths):
            _remove_directory(path, _RMDIR_ATTEMPTS)
            if path.parent.name == self._instance:
                _remove_directory(path.parent, 1)
                _remove_directory(path.parent.parent, 1)

    def container_path(self, world: str) -> str:
        """Return the `cgroupsPath` that makes an OCI runtime use the same cgroups as `make`.

        With version 1 anywhere a runtime uses that, and takes a path without / from its own
        cgroup of each controller; with version 2 alone it would take it from one level above.
        """
        place = Path(_TREE, self._instance, world)
        if not self._everywhere or any(one.version == 1 for one in self._everywhere):
            return str(place)
        unified = self._everywhere[0]
        own = self._delegated or unified.own
        return f"/{(own / place).relative_to(unified.mount)}"

    def real_time_home(self) -> Path | None:
        """Return visord's own cgroup of version 1's cpu controller, None if there is none.

        A cgroup below it has no real-time budget of its own, and refuses SCHED_FIFO where the
        kernel counts that (CONFIG_RT_GROUP_SCHED; sched-rt-group.rst).
        """
        own = [one.own for one in self._everywhere if "cpu" in one.names]
        return own[0] if own else None

    def remove_everywhere(self, world: str) -> None:
        """Remove a container's empty cgroups: a runtime makes them for every controller."""
        for one in self._everywhere:
            own = self._delegated if one.version == 2 and self._delegated else one.own
            home = own / _TREE / self._instance
            _remove_directory(home / world, _RMDIR_ATTEMPTS)
            _remove_directory(home, 1)
            _remove_directory(home.parent, 1)


LIMIT_OF = {"memory": "memory_bytes", "cpu": "cpu_percent", "pids": "processes"}


def limit_files(controller: str, version: int, value: int) -> dict[str, str]:
    """Return the files to write, in this order, to limit a world to `value` (as in `Limits`)."""
    if controller == "pids":
        return {"pids.max": str(value)}
    if controller == "cpu":
        quota_us = value * _PERIOD_US // 100
        if version == 2:
            return {"cpu.max": f"{quota_us} {_PERIOD_US}"}
        return {"cpu.cfs_quota_us": str(quota_us)}  # of _PERIOD_US, unless changed
    if version == 2:
        # No way out through swap; and all of a world dies together, for half a world is worse.
        return {"memory.max": str(value), "memory.swap.max": "0", "memory.oom.group": "1"}
    # The sum with swap may never be below the memory alone, hence this order.
    return {"memory.limit_in_bytes": str(value), "memory.memsw.limit_in_bytes": str(value)}


def oom_kills(paths: Sequence[str]) -> int:
    """Return how often the kernel killed a process of these cgroups for want of memory."""
    count = 0
    for directory in paths:
        for name in ("memory.events", "memory.oom_control"):
            with contextlib.suppress(OSError):
                for line in Path(directory, name).read_text().splitlines():
                    key, _, value = line.partition(" ")
                    count += int(value) if key == "oom_kill" else 0
    return count


def _not_delegated(own: Path) -> str | None:
    if not Path("/run/systemd/system").is_dir():
        return None
    for attribute in ("trusted.delegate", "user.delegate"):  # systemd.resource-control(5)
        with contextlib.suppress(OSError):
            if os.getxattr(own, attribute) == b"1":
                return None
    return f"systemd did not delegate {own} (Delegate=yes in the unit)"


def _hand_down(own: Path, home: Path, controllers: Sequence[str]) -> None:
    """Let the children of `home` have the controllers; raise `OSError` if that cannot be."""
    request = " ".join(f"+{name}" for name in controllers)
    if (own / "cgroup.type").exists():  # the root has none, and may hold processes
        _make_directory(own / _LEAF)
        (own / _LEAF / "cgroup.procs").write_text(str(os.getpid()))
    _make_directory(home)
    for directory in (own, home.parent, home):
        (directory / "cgroup.subtree_control").write_text(request)


def _make_directory(path: Path) -> None:
    # Another visord may remove an empty parent between our making it and its child.
    for _ in range(3):
        with contextlib.suppress(FileNotFoundError):
            return path.mkdir(parents=True, exist_ok=True)
    return path.mkdir(parents=True, exist_ok=True)


def _write_if_there(path: Path, text: str) -> None:
    # Kernels without swap accounting lack the swap files; every other file always exists.
    optional = "swap" in path.name or "memsw" in path.name or "oom.group" in path.name
    if path.exists() or not optional:
        path.write_text(text)


def _remove_directory(path: Path, attempts: int) -> None:
    for _ in range(attempts):
        try:
            path.rmdir()
        except FileNotFoundError:
            return
        except OSError:
            # Busy for a moment after the last process ended; at most 20 ms altogether.
            if attempts > 1:
                time.sleep(_RMDIR_WAIT_S)
        else:
            return
