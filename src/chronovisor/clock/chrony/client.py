"""Asks a chronyd over its Unix socket (chrony.conf(5), `bindcmdaddress`).

Our own client and not `chronyc -c`: a process for each reading, once a second for ever, costs more
than all the rest of visord; a reading here takes half a millisecond. chronyd answers to the address
that a request came from, so the client binds a file, which chronyd's user must be able to write to;
it stands in chronyd's own directory.
"""

import asyncio
import contextlib
import os
import secrets
import socket
from pathlib import Path

from chronovisor.clock.chrony import protocol
from chronovisor.clock.chrony.protocol import Command
from chronovisor.errors import ProtocolError, Unavailable

PREFIX = "visord-"
LONGEST_NAME = f"{PREFIX}4194304-01234567.sock"
_STRAYS = 16
"""Answers to older questions that are passed over before one is given up."""


class ChronyClient:
    """One chronyd, asked one thing at a time. Use as `async with`.

    Raises `Unavailable` where nobody answers, `ProtocolError` where the answer is not one.
    """

    def __init__(self, server: Path, *, timeout_s: float = 1.0) -> None:
        self._server = server
        self._path = server.parent / f"{PREFIX}{os.getpid()}-{secrets.token_hex(4)}.sock"
        self._timeout_s = timeout_s
        self._sequence = secrets.randbits(32)
        self._socket: socket.socket | None = None

    async def __aenter__(self) -> "ChronyClient":
        """Open the socket."""
        _remove_stale(self._server.parent)
        kind = socket.SOCK_DGRAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC
        self._socket = socket.socket(socket.AF_UNIX, kind)
        try:
            self._socket.bind(os.fspath(self._path))
            self._path.chmod(0o666)  # chronyd runs as a user of its own; the directory is closed
            # Connected, the kernel lets nobody else's datagrams in
            self._socket.connect(os.fspath(self._server))
        except OSError as error:
            self._close()
            raise Unavailable(
                f"chronyd does not answer at {self._server}: {error.strerror}"
            ) from error
        return self

    async def __aexit__(self, *_: object) -> None:
        """Close the socket and remove its file."""
        self._close()

    def _close(self) -> None:
        if self._socket is not None:
            self._socket.close()
            self._socket = None
        with contextlib.suppress(OSError):
            self._path.unlink()

    async def ask(self, command: Command, data: bytes = b"") -> bytes:
        """Return the data of chronyd's reply."""
        assert self._socket is not None, "used outside of its `async with`"
        self._sequence = (self._sequence + 1) % (1 << 32)
        loop = asyncio.get_running_loop()
        try:
            self._socket.send(protocol.request(command, self._sequence, data))
            async with asyncio.timeout(self._timeout_s):
                for _ in range(_STRAYS):
                    packet = await loop.sock_recv(self._socket, protocol.LARGEST_REPLY)
                    answer = protocol.body(packet, command, self._sequence)
                    if answer is not None:
                        return answer
        except TimeoutError:
            raise Unavailable(f"chronyd does not answer within {self._timeout_s:g} s") from None
        except OSError as error:
            raise Unavailable(f"chronyd does not answer: {error.strerror}") from error
        raise ProtocolError(f"chronyd sent {_STRAYS} answers to other questions")


def _remove_stale(directory: Path) -> None:
    """Remove the files of clients that were killed; raises nothing."""
    with contextlib.suppress(OSError):
        for path in directory.glob(f"{PREFIX}*.sock"):
            pid = path.name.removeprefix(PREFIX).partition("-")[0]
            if pid.isdigit() and not Path(f"/proc/{pid}").exists():
                path.unlink(missing_ok=True)
