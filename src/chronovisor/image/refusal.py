"""How the image plane words its refusals: what was wrong, in which member, at which byte."""

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from chronovisor.errors import (
    ChronovisorError,
    Conflict,
    Denied,
    InvalidInput,
    NotFound,
    ProtocolError,
    Unavailable,
)


def malformed(where: str, offset: int, message: str, *, hint: str | None = None) -> ProtocolError:
    """Return the error for bytes that break their format.

    `where` names the file, member or payload; `offset` counts bytes from 0 in that (for a
    compressed payload: in what it unpacks to).
    """
    return ProtocolError(f"{clean(where)}, byte {offset}: {clean(message)}", hint=hint)


def clean(text: str) -> str:
    """Return hostile text fit for a terminal, with what is not printable escaped.

    That is line ends, escape sequences and marks that turn the direction of writing.
    """
    if text.isprintable():
        return text
    return "".join(
        character if character.isprintable() else character.encode("unicode_escape").decode()
        for character in text
    )


def printable(raw: bytes | str, most: int = 80) -> str:
    """Return hostile text fit for a message: ASCII, escaped, and no longer than `most`."""
    text = raw.decode("utf-8", "backslashreplace") if isinstance(raw, bytes) else raw
    clean = text.encode("unicode_escape").decode("ascii")
    return clean if len(clean) <= most else clean[: most - 1] + "…"


_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


@contextmanager
def about(path: Path | str) -> Iterator[None]:
    """Turn what the kernel says about a file into an error that names the file."""
    try:
        yield
    except OSError as error:
        raise _named(path, error) from error


def _named(path: Path | str, error: OSError) -> ChronovisorError:
    reason = error.strerror or str(error)
    # a message may name a second file (of a rename, say): the kernel's own name comes first
    name = error.filename if isinstance(error.filename, str) else path
    match error:
        case FileNotFoundError():
            return NotFound(f"{name}: there is no such file")
        case PermissionError():
            return Denied(f"{name}: {reason}", hint="run as a user who may use this file")
        case FileExistsError():
            return Conflict(f"{name}: already exists", hint="remove it or name another")
        case IsADirectoryError() | NotADirectoryError():
            return InvalidInput(f"{name}: {reason}")
    if error.errno in (errno.ENAMETOOLONG, errno.ELOOP, errno.EINVAL, errno.ENOTEMPTY):
        return InvalidInput(f"{name}: {reason}")
    hint = "free some space and try again" if error.errno in _FULL else None
    return Unavailable(f"{name}: {reason}", hint=hint)
