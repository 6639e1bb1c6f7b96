"""A container as it is: what was asked for, and what the kernel says holds."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from chronovisor.worlds.sandbox import Sandbox

_CAPABILITY_NAMES = (
    *("CHOWN", "DAC_OVERRIDE", "DAC_READ_SEARCH", "FOWNER", "FSETID", "KILL", "SETGID", "SETUID"),
    *("SETPCAP", "LINUX_IMMUTABLE", "NET_BIND_SERVICE", "NET_BROADCAST", "NET_ADMIN", "NET_RAW"),
    *("IPC_LOCK", "IPC_OWNER", "SYS_MODULE", "SYS_RAWIO", "SYS_CHROOT", "SYS_PTRACE"),
    *("SYS_PACCT", "SYS_ADMIN", "SYS_BOOT", "SYS_NICE", "SYS_RESOURCE", "SYS_TIME"),
    *("SYS_TTY_CONFIG", "MKNOD", "LEASE", "AUDIT_WRITE", "AUDIT_CONTROL", "SETFCAP"),
    *("MAC_OVERRIDE", "MAC_ADMIN", "SYSLOG", "WAKE_ALARM", "BLOCK_SUSPEND", "AUDIT_READ"),
    *("PERFMON", "BPF", "CHECKPOINT_RESTORE"),
)
"""By number, from 0 (linux/capability.h)."""

_NAMESPACES = ("cgroup", "ipc", "mnt", "net", "pid", "user", "uts")


@dataclass(frozen=True, slots=True)
class ContainerReport:
    """A world's container.

    `sandbox` is what was asked for. The rest is what the kernel says of its init, None or empty
    while there is none: `capabilities` in force, `namespaces` that are not visord's own,
    `resident_bytes`. `exec_prefix` are the words that run a command in it on this host.
    """

    name: str
    state: str
    reason: str
    argv: tuple[str, ...]
    sandbox: Sandbox
    runtime: str
    runtime_version: str
    bundle: str
    exec_prefix: tuple[str, ...]
    pid: int | None = None
    uptime_s: float | None = None
    capabilities: tuple[str, ...] = ()
    no_new_privileges: bool | None = None
    seccomp_filters: int | None = None
    namespaces: tuple[str, ...] = ()
    resident_bytes: int | None = None


@dataclass(frozen=True, slots=True)
class Held:
    """What holds for a process (proc_pid_status(5))."""

    capabilities: tuple[str, ...] = ()
    no_new_privileges: bool | None = None
    seccomp_filters: int | None = None
    resident_bytes: int | None = None


def capability_names(mask: int) -> tuple[str, ...]:
    """Return the names of the capabilities in a mask, by number."""
    bits = [number for number in range(64) if mask >> number & 1]
    return tuple(
        f"CAP_{_CAPABILITY_NAMES[bit]}" if bit < len(_CAPABILITY_NAMES) else f"CAP_{bit}"
        for bit in bits
    )


def held(status: str) -> Held:
    """Return what /proc/PID/status says; what it does not say is None or empty."""
    fields = dict(line.split(":", 1) for line in status.splitlines() if ":" in line)
    return Held(
        capability_names(_number(fields, "CapEff", 16) or 0),
        None if (value := _number(fields, "NoNewPrivs")) is None else bool(value),
        _number(fields, "Seccomp_filters"),
        None if (kib := _number(fields, "VmRSS")) is None else kib * 1024,
    )


def held_by(pid: int) -> Held:
    """Return what holds for a process, nothing if it is not there."""
    try:
        return held(Path(f"/proc/{pid}/status").read_text(encoding="utf-8", errors="replace"))
    except OSError:
        return Held()


def namespaces_of(pid: int) -> tuple[str, ...]:
    """Return the kinds of namespaces that a process does not share with this one."""
    own = []
    for kind in _NAMESPACES:
        try:
            theirs, ours = (os.stat(f"/proc/{who}/ns/{kind}").st_ino for who in (pid, "self"))  # noqa: PTH116
        except OSError:
            continue
        if theirs != ours:
            own.append(kind)
    return tuple(own)


def _number(fields: Mapping[str, str], name: str, base: int = 10) -> int | None:
    words = fields.get(name, "").split()
    try:
        return int(words[0], base)
    except (IndexError, ValueError):
        return None
