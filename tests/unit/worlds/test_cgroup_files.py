"""Cgroup hierarchies from what /proc says, version 2 in an imitated tree."""

from pathlib import Path

import pytest

from chronovisor.worlds import Limits, Sandbox, WorldSpec
from chronovisor.worlds import cgroups as module
from chronovisor.worlds.cgroups import (
    Cgroups,
    Hierarchy,
    hierarchies,
    limit_files,
    mounted,
    oom_kills,
)
from chronovisor.worlds.limits import arrange

UNIFIED = "30 23 0:26 / /sys/fs/cgroup rw,nosuid - cgroup2 cgroup2 rw,nsdelegate\n"
HYBRID = """\
22 1 254:0 / / rw - ext4 /dev/vda rw
31 22 0:27 / /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct
32 22 0:28 / /sys/fs/cgroup/memory rw shared:9 - cgroup cgroup rw,memory
33 22 0:29 / /sys/fs/cgroup/freezer rw - cgroup cgroup rw,freezer
34 22 0:30 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw
"""


def test_unified() -> None:
    assert hierarchies(mounted(UNIFIED, "0::/system.slice/visord.service\n")) == [
        Hierarchy(2, Path("/sys/fs/cgroup/system.slice/visord.service"), frozenset())
    ]


def test_hybrid() -> None:
    membership = "3:freezer:/\n2:cpu,cpuacct:/a\n1:memory:/b/c\n0::/d\n"
    assert hierarchies(mounted(HYBRID, membership)) == [
        Hierarchy(1, Path("/sys/fs/cgroup/cpu,cpuacct/a"), frozenset({"cpu"})),
        Hierarchy(1, Path("/sys/fs/cgroup/memory/b/c"), frozenset({"memory"})),
        Hierarchy(2, Path("/sys/fs/cgroup/unified/d"), frozenset()),
    ]


def test_in_a_container_the_mount_shows_a_part() -> None:
    mounts = "1 1 0:1 /docker/x /sys/fs/cgroup/memory ro - cgroup cgroup rw,memory\n"
    found = hierarchies(mounted(mounts, "1:memory:/docker/x/sub\n"))
    assert found == [Hierarchy(1, Path("/sys/fs/cgroup/memory/sub"), frozenset({"memory"}))]


@pytest.mark.parametrize(
    ("controller", "version", "value", "files"),
    [
        ("cpu", 1, 50, {"cpu.cfs_quota_us": "50000"}),
        ("cpu", 2, 250, {"cpu.max": "250000 100000"}),
        ("pids", 1, 5, {"pids.max": "5"}),
        ("pids", 2, 5, {"pids.max": "5"}),
        ("memory", 1, 9, {"memory.limit_in_bytes": "9", "memory.memsw.limit_in_bytes": "9"}),
        ("memory", 2, 9, {"memory.max": "9", "memory.swap.max": "0", "memory.oom.group": "1"}),
    ],
)
def test_limit_files(controller: str, version: int, value: int, files: dict[str, str]) -> None:
    assert limit_files(controller, version, value) == files


@pytest.fixture
def unit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return an imitation of the cgroup of visord's unit, with files that only keep text."""
    monkeypatch.setattr(module, "_not_delegated", lambda _: None)
    own = tmp_path / "visord.service"
    own.mkdir()
    (own / "cgroup.controllers").write_text("cpuset cpu io memory pids\n")
    (own / "cgroup.type").write_text("domain\n")
    return own


def test_version_2_leaves_the_unit_alone_without_limits(unit: Path) -> None:
    cgroups = Cgroups("main", [Hierarchy(2, unit, frozenset())])
    groups = arrange(WorldSpec("w", ("true",)), cgroups).groups
    assert [group.path for group in groups] == [unit / "chronovisor" / "main" / "w"]
    # systemd can restart visord in its unit only while nothing is handed down
    assert not list(unit.rglob("cgroup.subtree_control"))
    assert not (unit / "visord").exists()


def test_version_2_moves_visord_into_a_leaf_and_limits_worlds(unit: Path) -> None:
    cgroups = Cgroups("main", [Hierarchy(2, unit, frozenset())])
    spec = WorldSpec("w", ("true",), limits=Limits(memory_bytes=1 << 20, cpu_percent=50))
    arrangement = arrange(spec, cgroups)
    assert (unit / "visord" / "cgroup.procs").exists()
    for directory in (unit, unit / "chronovisor", unit / "chronovisor" / "main"):
        assert (directory / "cgroup.subtree_control").read_text() == "+cpu +memory"
    world = unit / "chronovisor" / "main" / "w"
    assert [group.path for group in arrangement.groups] == [world]
    assert (world / "memory.max").read_text() == str(1 << 20)
    assert (world / "cpu.max").read_text() == "50000 100000"
    by = {limit: how.by for limit, how in arrangement.enforced.items()}
    assert by == {
        "memory_bytes": "cgroup v2 memory, memory.max",
        "cpu_percent": "cgroup v2 cpu, cpu.max",
    }
    assert cgroups.has("w", [str(world)])


def test_version_2_makes_room_before_an_oci_runtime_hands_controllers_down(unit: Path) -> None:
    cgroups = Cgroups("main", [Hierarchy(2, unit, frozenset())])
    arrange(WorldSpec("w", ("true",), sandbox=Sandbox()), cgroups)
    assert (unit / "visord" / "cgroup.procs").exists()
    assert (unit / "cgroup.subtree_control").read_text() == "+cpu +memory +pids"


def test_version_2_again_from_the_leaf(unit: Path) -> None:
    first = Cgroups("main", [Hierarchy(2, unit, frozenset())])
    arrange(WorldSpec("w", ("true",), limits=Limits(processes=5)), first)
    cgroups = Cgroups("main", [Hierarchy(2, unit / "visord", frozenset())])
    assert cgroups.has("w", [str(unit / "chronovisor" / "main" / "w")])


def test_not_delegated_falls_back_and_says_so(unit: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_not_delegated", lambda _: "not delegated")
    cgroups = Cgroups("main", [Hierarchy(2, unit, frozenset())])
    limits = Limits(memory_bytes=1 << 20, processes=5, cpu_percent=10)
    enforced = arrange(WorldSpec("w", ("true",), limits=limits), cgroups).enforced
    assert enforced["memory_bytes"].by == "RLIMIT_AS (address space of each process)"
    assert enforced["memory_bytes"].problem == "not delegated"
    assert enforced["processes"].by is None
    assert "RLIMIT_NPROC does not bind root" in (enforced["processes"].problem or "")
    assert enforced["cpu_percent"].by is None
    other = arrange(WorldSpec("w", ("true",), user="nobody", limits=limits), cgroups).enforced
    assert other["processes"].by == "RLIMIT_NPROC (all processes of user nobody)"


def test_oom_kills_of_both_versions(tmp_path: Path) -> None:
    (tmp_path / "1").mkdir()
    (tmp_path / "2").mkdir()
    (tmp_path / "1" / "memory.oom_control").write_text("under_oom 0\noom_kill 2\n")
    (tmp_path / "2" / "memory.events").write_text("oom 7\noom_kill 1\noom_group_kill 1\n")
    assert oom_kills([str(tmp_path / "1"), str(tmp_path / "2"), str(tmp_path / "3")]) == 3


def test_where_a_runtime_puts_a_container() -> None:
    """The same cgroups as `make` uses, whichever way the runtime reads the path."""
    unified = mounted(UNIFIED, "0::/system.slice/visord.service\n")
    assert Cgroups("i", [], unified).container_path("w") == (
        "/system.slice/visord.service/chronovisor/i/w"
    )
    root = mounted(UNIFIED, "0::/\n")
    assert Cgroups("i", [], root).container_path("w") == "/chronovisor/i/w"
    hybrid = mounted(HYBRID, "3:freezer:/\n2:cpu,cpuacct:/a\n1:memory:/b/c\n0::/d\n")
    assert [one.mount.name for one in hybrid] == ["cpu,cpuacct", "memory", "freezer", "unified"]
    assert Cgroups("i", [], hybrid).container_path("w") == "chronovisor/i/w"
    assert Cgroups("i", []).container_path("w") == "chronovisor/i/w"


def test_a_named_hierarchy_is_cleaned_up_in_too() -> None:
    mounts = "1 1 0:1 / /sys/fs/cgroup/systemd rw - cgroup cgroup rw,xattr,name=systemd\n"
    found = mounted(mounts, "9:name=systemd:/user\n")
    assert [one.own for one in found] == [Path("/sys/fs/cgroup/systemd/user")]
    assert hierarchies(found) == []
