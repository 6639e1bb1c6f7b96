"""Echo requests (ICMP, ICMPv6) from within a namespace: probe.py ADDRESS [COUNT].

Sends COUNT of them one after the other, or one every 2 ms until stdin ends; then prints
{"sent": …, "lost": [numbers]}. An answer may take 2 s.
"""

import json
import os
import select
import socket
import struct
import sys
import time

EVERY_S = 0.002
PATIENCE_S = 2.0


def checksum(data: bytes) -> int:
    total: int = sum(struct.unpack(f"!{len(data) // 2}H", data))
    total = (total >> 16) + (total & 0xFFFF)
    return ~(total + (total >> 16)) & 0xFFFF


class Prober:
    def __init__(self, target: str) -> None:
        self.six = ":" in target
        family = socket.AF_INET6 if self.six else socket.AF_INET
        protocol = socket.IPPROTO_ICMPV6 if self.six else socket.IPPROTO_ICMP
        self.socket = socket.socket(family, socket.SOCK_RAW, protocol)
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 22)
        self.target = socket.getaddrinfo(target, None, family, socket.SOCK_RAW, protocol)[0][4]
        self.identity = os.getpid() & 0xFFFF
        self.sent = 0
        self.missing: set[int] = set()

    def send(self) -> None:
        kind = 128 if self.six else 8
        packet = struct.pack("!BBHHH", kind, 0, 0, self.identity, self.sent & 0xFFFF)
        if not self.six:
            packet = struct.pack(
                "!BBHHH", kind, 0, checksum(packet), self.identity, self.sent & 0xFFFF
            )
        self.missing.add(self.sent & 0xFFFF)
        self.sent += 1
        self.socket.sendto(packet, self.target)

    def hear(self, until: float) -> None:
        """Take in answers until nothing is missing or it is `until`."""
        while self.missing:
            left = until - time.monotonic()
            if left < 0 or not select.select([self.socket], [], [], left)[0]:
                return
            data = self.socket.recv(2048)
            data = data if self.six else data[(data[0] & 15) * 4 :]
            kind, _, _, identity, number = struct.unpack_from("!BBHHH", data)
            if kind == (129 if self.six else 0) and identity == self.identity:
                self.missing.discard(number)


def main() -> None:
    prober = Prober(sys.argv[1])
    if len(sys.argv) > 2:
        for _ in range(int(sys.argv[2])):
            prober.send()
            prober.hear(time.monotonic() + PATIENCE_S)
    else:
        prober.send()
        prober.hear(time.monotonic() + PATIENCE_S)
        sys.stdout.write("ready\n")
        sys.stdout.flush()
        following = time.monotonic()
        while not select.select([sys.stdin], [], [], 0)[0]:
            prober.send()
            following += EVERY_S
            prober.hear(following)
            time.sleep(max(0.0, following - time.monotonic()))
        prober.hear(time.monotonic() + PATIENCE_S)
    sys.stdout.write(json.dumps({"sent": prober.sent, "lost": sorted(prober.missing)}) + "\n")


main()
