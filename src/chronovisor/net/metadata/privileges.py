"""Gives up what the proxy does not need before it hears its first guest (capabilities(7)).

What stays is binding to port 80 on taps to come. A guest that took the proxy over could neither
write a file of ours nor read one beside the proxy's own.
"""

import ctypes
import os
import struct

# <linux/prctl.h>, <linux/capability.h>
_PR_SET_KEEPCAPS, _PR_SET_NO_NEW_PRIVS = 8, 38
_CAPABILITY_VERSION_3 = 0x2008_0522
_CAP_NET_BIND_SERVICE = 10

_libc = ctypes.CDLL(None, use_errno=True)


def drop(uid: int) -> None:
    """Become user and group `uid` with nothing but CAP_NET_BIND_SERVICE, for good.

    Raises `OSError`. Modules must have been imported before: that user may not see them.
    """
    _checked(_libc.prctl(_PR_SET_KEEPCAPS, 1, 0, 0, 0), "PR_SET_KEEPCAPS")
    os.setgroups([])
    os.setresgid(uid, uid, uid)
    os.setresuid(uid, uid, uid)
    mask = 1 << _CAP_NET_BIND_SERVICE
    header = struct.pack("=Ii", _CAPABILITY_VERSION_3, 0)
    sets = struct.pack("=6I", mask, mask, 0, 0, 0, 0)  # effective, permitted, inheritable; high
    _checked(_libc.capset(header, sets), "capset")
    _checked(_libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), "PR_SET_NO_NEW_PRIVS")


def _checked(result: int, what: str) -> None:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), what)
