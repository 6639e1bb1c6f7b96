"""Hardware stamps of single packets, taken by a plain socket on each end (kernel: timestamping)."""

import contextlib
import ctypes
import fcntl
import os
import select
import socket
import struct
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from hwsim.devices import Namespace, Port

# linux/net_tstamp.h, asm/socket.h, linux/sockios.h
TX_HARDWARE, RX_HARDWARE, RAW_HARDWARE = 1 << 0, 1 << 2, 1 << 6
SO_TIMESTAMPING, SIOCSHWTSTAMP, TX_ON, FILTER_ALL = 37, 0x89B0, 1, 1
MSG_ERRQUEUE = 0x2000
PORT = 5319
WAIT_S = 0.5
"""How long a stamp may take before it counts as lost: far longer than any the tests ask for."""


@dataclass(frozen=True, slots=True)
class Stamped:
    """One packet: its transmit and its receive stamp, and how long the former took to come."""

    sent_ns: int | None
    received_ns: int | None
    waited_s: float

    def delay_ns(self, apart_ns: int) -> int:
        """Return the delay of the path, for a receiver's clock that is ahead by `apart_ns`."""
        assert self.sent_ns is not None, "no transmit stamp came"
        assert self.received_ns is not None, "no receive stamp came"
        return self.received_ns - self.sent_ns - apart_ns

    @staticmethod
    def until(holds: Callable[[], bool], deadline_s: float = 20.0) -> None:
        """Return as soon as something holds."""
        deadline = time.monotonic() + deadline_s
        while not holds():
            assert time.monotonic() < deadline
            time.sleep(0.02)


@contextlib.contextmanager
def _within(namespace: Namespace) -> Iterator[None]:
    """Make this thread's new sockets those of a namespace (setns(2))."""
    libc = ctypes.CDLL(None, use_errno=True)
    home = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
    there = os.open(Path("/run/netns") / namespace.name, os.O_RDONLY)
    clone_newnet = 0x40000000
    try:
        assert libc.setns(there, clone_newnet) == 0, os.strerror(ctypes.get_errno())
        try:
            yield
        finally:
            assert libc.setns(home, clone_newnet) == 0, os.strerror(ctypes.get_errno())
    finally:
        os.close(there)
        os.close(home)


def _socket(namespace: Namespace, port: Port, flags: int) -> socket.socket:
    with _within(namespace):
        made = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    config = ctypes.create_string_buffer(struct.pack("iii", 0, TX_ON, FILTER_ALL))
    request = struct.pack("16sP16x", port.name.encode(), ctypes.addressof(config))
    fcntl.ioctl(made, SIOCSHWTSTAMP, request)
    made.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMPING, flags | RAW_HARDWARE)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, port.name.encode())
    made.bind(("", PORT))
    return made


def _stamp(ancillary: list[tuple[int, int, bytes]]) -> int | None:
    """Return the raw hardware stamp, the last of three timespecs; all zero means none."""
    for _, kind, data in ancillary:
        if kind == SO_TIMESTAMPING:
            seconds, nanoseconds = struct.unpack("qq", data[32:48])
            return int(seconds) * 10**9 + int(nanoseconds) or None
    return None


def exchange(
    left: Namespace, sender: Port, right: Namespace, receiver: Port, *, count: int
) -> list[Stamped]:
    """Send packets one by one from one port to the other; return the stamps of each."""
    address = {0: "10.0.0.2", 1: "10.0.0.1"}[sender.number % 2]
    with (
        _socket(left, sender, TX_HARDWARE) as out,
        _socket(right, receiver, RX_HARDWARE) as into,
    ):
        out.setblocking(False)
        into.settimeout(5.0)
        found = []
        for number in range(count):
            began = time.monotonic()
            out.sendto(b"%d" % number, (address, PORT))
            data, ancillary, _, _ = into.recvmsg(64, 512)
            assert data == b"%d" % number
            # Only now, and with the packet it belongs to, as ptp4l asks for it: were the receive
            # stamp written where the transmit stamp lies, this is when it would show.
            sent = None
            poll = select.poll()
            poll.register(out, select.POLLERR)
            if poll.poll(WAIT_S * 1000):
                sent = _stamp(out.recvmsg(0, 512, MSG_ERRQUEUE)[1])
            waited_s = time.monotonic() - began
            found.append(Stamped(sent, _stamp(ancillary), waited_s))
    return found
