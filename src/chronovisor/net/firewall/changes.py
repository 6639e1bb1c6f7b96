"""What others change in nftables, as the kernel tells it: NFNLGRP_NFTABLES.

The kernel tells every change of every table. Our own are kept back by a filter in the kernel, by
the netlink port that made them; so a full load of ours wakes nobody.
"""

import contextlib
import ctypes
import errno
import socket
import struct
from collections.abc import Iterator
from dataclasses import dataclass

from chronovisor.errors import ProtocolError, Unavailable
from chronovisor.net.firewall.messages import NEW_GENERATION, SUBSYSTEM, attributes, text
from chronovisor.net.firewall.names import FAMILIES, TABLE
from chronovisor.net.firewall.netfilter import NETLINK_NETFILTER, SO_RCVBUFFORCE, messages_in

_ADD_MEMBERSHIP = 1  # NETLINK_ADD_MEMBERSHIP
_GROUP = 7  # NFNLGRP_NFTABLES
_ATTACH_FILTER = 26  # SO_ATTACH_FILTER
_BUFFER = 1 << 20
_READ = 1 << 16


@dataclass(frozen=True, slots=True)
class ForeignChange:
    """A transaction of somebody else: the ruleset's number after it, and if it is of our tables."""

    generation: int
    ours: bool


class ForeignChanges(contextlib.AbstractContextManager["ForeignChanges"]):
    """Hears of others' transactions from its making until `close`. Never blocks."""

    def __init__(self, own_port: int) -> None:
        """Begin to listen; `own_port` is the netlink port of our own changes.

        Raises:
            Unavailable: the kernel lets nobody listen.
        """
        try:
            self._socket = socket.socket(
                socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_NONBLOCK, NETLINK_NETFILTER
            )
            with contextlib.suppress(PermissionError):
                self._socket.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, _BUFFER)
            _pass_over(self._socket, own_port)
            self._socket.bind((0, 0))
            self._socket.setsockopt(270, _ADD_MEMBERSHIP, _GROUP)  # SOL_NETLINK
        except OSError as error:
            raise Unavailable(f"cannot listen to nftables: {error.strerror}") from error
        self._of_ours = False

    def __exit__(self, *exc: object) -> None:
        self.close()

    def close(self) -> None:
        """Stop listening."""
        self._socket.close()

    def fileno(self) -> int:
        """Return the descriptor that is readable when there is something to take."""
        return self._socket.fileno()

    def take(self) -> Iterator[ForeignChange | None]:
        """Yield the transactions heard since the last call; None for any that were lost."""
        while True:
            try:
                data = self._socket.recv(_READ)
            except BlockingIOError:
                return
            except OSError as error:
                if error.errno != errno.ENOBUFS:
                    raise Unavailable(f"cannot listen to nftables: {error.strerror}") from error
                self._of_ours = False
                yield None
                continue
            try:
                yield from self._read(data)
            except (ProtocolError, struct.error, KeyError):
                yield None

    def _read(self, data: bytes) -> Iterator[ForeignChange]:
        """Yield a change at the end of each transaction: NEWGEN comes last."""
        for kind, _, _, body in messages_in(data):
            if kind >> 8 != SUBSYSTEM:
                continue
            if kind & 0xFF == NEW_GENERATION:
                generation = struct.unpack(">I", dict(attributes(body[4:]))[1])[0]
                yield ForeignChange(generation, self._of_ours)
                self._of_ours = False
            elif body[0] in FAMILIES and not self._of_ours:
                # NFTA_TABLE_NAME, NFTA_CHAIN_TABLE, NFTA_RULE_TABLE, …: 1 in all of them
                self._of_ours = text(next(attributes(body[4:]), (0, b""))[1]) == TABLE


def _pass_over(source: socket.socket, own_port: int) -> None:
    """Have the kernel keep our own changes to itself. A classic BPF program (bpf(4))."""
    ours = int.from_bytes(struct.pack("=I", own_port), "big")  # it loads in network byte order
    load, equals, answer = 0x20, 0x15, 0x06  # ld [k], jeq, ret; nlmsg_pid stands at 12
    program = [
        (load, 0, 0, 12),
        (equals, 0, 1, ours),
        (answer, 0, 0, 0),
        (answer, 0, 0, 0xFFFFFFFF),
    ]
    code = ctypes.create_string_buffer(b"".join(struct.pack("=HBBI", *one) for one in program))
    source.setsockopt(
        socket.SOL_SOCKET,
        _ATTACH_FILTER,
        struct.pack("@HP", len(program), ctypes.addressof(code)),
    )
