"""Worlds where cgroups are those of version 2, which this machine's may not be."""

import sys
from pathlib import Path

import pytest

from qemu import Machine, debian_kernel

CHECKOUT = Path(__file__).parents[2]
DEADLINE_S = 900.0


def run_tests(*words: str) -> str:
    """Run pytest in a guest with cgroups of version 2; all tests must pass. Return what it said.

    One processor: containers switch code of the kernel (CONTRIBUTING.md, "Guests of QEMU").
    """
    with Machine(debian_kernel(), root=Path("/"), memory_mib=2048, cpus=1) as machine:
        assert machine.check("stat", "-fc", "%T", "/sys/fs/cgroup").text == "cgroup2fs\n"
        done = machine.run(
            *(sys.executable, "-m", "pytest", "-q", "-rs", "-p", "no:cacheprovider"),
            *("-p", "no:xdist", *words),
            env={"CHRONOVISOR_SLOWNESS": "10"},
            cwd=str(CHECKOUT),
            deadline_s=DEADLINE_S,
        )
        assert done.code == 0, done.text
        assert "skipped" not in done.text, done.text
    return done.text


def test_limits_hold() -> None:
    run_tests("tests/functional/worlds/test_limits.py")


@pytest.mark.long
def test_containers_of_both_runtimes() -> None:
    """crun 1.8 makes none beside hybrid cgroups; before Linux 6.15 only a parent is told an end."""
    print(run_tests("tests/functional/crx/test_containers.py"))
