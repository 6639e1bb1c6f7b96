"""A small NTP server whose time is any clock, and which lies when told to (RFC 5905).

It answers from a clock of its own choice (`--clock`: the system clock, or a PHC's device), so that
in a machine with one system clock there is an NTP server that does not serve what is being steered.
`--lie FILE` names a file with the seconds to add to the truth, read anew for each answer.
"""

import argparse
import contextlib
import os
import signal
import socket
import struct
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

_PACKET = struct.Struct("!BBbbII4sQQQQ")
_EPOCH_S = 2_208_988_800  # from 1900 to 1970, RFC 5905 figure 4
_CLIENT, _SERVER, _NTP4 = 3, 4, 4


def clock_id(clock: str) -> int:
    """Return the id of a clock: `system`, or a PHC by its device (linux/posix-timers.h)."""
    if clock == "system":
        return time.CLOCK_REALTIME
    return (~os.open(clock, os.O_RDONLY) << 3) | 3  # CLOCKFD


def serve(address: str, port: int, clock: int, lie: Path | None, offset_ns: int) -> None:
    """Answer for ever."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as channel:
        channel.bind((address, port))
        print("ready", flush=True)
        while True:
            packet, client = channel.recvfrom(1024)
            shift_ns = offset_ns + lie_ns(lie)
            received_ns = time.clock_gettime_ns(clock) + shift_ns
            if len(packet) >= _PACKET.size and packet[0] & 7 == _CLIENT:
                sent_ns = time.clock_gettime_ns(clock) + shift_ns
                channel.sendto(answer(packet, received_ns, sent_ns), client)


def answer(packet: bytes, received_ns: int, sent_ns: int) -> bytes:
    """Return a server's reply of stratum 1 to a client's request."""
    poll, origin = packet[2], packet[40:48]
    return _PACKET.pack(
        _NTP4 << 3 | _SERVER, 1, max(poll, 0), -20, 0, 1, b"TEST",
        stamp(received_ns), int.from_bytes(origin, "big"), stamp(received_ns), stamp(sent_ns),
    )  # fmt: skip


def stamp(time_ns: int) -> int:
    """Return a time since 1970 as NTP's 64 bits."""
    seconds, rest_ns = divmod(time_ns, 1_000_000_000)
    return ((seconds + _EPOCH_S) % (1 << 32)) << 32 | (rest_ns << 32) // 1_000_000_000


def lie_ns(file: Path | None) -> int:
    """Return what the file says to add, nothing where there is none."""
    try:
        return int(float(file.read_text()) * 1e9) if file else 0
    except (OSError, ValueError):
        return 0


@contextlib.contextmanager
def running(
    address: str,
    *,
    port: int = 123,
    clock: str = "system",
    lie: Path | None = None,
    offset_ns: int = 0,
    inside: tuple[str, ...] = (),
) -> Iterator[subprocess.Popen[str]]:
    """Have a server run, in a process of its own; `inside` is a command that leads to it."""
    words = ["--address", address, "--port", str(port), "--clock", clock]
    words += ["--offset-ns", str(offset_ns)] + (["--lie", str(lie)] if lie else [])
    with subprocess.Popen(
        [*inside, sys.executable, "-S", __file__, *words], stdout=subprocess.PIPE, text=True
    ) as process:
        try:
            assert process.stdout
            assert process.stdout.readline() == "ready\n"
            yield process
        finally:
            process.send_signal(signal.SIGKILL)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--address", required=True)
    parser.add_argument("--port", type=int, default=123)
    parser.add_argument("--clock", default="system")
    parser.add_argument("--offset-ns", type=int, default=0)
    parser.add_argument("--lie", type=Path)
    given = parser.parse_args()
    serve(given.address, given.port, clock_id(given.clock), given.lie, given.offset_ns)
