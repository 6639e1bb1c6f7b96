"""A Unix datagram socket of our own, connected to ptp4l's.

ptp4l answers to the address a request came from, so each client binds a file. Connecting does
three things (Linux net/unix/af_unix.c): the kernel refuses datagrams of anybody but ptp4l; a
restarted ptp4l shows as ECONNREFUSED at the next send; and ptp4l, whose sends block, is not held
up by a client that is slow to read, as an unconnected one of more than `max_dgram_qlen` messages
would.
"""

import errno
import os
import secrets
import select
import socket
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from chronovisor.errors import InvalidInput, Unavailable

_PREFIX = "ptp-client-"
_SUFFIX = ".sock"
_LONGEST_ADDRESS = 107  # unix(7): sun_path holds 108 octets, the last one zero
_LARGEST_MESSAGE = 2048  # linuxptp's messages have 1,500 octets at most
# A younger file may belong to a client between its bind and its listening.
_STALE_AFTER_S = 10.0


class LocalSocket:
    """One client address in `directory`, connected to the server at `server`."""

    def __init__(self, server: Path, directory: Path, *, patience_s: float) -> None:
        self.server = server
        self.path = directory / f"{_PREFIX}{os.getpid()}-{secrets.token_hex(4)}{_SUFFIX}"
        for path in (server, self.path):
            if len(os.fsencode(path)) > _LONGEST_ADDRESS:
                raise InvalidInput(
                    f"{path} is too long for a socket address ({_LONGEST_ADDRESS} octets)",
                    hint="use a shorter directory",
                )
        remove_stale(directory)
        self._socket = socket.socket(
            socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC
        )
        self._receive = self._socket.recv
        self._send = self._socket.send
        self._patience_ms = patience_s * 1000
        self._readable = select.poll()
        self._readable.register(self._socket.fileno(), select.POLLIN)
        try:
            self._socket.bind(os.fspath(self.path))
            self.path.chmod(0o660)
            self.connect()
        except BaseException as reason:  # whatever it was, the file must not stay
            self.close()
            if isinstance(reason, OSError):
                raise _unavailable(directory, reason) from reason
            raise

    def fileno(self) -> int:
        """Return the descriptor, for an event loop."""
        return self._socket.fileno()

    def connect(self) -> None:
        """Connect to whoever serves at `server` now; raises `Unavailable`."""
        try:
            self._socket.connect(os.fspath(self.server))
        except OSError as reason:
            raise server_unavailable(self.server, reason) from reason

    def receive_one(self) -> bytes | None:
        """Return the next datagram, None when there is none; raises `OSError`."""
        try:
            return self._receive(_LARGEST_MESSAGE)
        except BlockingIOError:
            return None

    def receive_soon(self) -> bytes | None:
        """Return the next datagram, None when there is none for `patience_s`; blocks so long."""
        try:
            return self._receive(_LARGEST_MESSAGE)
        except BlockingIOError:
            return self.receive_one() if self._readable.poll(self._patience_ms) else None

    def send_from(self, packets: Sequence[bytes], start: int) -> int:
        """Send datagrams from `start` on; return how many of all are sent. Raises `OSError`.

        Fewer than all are sent when the server's queue is full.
        """
        try:
            for packet in packets[start:]:
                self._send(packet)
                start += 1
        except BlockingIOError:
            pass
        return start

    def close(self) -> None:
        """Close the socket and remove its file."""
        self._socket.close()
        with suppress(OSError):
            self.path.unlink()


def server_unavailable(server: Path, reason: OSError) -> Unavailable:
    """Return the error for a ptp4l that cannot be reached."""
    if reason.errno == errno.ENOENT:
        return Unavailable(
            f"ptp4l has no management socket at {server}",
            hint="start ptp4l, or point uds_address and this client at one path",
        )
    if reason.errno == errno.ECONNREFUSED:
        return Unavailable(
            f"nobody listens at {server}: ptp4l has stopped", hint="start ptp4l again"
        )
    return Unavailable(f"ptp4l at {server} cannot be reached: {reason.strerror or reason}")


def _unavailable(directory: Path, reason: OSError) -> Unavailable:
    return Unavailable(
        f"no socket can be made in {directory}: {reason.strerror or reason}",
        hint="the directory must exist and be writable",
    )


def remove_stale(directory: Path) -> None:
    """Remove what clients that were killed left behind in `directory`.

    Tells by asking the socket, not by a process number, which another namespace may give again.
    """
    for path in directory.glob(f"{_PREFIX}*{_SUFFIX}"):
        with suppress(OSError):
            if time.time() - path.stat().st_mtime > _STALE_AFTER_S and not _is_bound(path):
                path.unlink()


def _is_bound(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as probe:
        # EPERM, the answer of a living client, is connected to another.
        return probe.connect_ex(os.fspath(path)) != errno.ECONNREFUSED
