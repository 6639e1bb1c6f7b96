"""Hears of network devices that come, go and are renamed, from the kernel (rtnetlink(7))."""

import errno
import os
import socket
import struct
from collections.abc import Iterator
from dataclasses import dataclass

# <linux/rtnetlink.h>, <linux/if_link.h>
_RTMGRP_LINK, _RTM_NEWLINK, _RTM_DELLINK, _IFLA_IFNAME = 1, 16, 17, 3
_HEADER = struct.Struct("=IHHII")  # length, type, flags, sequence, port
_LINK = struct.Struct("=BxHiII")  # family, type, index, flags, change
_ATTRIBUTE = struct.Struct("=HH")  # length, type
_AF_BRIDGE = 7


@dataclass(frozen=True, slots=True)
class Link:
    """A device as the kernel told of it; `name` is None when it is gone."""

    index: int
    name: str | None


class Links:
    """A subscription to changes of devices; `fileno()` is readable when there are some."""

    def __init__(self) -> None:
        self._socket = socket.socket(
            socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_NONBLOCK, socket.NETLINK_ROUTE
        )
        self._socket.bind((0, _RTMGRP_LINK))

    def fileno(self) -> int:
        """Return the descriptor to wait for."""
        return self._socket.fileno()

    def read(self) -> list[Link] | None:
        """Return what changed, in order; None where messages were lost: look at all anew."""
        found: list[Link] = []
        while True:
            try:
                found += parse(self._socket.recv(65536))
            except BlockingIOError:
                return found
            except OSError as error:
                if error.errno == errno.ENOBUFS:
                    return None
                raise

    def close(self) -> None:
        """End the subscription."""
        self._socket.close()


def present() -> dict[str, int]:
    """Return the index of every device by name."""
    return {name: index for index, name in socket.if_nameindex()}


def parse(data: bytes) -> Iterator[Link]:
    """Yield the devices that netlink messages tell of."""
    offset = 0
    while offset + _HEADER.size + _LINK.size <= len(data):
        length, kind, *_ = _HEADER.unpack_from(data, offset)
        message = data[offset + _HEADER.size : offset + length]
        offset += max((length + 3) & ~3, _HEADER.size)
        if kind not in (_RTM_NEWLINK, _RTM_DELLINK) or len(message) < _LINK.size:
            continue
        family, _, index, *_ = _LINK.unpack_from(message)
        if family == _AF_BRIDGE:  # a port left or joined a bridge; the device itself stays
            continue
        yield Link(index, _name(message) if kind == _RTM_NEWLINK else None)


def _name(message: bytes) -> str | None:
    offset = _LINK.size
    while offset + _ATTRIBUTE.size <= len(message):
        length, kind = _ATTRIBUTE.unpack_from(message, offset)
        if kind == _IFLA_IFNAME:
            return os.fsdecode(message[offset + _ATTRIBUTE.size : offset + length].rstrip(b"\0"))
        offset += max((length + 3) & ~3, _ATTRIBUTE.size)
    return None
