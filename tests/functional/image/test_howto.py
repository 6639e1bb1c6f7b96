"""The page that says how to build, sign, verify and publish: every command in it works."""

import os
import re
import subprocess
import sys
from pathlib import Path

PAGE = Path(__file__).parents[3] / "docs" / "howto" / "vib.md"
PORT = 18_000 + os.getpid() % 2000


def test_every_command_of_the_page_works(tmp_path: Path) -> None:
    blocks = re.findall(r"^```sh\n(.*?)^```$", PAGE.read_text(), re.DOTALL | re.MULTILINE)
    assert len(blocks) > 10
    script = "\n".join(blocks).replace("8089", str(PORT))
    environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    done = subprocess.run(
        ["/bin/bash", "-eu", "-c", script],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    for words in (
        "VIB trx-conf: etc/vmware/trx.conf is not allowed at level community",
        "by 'CN=Example Packager,O=Example', trusted through",
        "Installation Result",
        "Overrides Ever Used: 0",
        "Overrides Ever Used: 1",
    ):
        assert words in done.stdout + done.stderr
