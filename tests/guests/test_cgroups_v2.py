"""Limits of worlds where cgroups are those of version 2, which this machine's may not be."""

import sys
from pathlib import Path

from qemu import Machine, debian_kernel

CHECKOUT = Path(__file__).parents[2]
DEADLINE_S = 900.0


def test_limits_hold_with_cgroups_of_version_2() -> None:
    with Machine(debian_kernel(), root=Path("/"), memory_mib=2048) as machine:
        assert machine.check("stat", "-fc", "%T", "/sys/fs/cgroup").text == "cgroup2fs\n"
        done = machine.run(
            *(sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"),
            *("-p", "no:xdist", "tests/functional/worlds/test_limits.py"),
            env={"CHRONOVISOR_SLOWNESS": "10"},
            cwd=str(CHECKOUT),
            deadline_s=DEADLINE_S,
        )
        assert done.code == 0, done.text
        assert "skipped" not in done.text, done.text
