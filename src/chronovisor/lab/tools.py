"""The outside programs a lab needs, and calling them."""

import os
import re
import shutil
import subprocess
from collections.abc import Sequence

from chronovisor.errors import Denied, Problem, ToolFailed, Unavailable

_PACKAGES = {
    "ip": "iproute2",
    "nft": "nftables",
    "nsenter": "util-linux",
    "setpriv": "util-linux",
    "ptp4l": "linuxptp",
}
_TIMEOUT_S = 30.0
PATH = os.environ.get("PATH", "") + ":/usr/local/sbin:/usr/sbin:/sbin:/usr/bin:/bin"
"""Where programs are looked for, also those of nodes: the ptp4l that was asked for its release
is the one that runs. A login shell of a plain user has no sbin, and so has none after `su`."""


def require() -> None:
    """Raise `Denied` without root's rights, `Unavailable` naming every program that is missing."""
    if os.geteuid() != 0:
        raise Denied(
            "only root can build a lab: it is made of network namespaces",
            hint="run the same command as root",
        )
    missing = [
        Problem(name, f"not installed (Debian package {package})")
        for name, package in _PACKAGES.items()
        if shutil.which(name, path=PATH) is None
    ]
    if missing:
        packages = sorted({_PACKAGES[problem.where] for problem in missing})
        raise Unavailable(
            f"a lab needs programs that are not here: {', '.join(p.where for p in missing)}",
            hint=f"apt-get install {' '.join(packages)}",
        )


def run(argv: Sequence[str], text: str | None = None) -> str:
    """Run a program with `text` as its input; return its output.

    Raises `ToolFailed` with what it said if it fails, or takes over 30 s.
    """
    try:
        done = subprocess.run(
            [shutil.which(argv[0], path=PATH) or argv[0], *argv[1:]],
            input=text or "",
            capture_output=True,
            text=True,
            timeout=_TIMEOUT_S,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise ToolFailed(f"{argv[0]} did not run: {error}") from error
    if done.returncode:
        said = done.stderr.strip() or f"exit status {done.returncode}"
        raise ToolFailed(f"`{' '.join(argv)}` failed: {said}")
    return done.stdout


def ptp4l_release() -> tuple[int, ...]:
    """Return the installed release of ptp4l, (3, 1, 1) for example."""
    text = run(["ptp4l", "-v"])
    numbers = re.match(r"v?(\d+(?:\.\d+)*)", text.strip())
    if numbers is None:
        raise ToolFailed(f"`ptp4l -v` says {text.strip()[:60]!r}, which is no release")
    return tuple(map(int, numbers[1].split(".")))
