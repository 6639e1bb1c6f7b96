"""A VM that floods the metadata service is held back at its own tap; no other VM notices."""

import random
import socket
import struct
from ipaddress import ip_address
from typing import Any

import pytest

from chronovisor.net.firewall.static import CONNECTIONS_BURST, CONNECTIONS_S
from firewalled_hosts import (
    ETH_P_IP,
    ETH_P_IPV6,
    METADATA4,
    METADATA6,
    Vm,
    checksum,
    family_of,
    frame,
    inside,
    ipv4,
    ipv6,
    mac_of,
    run,
)

SYN = 2
FLOOD = 3000


def syn(source: str, target: str, port: int) -> bytes:
    """Return an IP packet that begins a connection to port 80 (RFC 9293 section 3.1)."""
    one, other = ip_address(source).packed, ip_address(target).packed
    head = struct.pack(">HHIIBBHHH", port, 80, 1, 0, 5 << 4, SYN, 1024, 0, 0)
    total = checksum(one + other + struct.pack(">II", len(head), 6) + head)
    segment = head[:16] + struct.pack(">H", total) + head[18:]
    return (ipv4 if len(one) == 4 else ipv6)(source, target, 6, segment)


BEHIND = """table inet test {
  chain seen {
    type filter hook input priority filter + 10
    tcp dport 80 tcp flags syn counter
  }
}
"""


def passed(namespace: int) -> int:
    """Return how many SYNs our rules let through."""
    with inside(namespace):
        chain = run("nft", "list", "chain", "inet", "test", "seen").split()
    return int(chain[chain.index("packets") + 1])


def link_local(vm: Vm) -> str:
    with inside(vm.namespace):
        words = run("ip", "-6", "-o", "address", "show", "dev", "eth0", "scope", "link").split()
    return words[words.index("inet6") + 1].removesuffix("/64")


def served(vm: Vm, address: str) -> bool:
    """Return whether a connection to the metadata service is made at the first try."""
    one = vm.open(family_of(address), socket.SOCK_STREAM)
    one.settimeout(0.8)  # the kernel tries again after a second
    place = (address, 80, 0, 2) if ":" in address else (address, 80)
    if ":" in address:
        with inside(vm.namespace):
            place = (address, 80, 0, socket.if_nametoindex("eth0"))
    try:
        one.connect(place)
    except TimeoutError:
        return False
    return True


@pytest.mark.parametrize("address", [METADATA4, METADATA6])
def test_a_flood_of_new_connections_ends_at_the_vms_own_limit(site: Any, address: str) -> None:
    site.sync()
    server = site.host.open(family_of(address), socket.SOCK_STREAM)
    server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    server.bind(("", 80))
    server.listen(socket.SOMAXCONN)
    # What comes past our rules is counted by a table behind them.
    run("nft", "-f", "-", text=BEHIND)
    flooder: Vm = site.a
    raw, gateway = flooder.raw(), mac_of(flooder)
    six = ":" in address
    source = link_local(flooder) if six else flooder.address4
    ports = random.Random(1).sample(range(1024, 65536), FLOOD)
    for port in ports:
        packet = syn(source, address, port)
        raw.send(frame(gateway, flooder.mac, ETH_P_IPV6 if six else ETH_P_IP, packet))
    assert not served(flooder, address)
    came = passed(site.host.namespace)
    # However long that took here, fewer come than were sent, and as many as a boot may need.
    assert CONNECTIONS_BURST <= came < FLOOD - CONNECTIONS_S, came
    assert served(site.b, address)
