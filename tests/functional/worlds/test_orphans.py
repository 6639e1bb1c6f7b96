"""Orphans are taken in, and buried when nobody else does it."""

import subprocess
import time

from chronovisor.worlds import orphans
from chronovisor.worlds.launcher import stat_fields

DEADLINE_S = 30.0


def state(pid: int) -> str:
    """Return the state of a process by its letter (proc(5)), empty once it is gone."""
    fields = stat_fields(pid)
    return fields[0] if fields else ""


def test_an_orphan_is_buried_at_the_second_look_and_a_child_is_left_to_its_parent() -> None:
    orphans.take_in()
    argv = ["sh", "-c", "sleep 0 >/dev/null & echo $!"]
    orphan = int(subprocess.run(argv, capture_output=True, check=True).stdout)
    deadline = time.monotonic() + DEADLINE_S
    while state(orphan) != "Z":
        assert time.monotonic() < deadline, f"orphan {orphan} is {state(orphan)!r}"
        time.sleep(0.01)
    seen = orphans.bury(frozenset())
    assert orphan in {pid for pid, _ in seen}
    assert state(orphan) == "Z"

    with subprocess.Popen(["true"]) as child:
        while state(child.pid) != "Z":
            assert time.monotonic() < deadline
            time.sleep(0.01)
        orphans.bury(seen)
        assert state(orphan) == ""
        assert state(child.pid) == "Z"
    assert child.returncode == 0
