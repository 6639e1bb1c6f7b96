"""A real ptp4l in a container: with how few rights it works, and that it is heard outside."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent
DRIVER = HERE / "ptp4l_driver.py"
LINK = "ip link add nic0 type veth peer name peer0 && ip link set peer0 up && exec"


@pytest.mark.parametrize(
    ("transport", "capability"),
    [
        ("L2", "CAP_NET_RAW"),  # packet(7)
        ("UDPv4", "CAP_NET_BIND_SERVICE"),  # ports 319 and 320
    ],
)
def test_ptp4l_needs_one_capability(tmp_path: Path, transport: str, capability: str) -> None:
    argv = ["unshare", "--net", "sh", "-c", f'{LINK} "$@"', "sh"]
    driver = [sys.executable, str(DRIVER), str(tmp_path), transport, capability]
    env = os.environ | {"PYTHONPATH": str(HERE.parents[1])}
    done = subprocess.run([*argv, *driver], capture_output=True, text=True, env=env, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "numberPorts             1" in done.stdout
    assert "LISTENING" in done.stdout
