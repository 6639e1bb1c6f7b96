"""System calls that a container's processes are refused (seccomp(2)).

A list of what is refused, not of what is allowed: the C library of the next release uses calls
that a list of today does not know, and a clock that stops for it is the worse failure. What needs
a capability fails without it already; these are refused on top for they need none, or have had
holes: other user namespaces above all, where a process would have every capability again.
"""

_EPERM = 1
_ENOSYS = 38
_CLONE_NEWUSER = 0x10000000  # linux/sched.h

REFUSED = (
    *("add_key", "keyctl", "request_key"),  # keys(7): the keyring is not namespaced
    *("bpf", "perf_event_open", "userfaultfd", "io_uring_setup", "io_uring_enter"),
    *("ptrace", "process_vm_readv", "process_vm_writev", "kcmp", "pidfd_getfd"),
    *("mount", "umount2", "pivot_root", "chroot", "move_mount", "open_tree", "mount_setattr"),
    *("fsopen", "fsmount", "fsconfig", "fspick", "name_to_handle_at", "open_by_handle_at"),
    *("unshare", "setns", "kexec_load", "kexec_file_load", "reboot", "swapon", "swapoff"),
    *("init_module", "finit_module", "delete_module", "acct", "quotactl", "syslog", "vhangup"),
    *("iopl", "ioperm", "modify_ldt", "lookup_dcookie", "nfsservctl", "personality"),
)


def profile() -> dict[str, object]:
    """Return the `linux.seccomp` of a bundle (OCI runtime-spec 1.0.2, config-linux.md).

    No `architectures`: the machine's own alone, calls by any other are fatal.
    """
    new_user = {
        "index": 0, "value": _CLONE_NEWUSER, "valueTwo": _CLONE_NEWUSER, "op": "SCMP_CMP_MASKED_EQ"
    }  # fmt: skip
    refuse = {"action": "SCMP_ACT_ERRNO", "errnoRet": _EPERM}
    return {
        "defaultAction": "SCMP_ACT_ALLOW",
        "syscalls": [
            {"names": list(REFUSED), **refuse},
            {"names": ["clone"], "args": [new_user], **refuse},
            # Its flags are behind a pointer. ENOSYS makes the C library take clone instead.
            {"names": ["clone3"], "action": "SCMP_ACT_ERRNO", "errnoRet": _ENOSYS},
        ],
    }
