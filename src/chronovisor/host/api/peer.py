"""Who is at the other end of a request, and what they may do.

The kernel vouches for a Unix peer (SO_PEERCRED and SO_PEERGROUPS, unix(7)): nothing a client says
about itself counts. Root and the user that visord runs as may write, as may members of the group
that visord was given; everybody else may read, or nothing.
"""

import os
import socket
import struct
from dataclasses import dataclass
from typing import Any

from fastapi import Request
from uvicorn.protocols.http.h11_impl import H11Protocol

from chronovisor.errors import Denied

_UCRED = struct.Struct("3i")  # pid, uid, gid: struct ucred
SO_PEERGROUPS = 59  # asm-generic/socket.h; Python's socket module has no name for it
_MOST_GROUPS_BYTES = 1024  # what Python's getsockopt takes: 256 groups


@dataclass(frozen=True, slots=True)
class Peer:
    """A client's identity as the kernel gives it."""

    pid: int
    uid: int
    groups: frozenset[int]

    def __str__(self) -> str:
        """Return the author that a change by this client carries in the history."""
        return f"uid {self.uid} (pid {self.pid})"


@dataclass(frozen=True, slots=True)
class Access:
    """Who may write, besides root and our own user, and whether all others may read."""

    write_group: int | None = None
    others_read: bool = True

    def may_write(self, peer: Peer) -> bool:
        """Return whether a client may change anything."""
        return peer.uid in (0, os.geteuid()) or self.write_group in peer.groups

    def may_read(self, peer: Peer) -> bool:
        """Return whether a client may look."""
        return self.others_read or self.may_write(peer)


def peer_of(connection: socket.socket) -> Peer:
    """Return the identity of a Unix socket's other end."""
    raw = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _UCRED.size)
    pid, uid, gid = _UCRED.unpack(raw)
    return Peer(pid, uid, frozenset({gid, *_supplementary_groups(connection)}))


def _supplementary_groups(connection: socket.socket) -> tuple[int, ...]:
    try:
        raw = connection.getsockopt(socket.SOL_SOCKET, SO_PEERGROUPS, _MOST_GROUPS_BYTES)
    except OSError:  # more groups than fit: only the primary one counts then
        return ()
    return struct.unpack(f"{len(raw) // 4}I", raw)


class PeerProtocol(H11Protocol):
    """uvicorn's HTTP protocol, which in addition leaves the peer in `request.state.peer`."""

    def connection_made(self, transport: Any) -> None:
        """Note who connected before the first request is read."""
        super().connection_made(transport)
        connection = transport.get_extra_info("socket")
        self.app_state = {**self.app_state, "peer": peer_of(connection)}


def reader(request: Request) -> Peer:
    """Return the peer of a request that only looks, or refuse it."""
    peer: Peer = request.state.peer
    access: Access = request.app.state.access
    if not access.may_read(peer):
        raise Denied(
            f"user {peer.uid} may not look at this host",
            hint="become root or a member of visord's group",
        )
    return peer


def writer(request: Request) -> Peer:
    """Return the peer of a request that changes something, or refuse it."""
    peer: Peer = request.state.peer
    access: Access = request.app.state.access
    if not access.may_write(peer):
        raise Denied(
            f"user {peer.uid} may look but not change anything on this host",
            hint="become root or a member of visord's group",
        )
    return peer
