"""Names from outside that will become paths: checked once, here, for every container."""

import posixpath
from collections.abc import Callable

from chronovisor.errors import ChronovisorError
from chronovisor.image.limits import Limits
from chronovisor.image.refusal import printable

COMPONENT_BYTES = 255  # Linux's NAME_MAX
_CONTROL = frozenset(map(chr, [*range(0x20), 0x7F]))

Refuse = Callable[[str], ChronovisorError]
"""Makes the error for a message; knows the member and the byte."""


def decode(raw: bytes, refuse: Refuse) -> str:
    """Return a name's text; names are UTF-8."""
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError:
        raise refuse(f"the name '{printable(raw)}' is not UTF-8") from None


def inside(name: str, refuse: Refuse, limits: Limits) -> str:
    """Return a relative path in its shortest form ('' for the root), or raise what `refuse` makes.

    `./a//b/` becomes `a/b`. Refused: absolute paths, `..`, control characters, backslashes and
    drive letters (they are separators elsewhere), and what no file system could hold.
    """
    shown = printable(name)
    if len(name.encode("utf-8", "surrogatepass")) > limits.path_bytes:
        raise refuse(f"the name '{shown}' is longer than {limits.path_bytes} bytes")
    if _CONTROL.intersection(name):
        raise refuse(f"the name '{shown}' holds control characters")
    if any("\ud800" <= character <= "\udfff" for character in name):
        raise refuse(f"the name '{shown}' is not UTF-8")
    if name.startswith("/"):
        raise refuse(f"the name '{shown}' is an absolute path")
    if "\\" in name or name[1:2] == ":":
        raise refuse(f"the name '{shown}' is a path of another system")
    parts = [part for part in name.split("/") if part not in ("", ".")]
    if ".." in parts:
        raise refuse(f"the name '{shown}' leads out of the tree by '..'")
    if any(len(part.encode()) > COMPONENT_BYTES for part in parts):
        raise refuse(f"a part of the name '{shown}' is longer than {COMPONENT_BYTES} bytes")
    return "/".join(parts)


def link_inside(name: str, target: str) -> bool:
    """Tell whether a symbolic link at `name` can only lead to something inside the tree.

    `..` is trusted only before the first name: behind a name that is a link itself (`a` → `.`),
    `a/..` means another directory than it seems to.
    """
    if target.startswith("/"):
        return False
    depth = name.count("/")
    named = False
    for part in target.split("/"):
        if part == "..":
            depth -= 1
            if named or depth < 0:
                return False
        elif part not in ("", "."):
            named = True
    return True


def relative_link(name: str, target: str) -> str:
    """Return an absolute link's target as seen from the link, for a tree that is not the root."""
    return posixpath.relpath(target.lstrip("/") or ".", posixpath.dirname(name) or ".")
