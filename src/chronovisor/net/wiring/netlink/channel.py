"""A socket to the kernel: requests in batches, dumps whole or asked for again."""

import contextlib
import errno
import os
import socket
from collections.abc import Iterator, Sequence
from types import TracebackType
from typing import Self

from chronovisor.errors import ProtocolError, ToolFailed
from chronovisor.net.wiring.netlink import message as m
from chronovisor.net.wiring.netlink.message import Message, Refusal

BATCH = 256
"""Messages in one datagram; more gain nothing that can be measured."""

ANSWER_S = 10.0
_RECEIVE_BYTE = 1 << 16
_BUFFER_BYTE = 8 << 20
_SOL_NETLINK = 270
_CAP_ACK, _EXT_ACK, _GET_STRICT = 10, 11, 12  # NETLINK_*
_FORCED_BUFFER = 33  # SO_RCVBUFFORCE
_DUMP_TRIES = 5

Request = tuple[int, int, bytes]
"""Type, flags (REQUEST and ACK are added) and body of a message to the kernel."""


class Overrun(ToolFailed):
    """Messages of the kernel were lost: the state must be read again."""


class Refused(ToolFailed):
    """The kernel does not do what was asked; `errno` says why."""

    def __init__(self, message: str, number: int) -> None:
        super().__init__(message)
        self.errno = number


def opened(groups: int = 0, *, blocking: bool = True) -> socket.socket:
    """Return a NETLINK_ROUTE socket in the network namespace of this process.

    Raises `ToolFailed`.
    """
    try:
        made = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE)
    except OSError as error:
        raise ToolFailed(f"cannot open a netlink socket: {error.strerror}") from error
    try:
        made.setsockopt(socket.SOL_SOCKET, _FORCED_BUFFER, _BUFFER_BYTE)
    except PermissionError:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _BUFFER_BYTE)
    for option in (_CAP_ACK, _EXT_ACK, _GET_STRICT):
        with contextlib.suppress(OSError):  # an older kernel; all of them only save work
            made.setsockopt(_SOL_NETLINK, option, 1)
    made.bind((0, groups))
    made.settimeout(ANSWER_S if blocking else 0)
    return made


def receive(source: socket.socket) -> bytes:
    """Return one datagram of the kernel. Raises `Overrun`, `ProtocolError`, `BlockingIOError`."""
    while True:
        try:
            data, _, flags, sender = source.recvmsg(_RECEIVE_BYTE)
        except TimeoutError as error:
            raise ToolFailed(f"the kernel did not answer in {ANSWER_S:g} s on netlink") from error
        except OSError as error:
            if error.errno == errno.ENOBUFS:
                raise Overrun("netlink: more messages than the socket's buffer holds") from error
            raise
        if flags & socket.MSG_TRUNC:
            raise ProtocolError(f"netlink: a datagram of more than {_RECEIVE_BYTE} bytes")
        if sender[0] == 0:  # else it is from another process, whoever that is
            return data


class Channel:
    """Asks the kernel and waits for what it says. One thread at a time may use it."""

    def __init__(self) -> None:
        self._socket = opened()
        self._sequence = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        self.close()

    @property
    def port(self) -> int:
        """The port id by which the kernel names this channel in messages to all."""
        port: int = self._socket.getsockname()[0]
        return port

    def close(self) -> None:
        """Close the socket."""
        self._socket.close()

    def dump(self, kind: int, body: bytes) -> list[Message]:
        """Return all that the kernel lists. Raises `Refused`, `ToolFailed`, `ProtocolError`.

        A list that changed while it was read is asked for again.
        """
        for _ in range(_DUMP_TRIES):
            found = self._dump_once(kind, body)
            if found is not None:
                return found
        raise Overrun(f"netlink: the kernel's list {kind} changed {_DUMP_TRIES} times while read")

    def _dump_once(self, kind: int, body: bytes) -> list[Message] | None:
        sequence = self._send([(kind, m.DUMP, body)], ack=False)
        found: list[Message] = []
        whole = True
        for message in self._answers(sequence, 1):
            whole = whole and not message.flags & m.DUMP_INTERRUPTED
            if message.kind in (m.DONE, m.ERROR):
                said = m.refusal(message)
                if said.errno:
                    text = f"the kernel does not list {kind}: {words(said)}"
                    raise Refused(text, said.errno)
                return found if whole else None
            found.append(message)
        raise AssertionError("unreachable: answers end with DONE or an error")

    def ask(self, kind: int, body: bytes) -> tuple[list[Message], Refusal]:
        """Return what the kernel says to one question, and its refusal (errno 0: it is none)."""
        sequence = self._send([(kind, m.ECHO, body)])  # a qdisc is told of to nobody without it
        found: list[Message] = []
        for message in self._answers(sequence, 1):
            if message.kind == m.ERROR:
                return found, m.refusal(message)
            found.append(message)
        raise AssertionError("unreachable: answers end with an acknowledgement or an error")

    def batch(self, requests: Sequence[Request]) -> dict[int, Refusal]:
        """Have the kernel do all of `requests` in order; return what it refused, by position.

        A refused one does not stop those behind it. Raises `Overrun` when answers were lost:
        then anything may have been done.
        """
        refused: dict[int, Refusal] = {}
        for start in range(0, len(requests), BATCH):
            part = requests[start : start + BATCH]
            first = self._send(part)
            waiting = set(range(first, first + len(part)))
            for message in self._answers(first, len(part)):
                if message.kind != m.ERROR:
                    continue
                if message.sequence not in waiting:
                    raise ProtocolError(f"netlink: two answers to message {message.sequence}")
                waiting.discard(message.sequence)
                said = m.refusal(message)
                if said.errno:
                    refused[start + message.sequence - first] = said
                if not waiting:
                    break
        return refused

    def _send(self, requests: Sequence[Request], *, ack: bool = True) -> int:
        """Send messages as one datagram; return the sequence number of the first."""
        if self._sequence > 0x7FFF0000:
            self._sequence = 0
        first = self._sequence + 1
        self._sequence += len(requests)
        always = m.REQUEST | m.ACK if ack else m.REQUEST
        pack = m.HEADER.pack
        size = m.HEADER.size
        parts = []
        for number, (kind, flags, body) in enumerate(requests, first):
            parts.append(pack(size + len(body), kind, flags | always, number, 0))
            parts.append(body)  # a body ends on four bytes: it is made of structs and attributes
        try:
            self._socket.send(b"".join(parts))
        except OSError as error:
            raise ToolFailed(f"cannot send on netlink: {error.strerror}") from error
        return first

    def _answers(self, first: int, count: int) -> Iterator[Message]:
        """Yield answers to the messages from `first` on; the caller knows when they end."""
        while True:
            for message in m.split(receive(self._socket)):
                if first <= message.sequence < first + count:
                    yield message


def words(said: Refusal) -> str:
    """Return a refusal as words for people."""
    plain = os.strerror(said.errno)
    return f"{plain} ({said.text})" if said.text else plain
