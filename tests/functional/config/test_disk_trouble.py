"""Full and read-only disks: a change is refused with its reason, what is in force stays."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

SCENARIOS = Path(__file__).with_name("disk_scenarios.py")
PRIVATE_MOUNTS = ("unshare", "--mount", "--propagation", "private")

pytestmark = pytest.mark.skipif(
    os.geteuid() != 0 or not shutil.which("unshare"), reason="mounting needs root and unshare(1)"
)


@pytest.mark.parametrize(
    "scenario",
    [
        "full",
        "full_at_start",
        "full_while_damaged",
        "trial_ends_on_a_full_disk",
        "trial_ends_after_a_restart_on_a_full_disk",
        "read_only_at_start",
        "read_only_while_running",
        "read_only_with_a_log",
        "read_only_while_damaged",
        "read_only_and_nothing_there",
    ],
)
def test_on_a_disk_of_its_own(scenario: str, tmp_path: Path) -> None:
    done = subprocess.run(
        [*PRIVATE_MOUNTS, sys.executable, "-W", "error", str(SCENARIOS), scenario, str(tmp_path)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert list(tmp_path.iterdir()) == [], "the mount must not reach the machine"
