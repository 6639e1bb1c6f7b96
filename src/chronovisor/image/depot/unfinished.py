"""The file of an unfinished download, and what is known of the whole that it is a part of."""

import fcntl
import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from email.message import Message
from io import BufferedRandom
from pathlib import Path

from chronovisor.errors import Unavailable
from chronovisor.image.limits import KIB
from chronovisor.image.refusal import about


@contextmanager
def locked(partial: Path) -> Iterator[BufferedRandom]:
    """Open a download's file for this process alone."""
    with about(partial):
        flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
        stream = os.fdopen(os.open(partial, flags, 0o644), "r+b")
    with stream:
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise Unavailable(
                f"{partial} is being fetched by another command", hint="wait for it"
            ) from None
        yield stream


def digest(stream: BufferedRandom) -> str:
    """Return the SHA-256 of what is there."""
    stream.seek(0)
    return hashlib.file_digest(stream, "sha256").hexdigest()


def _validator_file(partial: Path) -> Path:
    return partial.with_suffix(".validator")


def validator(partial: Path) -> str:
    """Return what `remember` kept, for an `If-Range`; '' where there is nothing of use."""
    with suppress(OSError, UnicodeDecodeError):
        text = _validator_file(partial).read_text("ascii")
        return text if text.isprintable() and len(text) < KIB else ""
    return ""


def remember(partial: Path, headers: Message) -> None:
    """Keep what tells one version of a file from another: a strong ETag, or else its date."""
    tag = headers.get("ETag", "")
    validator = tag if tag.startswith('"') else headers.get("Last-Modified", "")
    if validator.isascii() and validator.isprintable() and validator:
        with about(partial):
            _validator_file(partial).write_text(validator, "ascii")


def forget_validator(partial: Path) -> None:
    """Forget what the file was a part of: it begins anew."""
    with suppress(OSError):
        _validator_file(partial).unlink()


def forget(partial: Path) -> None:
    """Remove the file and what was kept about it."""
    forget_validator(partial)
    with suppress(OSError):
        partial.unlink()
