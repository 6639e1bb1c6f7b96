"""What a world's container is meant to be: what it sees, may use and may do beside its limits.

Everything is refused that is not named here. The root is read-only and made of the system's own
programs and libraries (`container.bundle.ROOT`), never of the whole file system with holes: a
secret that nobody thought of is then not in there, and later an image takes that place.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from ipaddress import ip_interface
from pathlib import PurePosixPath

from chronovisor.errors import Problem

CAPABILITIES = frozenset(
    (
        *("CAP_AUDIT_CONTROL", "CAP_AUDIT_READ", "CAP_AUDIT_WRITE", "CAP_BLOCK_SUSPEND"),
        *("CAP_BPF", "CAP_CHECKPOINT_RESTORE", "CAP_CHOWN", "CAP_DAC_OVERRIDE"),
        *("CAP_DAC_READ_SEARCH", "CAP_FOWNER", "CAP_FSETID", "CAP_IPC_LOCK"),
        *("CAP_IPC_OWNER", "CAP_KILL", "CAP_LEASE", "CAP_LINUX_IMMUTABLE"),
        *("CAP_MAC_ADMIN", "CAP_MAC_OVERRIDE", "CAP_MKNOD", "CAP_NET_ADMIN"),
        *("CAP_NET_BIND_SERVICE", "CAP_NET_BROADCAST", "CAP_NET_RAW", "CAP_PERFMON"),
        *("CAP_SETFCAP", "CAP_SETGID", "CAP_SETPCAP", "CAP_SETUID"),
        *("CAP_SYSLOG", "CAP_SYS_ADMIN", "CAP_SYS_BOOT", "CAP_SYS_CHROOT"),
        *("CAP_SYS_MODULE", "CAP_SYS_NICE", "CAP_SYS_PACCT", "CAP_SYS_PTRACE"),
        *("CAP_SYS_RAWIO", "CAP_SYS_RESOURCE", "CAP_SYS_TIME", "CAP_SYS_TTY_CONFIG"),
        *("CAP_WAKE_ALARM",),
    )
)
"""capabilities(7)."""

_NIC = re.compile(r"[^/\s:]{1,15}\Z")  # IFNAMSIZ of linux/if.h, and dev_valid_name in net/core
_OURS = ("/proc", "/sys", "/dev")


@dataclass(frozen=True, slots=True)
class Nic:
    """A network device that is moved into the container for as long as that lives.

    It gets `addresses` (`192.0.2.1/24`) there, or those that it has when it is moved if None.
    """

    name: str
    addresses: tuple[str, ...] | None = None


@dataclass(frozen=True, slots=True)
class OwnNetwork:
    """A network namespace of the container's own, with nothing in it but `lo` and `nics`."""

    nics: tuple[Nic, ...] = ()


@dataclass(frozen=True, slots=True)
class Sandbox:
    """A container around a world, made by an OCI runtime.

    `runtime` is a program's name or path, None the first of `container.runtime.KNOWN` there is.
    `writable` and `read_only` are paths of the host that the container sees at the same place,
    `mapped` pairs of a host's directory and where the container sees that, writable.
    `devices` are device nodes, `capabilities` names as in capabilities(7). `network` None is the
    host's, or that of the container of the world `network_of`. `seccomp` refuses system calls that
    no daemon of ours has a use for.
    """

    writable: tuple[str, ...] = ()
    read_only: tuple[str, ...] = ()
    mapped: tuple[tuple[str, str], ...] = ()
    devices: tuple[str, ...] = ()
    capabilities: tuple[str, ...] = ()
    network: OwnNetwork | None = None
    network_of: str | None = None
    seccomp: bool = True
    runtime: str | None = None


def problems(sandbox: Sandbox) -> Iterator[Problem]:
    """Yield what no runtime could make, `where` beginning with `sandbox.`."""
    for field in ("writable", "read_only", "devices"):
        for path in getattr(sandbox, field):
            yield from _path_problems(f"sandbox.{field}", path, device=field == "devices")
    for pair in sandbox.mapped:
        for path in pair:
            yield from _path_problems("sandbox.mapped", path, device=False)
    if sandbox.network_of is not None and sandbox.network is not None:
        yield Problem("sandbox.network_of", "and sandbox.network exclude each other")
    for name in sandbox.capabilities:
        if name not in CAPABILITIES:
            yield Problem("sandbox.capabilities", "is not a capability", name, "CAP_NET_RAW, …")
    if sandbox.runtime is not None and (not sandbox.runtime or "\0" in sandbox.runtime):
        yield Problem("sandbox.runtime", "is not a program", repr(sandbox.runtime), "runc, crun")
    names: set[str] = set()
    for nic in sandbox.network.nics if sandbox.network else ():
        yield from _nic_problems(nic)
        if nic.name in names:
            yield Problem("sandbox.network.nics", "is named twice", nic.name)
        names.add(nic.name)


def _path_problems(where: str, path: str, *, device: bool) -> Iterator[Problem]:
    plain = path.startswith("/") and not path.startswith("//") and str(PurePosixPath(path)) == path
    if "\0" in path or not plain:
        yield Problem(where, "is not an absolute path", repr(path))
    elif path == "/" or ".." in PurePosixPath(path).parts:
        yield Problem(where, "may be neither / nor have ..", path)
    elif device and not path.startswith("/dev/"):
        yield Problem(where, "is not a device node", path, "a path under /dev")
    elif not device and any(_within(path, top) for top in _OURS):
        yield Problem(where, "is where the container has its own", path)


def _within(path: str, top: str) -> bool:
    return path == top or path.startswith(f"{top}/")


def _nic_problems(nic: Nic) -> Iterator[Problem]:
    if not _NIC.match(nic.name) or nic.name in (".", "..", "lo"):
        yield Problem("sandbox.network.nics", "is not a device that can be moved", repr(nic.name))
    for address in nic.addresses or ():
        try:
            ip_interface(address)
        except ValueError:
            where = f"sandbox.network.nics.{nic.name}"
            yield Problem(where, "is not an address", address, "192.0.2.1/24")
