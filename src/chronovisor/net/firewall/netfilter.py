"""A netlink socket to nfnetlink: transactions that happen whole or not at all, and dumps.

The kernel works a batch off within `send`: whoever dies before leaves the old ruleset, whoever
dies after leaves the new one. It belongs to the network namespace in which it was opened.
"""

import contextlib
import errno
import os
import socket
import struct
from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

from chronovisor.errors import ProtocolError, ToolFailed, Unavailable
from chronovisor.net.firewall.messages import attributes, batch, text

NETLINK_NETFILTER = 12
_SOL_NETLINK, _CAP_ACK, _EXT_ACK = 270, 10, 11  # linux/netlink.h
_SO_SNDBUFFORCE, SO_RCVBUFFORCE = 32, 33
_ERROR, _DONE = 2, 3  # NLMSG_*
_DUMP_INTERRUPTED = 0x10  # NLM_F_DUMP_INTR: what was dumped changed meanwhile
_TRIES = 5

_Answer = TypeVar("_Answer")


class Refused(ToolFailed):
    """The kernel refused a message; `code` is its errno, `place` which message of a batch."""

    def __init__(self, code: int, place: int, words: str) -> None:
        reason = f"{os.strerror(code)} ({errno.errorcode.get(code, code)})"
        more = f": {words}" if words else ""
        super().__init__(f"nftables refused change {place}: {reason}{more}")
        self.code = code
        self.place = place


class NetfilterSocket(contextlib.AbstractContextManager["NetfilterSocket"]):
    """Speaks nfnetlink; not for several threads at once."""

    def __init__(self) -> None:
        try:
            self._socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, NETLINK_NETFILTER)
        except OSError as error:
            raise Unavailable(f"cannot open a netfilter socket: {error.strerror}") from error
        self.commits = 0
        """Transactions that were made; each raises the ruleset's number by one."""
        for option in (_CAP_ACK, _EXT_ACK):
            self._socket.setsockopt(_SOL_NETLINK, option, 1)
        self._force(SO_RCVBUFFORCE, 4 << 20)
        self._socket.bind((0, 0))

    def __exit__(self, *exc: object) -> None:
        self.close()

    @property
    def port(self) -> int:
        """The netlink port by which the kernel knows what this socket changed."""
        return int(self._socket.getsockname()[0])

    def close(self) -> None:
        """Close the socket."""
        self._socket.close()

    def commit(self, changes: Iterable[bytes]) -> None:
        """Make changes in one transaction; afterwards all of them are made or none.

        Raises:
            Refused: the kernel refused one, so none is made.
        """
        packed, count = batch(changes)
        if not count:
            return
        self._force(_SO_SNDBUFFORCE, max(2 * len(packed), 1 << 20))
        self._send(packed)
        answers = [(sequence, body) for kind, sequence, body in self._queued() if kind == _ERROR]
        for sequence, body in answers:
            _raise_error(body, sequence)
        if count not in (sequence for sequence, _ in answers):
            raise ToolFailed("nftables gave no answer to a transaction")
        self.commits += 1

    def ask(self, request: bytes, read: Callable[[bytes], _Answer]) -> list[_Answer]:
        """Return what `read` makes of each answer; asked again when they changed meanwhile.

        Raises:
            Refused: the kernel refused the request.
        """
        for _ in range(_TRIES):
            with contextlib.suppress(InterruptedError):
                return [read(body) for body in self._answers(request)]
        raise Unavailable("the ruleset of nftables changes faster than it can be read")

    def _queued(self) -> Iterator[tuple[int, int, bytes]]:
        """Yield kind, sequence number and body of all that the kernel has answered already."""
        while answer := self._receive(socket.MSG_DONTWAIT):
            for kind, _, sequence, body in messages_in(answer):
                yield kind, sequence, body

    def _answers(self, request: bytes) -> Iterator[bytes]:
        self._send(request)
        single = not struct.unpack_from("=H", request, 6)[0] & 0x300  # NLM_F_DUMP
        interrupted = False
        while True:
            for kind, flags, _, body in messages_in(self._receive(0)):
                interrupted = interrupted or bool(flags & _DUMP_INTERRUPTED)
                if kind == _ERROR:
                    _raise_error(body, 0)
                    return
                if kind == _DONE:
                    if interrupted:
                        raise InterruptedError
                    return
                yield body[4:]
                if single:
                    return

    def _send(self, packed: bytes | bytearray) -> None:
        try:
            self._socket.send(packed)
        except OSError as error:
            raise ToolFailed(f"cannot send {len(packed)} bytes to nftables: {error}") from error

    def _receive(self, flags: int) -> bytes:
        try:
            return self._socket.recv(1 << 18, flags)
        except BlockingIOError:
            return b""
        except OSError as error:
            raise ToolFailed(f"cannot read the answer of nftables: {error.strerror}") from error

    def _force(self, option: int, size: int) -> None:
        """Set a buffer's size past the limit of ordinary users; less does for small changes."""
        with contextlib.suppress(PermissionError):
            self._socket.setsockopt(socket.SOL_SOCKET, option, size)


def messages_in(answer: bytes) -> Iterator[tuple[int, int, int, bytes]]:
    """Yield kind, flags, sequence number and body of the messages in a datagram."""
    place = 0
    while place + 16 <= len(answer):
        length, kind, flags, sequence, _ = struct.unpack_from("=IHHII", answer, place)
        if length < 16 or place + length > len(answer):
            raise ProtocolError(f"netlink: a message of {length} bytes at {place}")
        yield kind, flags, sequence, answer[place + 16 : place + length]
        place += length + -length % 4


def _raise_error(body: bytes, sequence: int) -> None:
    """Raise what an NLMSG_ERROR says, unless it says that all is well."""
    code = -int(struct.unpack_from("=i", body)[0])
    if code:
        # NETLINK_CAP_ACK: after the code stands only the header of the message it is about.
        words = dict(attributes(body[20:])).get(1, b"") if len(body) > 20 else b""
        raise Refused(code, sequence, text(words))
