"""Builds the kernel module for a guest's kernel, once for each state of its sources."""

import hashlib
import shutil
import subprocess
import tempfile
from pathlib import Path

from qemu.kernels import Kernel, cache, locked

SOURCES = Path(__file__).with_name("module")
MODULE = "hwsim.ko"
DEADLINE_S = 300


def build(kernel: Kernel) -> Path:
    """Return the module's file, from the cache where it was built before.

    Raises `RuntimeError` with what the compiler said.
    """
    sources = sorted(
        path for path in SOURCES.iterdir() if path.suffix in (".c", ".h") or path.name == "Kbuild"
    )
    digest = hashlib.sha256(kernel.release.encode())
    for source in sources:
        digest.update(source.name.encode() + b"\0" + source.read_bytes())
    place = cache() / "hwsim"
    built = place / f"{digest.hexdigest()[:16]}.ko"
    with locked(place):
        if not built.exists():
            with tempfile.TemporaryDirectory(dir=place) as name:
                _make(kernel, sources, Path(name)).rename(built)
    return built


def _make(kernel: Kernel, sources: list[Path], directory: Path) -> Path:
    for source in sources:
        shutil.copy(source, directory)
    # Types for BPF would need pahole, and nobody asks for them.
    settings = ("CONFIG_DEBUG_INFO_BTF_MODULES=", "KCFLAGS=-Werror")
    done = subprocess.run(
        ["make", "-C", kernel.headers, f"M={directory}", *settings, "modules"],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=DEADLINE_S,
        check=False,
    )
    if done.returncode:
        raise RuntimeError(f"the module does not build:\n{done.stdout}{done.stderr}")
    return directory / MODULE
