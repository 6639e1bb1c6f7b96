"""What the runtime is told: an OCI bundle's config.json, a pure function of spec and facts.

The shapes are those of the OCI runtime-spec 1.0.2 (config.md, config-linux.md), which runc 1.1 and
crun 1.8 both read.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from chronovisor.worlds.container.seccomp import profile
from chronovisor.worlds.sandbox import Sandbox

ROOT = (
    *("/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32"),
    "/etc/alternatives",  # where some programs in /usr/bin lead to
    *("/etc/ld.so.cache", "/etc/localtime", "/etc/passwd", "/etc/group", "/etc/services"),
    *("/etc/nsswitch.conf", "/etc/hosts", "/etc/resolv.conf", "/etc/gai.conf"),  # names of servers
    "/etc/ssl/certs",  # whom NTS trusts
)
"""What every container sees of the host, read-only, where the host has it: no secret among them."""

_READ_ONLY = ("rbind", "ro", "nosuid", "nodev")
_WRITABLE = ("rbind", "rw", "nosuid", "nodev", "noexec")
_TMPFS = ("nosuid", "nodev", "noexec", "mode=1777", "size=1m")

# What of /proc and /sys says or does too much without any capability; the list is Docker's.
_MASKED = (
    *("/proc/acpi", "/proc/kcore", "/proc/keys", "/proc/latency_stats", "/proc/timer_list"),
    *("/proc/timer_stats", "/proc/sched_debug", "/proc/scsi", "/sys/firmware"),
)
_READ_ONLY_PROC = (
    *("/proc/asound", "/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"),
)


@dataclass(frozen=True, slots=True)
class Device:
    """A device node of the host: `kind` c or b, its numbers."""

    path: str
    kind: str
    major: int
    minor: int


@dataclass(frozen=True, slots=True)
class Facts:
    """What the host is like, as far as a bundle depends on it.

    `root` are the paths of `ROOT` that there are. `cgroups_path` is where the runtime puts the
    container, `network` the file of its network namespace (None: the host's). `user` is uid, gid
    and other groups. `rlimits` are (name as in getrlimit(2), value).
    """

    root: tuple[str, ...]
    cgroups_path: str
    env: Mapping[str, str]
    user: tuple[int, int, tuple[int, ...]] = (0, 0, ())
    devices: tuple[Device, ...] = ()
    network: str | None = None
    rlimits: tuple[tuple[str, int], ...] = ()
    working_directory: str = "/"
    annotations: Mapping[str, str] = field(default_factory=dict)


def config(argv: tuple[str, ...], sandbox: Sandbox, facts: Facts) -> dict[str, object]:
    """Return the config.json of a container that runs `argv`."""
    return {
        "ociVersion": "1.0.2",
        "process": _process(argv, sandbox, facts),
        "root": {"path": "root", "readonly": True},
        "mounts": _mounts(sandbox, facts),
        "annotations": dict(facts.annotations),
        "linux": _linux(sandbox, facts),
    }


def _process(argv: tuple[str, ...], sandbox: Sandbox, facts: Facts) -> dict[str, object]:
    uid, gid, groups = facts.user
    granted = list(sandbox.capabilities)
    # Ambient and inheritable too, so that a user other than root has them after exec.
    sets = ("bounding", "effective", "permitted", "inheritable", "ambient")
    return {
        "terminal": False,
        "user": {"uid": uid, "gid": gid, "additionalGids": list(groups)},
        "args": list(argv),
        "env": [f"{key}={value}" for key, value in facts.env.items()],
        "cwd": facts.working_directory,
        "capabilities": dict.fromkeys(sets, granted),
        "rlimits": [{"type": name, "hard": value, "soft": value} for name, value in facts.rlimits],
        "noNewPrivileges": True,
    }


def _mounts(sandbox: Sandbox, facts: Facts) -> list[dict[str, object]]:
    binds: dict[str, tuple[str, ...]] = dict.fromkeys((*facts.root, *sandbox.read_only), _READ_ONLY)
    binds |= dict.fromkeys(sandbox.writable, _WRITABLE)
    sources = {inside: outside for outside, inside in sandbox.mapped}
    binds |= dict.fromkeys(sources, _WRITABLE)
    quiet = ("nosuid", "noexec", "nodev")
    return [
        _mount("/proc", "proc", "proc", quiet),
        _mount("/sys", "sysfs", "sysfs", (*quiet, "ro")),
        _mount("/dev", "tmpfs", "tmpfs", ("nosuid", "noexec", "mode=755", "size=64k")),
        _mount(
            "/dev/pts",
            "devpts",
            "devpts",
            ("nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620"),
        ),
        _mount("/dev/shm", "tmpfs", "shm", _TMPFS),  # of the container alone
        _mount("/tmp", "tmpfs", "tmpfs", _TMPFS),
        # What is inside of another comes after it, or it would be hidden.
        *(_mount(path, "bind", sources.get(path, path), binds[path]) for path in sorted(binds)),
    ]


def _mount(destination: str, kind: str, source: str, options: tuple[str, ...]) -> dict[str, object]:
    return {
        "destination": destination, "type": kind, "source": source, "options": list(options)
    }  # fmt: skip


def _linux(sandbox: Sandbox, facts: Facts) -> dict[str, object]:
    namespaces = [{"type": kind} for kind in ("pid", "mount", "ipc", "uts")]
    if facts.network is not None:
        namespaces.append({"type": "network", "path": facts.network})
    nothing = {"allow": False, "access": "rwm"}
    linux: dict[str, object] = {
        "namespaces": namespaces,
        "cgroupsPath": facts.cgroups_path,
        "devices": [_node(device, facts) for device in facts.devices],
        "resources": {"devices": [nothing, *(_allowed(device) for device in facts.devices)]},
        "maskedPaths": list(_MASKED),
        "readonlyPaths": list(_READ_ONLY_PROC),
    }
    if sandbox.seccomp:
        linux["seccomp"] = profile()
    return linux


def _node(device: Device, facts: Facts) -> dict[str, object]:
    uid, gid, _ = facts.user
    return {
        "path": device.path, "type": device.kind, "major": device.major, "minor": device.minor,
        "fileMode": 0o600, "uid": uid, "gid": gid,
    }  # fmt: skip


def _allowed(device: Device) -> dict[str, object]:
    return {
        "allow": True, "type": device.kind, "major": device.major, "minor": device.minor,
        "access": "rw",
    }  # fmt: skip
