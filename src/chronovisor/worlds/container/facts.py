"""What a bundle depends on of this host: which paths there are, what numbers devices have."""

import os
import resource
import stat
from pathlib import Path

from chronovisor.errors import ToolFailed
from chronovisor.worlds.container.bundle import ROOT, Device, Facts
from chronovisor.worlds.sandbox import Sandbox

_RLIMITS = {
    getattr(resource, name): name for name in ("RLIMIT_AS", "RLIMIT_NOFILE", "RLIMIT_NPROC")
}


def gather(
    sandbox: Sandbox,
    *,
    cgroups_path: str,
    env: dict[str, str],
    user: tuple[int, int, tuple[int, ...]],
    rlimits: list[tuple[str, int, int]],
    working_directory: str,
    network: Path | None,
) -> Facts:
    """Return the facts; raise `ToolFailed` naming everything that the sandbox asks for in vain.

    `rlimits` are (limit, resource, value) as in `limits.Arrangement`.
    """
    missing = [
        path
        for path in (*sandbox.writable, *sandbox.read_only, *(one for one, _ in sandbox.mapped))
        if not os.path.exists(path)  # noqa: PTH110
    ]
    devices = []
    for path in sandbox.devices:
        device = _device(path)
        if device is None:
            missing.append(f"{path} (a device node)")
        else:
            devices.append(device)
    if missing:
        raise ToolFailed(f"its sandbox asks for what is not there: {', '.join(missing)}")
    return Facts(
        root=tuple(path for path in ROOT if Path(path).exists()),
        cgroups_path=cgroups_path,
        env=env,
        user=user,
        devices=tuple(devices),
        network=None if network is None else str(network),
        rlimits=tuple((_RLIMITS[number], value) for _, number, value in rlimits),
        working_directory=working_directory,
    )


def _device(path: str) -> Device | None:
    try:
        found = os.stat(path)  # noqa: PTH116
    except OSError:
        return None
    kind = {stat.S_IFCHR: "c", stat.S_IFBLK: "b"}.get(stat.S_IFMT(found.st_mode))
    if kind is None:
        return None
    return Device(path, kind, os.major(found.st_rdev), os.minor(found.st_rdev))
