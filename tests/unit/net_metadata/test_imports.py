"""The proxy starts fast and stays small: it must not import what only visord needs."""

import subprocess
import sys

HEAVY = {"pydantic", "pyroute2", "fastapi", "structlog", "typer", "chronovisor.net.settings"}


def test_world_imports_nothing_heavy() -> None:
    script = "import sys, chronovisor.net.metadata.__main__; print(*sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert not HEAVY & set(done.stdout.split())
