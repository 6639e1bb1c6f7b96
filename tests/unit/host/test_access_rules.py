import os
import socket

import pytest

from chronovisor.host.api.peer import Access, Peer, peer_of

US = os.geteuid()
STRANGER = 4_000_000
WRITERS = 77


@pytest.mark.parametrize(
    ("uid", "groups", "access", "reads", "writes"),
    [
        (0, (), Access(None, others_read=False), True, True),
        (US, (), Access(None, others_read=False), True, True),
        (STRANGER, (), Access(None), True, False),
        (STRANGER, (), Access(None, others_read=False), False, False),
        (STRANGER, (0,), Access(None), True, False),
        (STRANGER, (WRITERS,), Access(None), True, False),
        (STRANGER, (WRITERS,), Access(WRITERS), True, True),
        (STRANGER, (WRITERS,), Access(WRITERS, others_read=False), True, True),
        (STRANGER, (WRITERS + 1,), Access(WRITERS, others_read=False), False, False),
        (STRANGER, (0,), Access(0), True, True),
    ],
)
def test_who_may_do_what(
    uid: int, groups: tuple[int, ...], access: Access, reads: bool, writes: bool
) -> None:
    peer = Peer(1, uid, frozenset(groups))
    assert (access.may_read(peer), access.may_write(peer)) == (reads, writes)


def test_the_kernel_names_the_other_end() -> None:
    ours, theirs = socket.socketpair(socket.AF_UNIX)
    with ours, theirs:
        peer = peer_of(ours)
    assert (peer.pid, peer.uid) == (os.getpid(), US)
    assert peer.groups == {os.getegid(), *os.getgroups()}
    assert str(peer) == f"uid {US} (pid {os.getpid()})"
