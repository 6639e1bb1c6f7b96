"""A Debian 12 of a test's own: what debootstrap makes of the archive, cached like the kernels."""

import hashlib
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path

from qemu.kernels import DOWNLOAD_DEADLINE_S, cache, locked

SUITE = "bookworm"


def debian_root(packages: Sequence[str]) -> Path:
    """Return a minimal Debian 12 with these packages beside; to be copied and not written to.

    Raises `RuntimeError` where debootstrap cannot make it.
    """
    names = sorted(packages)
    digest = hashlib.sha256(" ".join(names).encode()).hexdigest()[:12]
    place = cache() / "roots"
    root = place / f"{SUITE}-{digest}"
    with locked(place):
        if not root.is_dir():
            _bootstrap(place, root, names)
    return root


def _bootstrap(place: Path, root: Path, packages: Sequence[str]) -> None:
    include = f"--include={','.join(packages)}"
    with tempfile.TemporaryDirectory(dir=place, prefix=".new-") as name:
        new = Path(name) / "root"
        done = subprocess.run(
            ["debootstrap", "--variant=minbase", include, SUITE, new],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=DOWNLOAD_DEADLINE_S,
            check=False,
        )
        if done.returncode:
            raise RuntimeError(f"debootstrap: exit code {done.returncode}: {done.stdout[-2000:]}")
        shutil.rmtree(new / "var/cache/apt", ignore_errors=True)
        new.rename(root)
