"""DNS for VMs, where it is asked for: names of ports come and go with them."""

import socket
import struct
from dataclasses import replace
from ipaddress import IPv4Address

from chronovisor.net.dhcp import place
from chronovisor.net.dhcp.service import DhcpService
from dhcp_guests import inside, ip
from dhcp_site import Site

PLAIN = {"prefix": "10.0.0.0/16", "gateway": "10.0.0.1"}


def question(name: str) -> bytes:
    labels = b"".join(bytes((len(one),)) + one.encode() for one in name.split("."))
    return struct.pack("!6H", 7, 0x0100, 1, 0, 0, 0) + labels + struct.pack("!BHH", 0, 1, 1)


def ask(namespace: str, name: str) -> IPv4Address | None:
    """Return the address of a name; None when there is none."""

    def exchange() -> bytes:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as wire:
            wire.settimeout(1)
            for _ in range(20):
                wire.sendto(question(name), ("10.0.0.1", 53))
                try:
                    return wire.recv(512)
                except OSError:
                    continue
            raise AssertionError("no answer")

    answer = inside(namespace, exchange)
    return IPv4Address(answer[-4:]) if struct.unpack_from("!H", answer, 6)[0] else None


async def test_names_come_and_go_with_their_ports(site: Site) -> None:
    at = replace(site.service.at, dns=True)
    site.service = DhcpService(at, site.supervisor, lambda _, __: None)
    site.network("net", PLAIN, domain="vms.example")
    site.port("a", 1, "net", "10.0.0.11", hostname="web1")
    vm = site.tap(1, "10.0.0.1/32")
    ip("route", "add", "10.0.0.11/32", "dev", "tap1", namespace=site.host.namespace)
    ip("address", "add", "10.0.0.11/16", "dev", "vm1", namespace=site.host.guests)
    await site.sync()
    assert (await vm.lease()).options[6] == IPv4Address("10.0.0.1").packed
    assert ask(site.host.guests, "web1.vms.example") == IPv4Address("10.0.0.11")
    assert ask(site.host.guests, "db") is None
    site.port("b", 2, "net", "10.0.0.12", hostname="db")
    await site.sync("b")
    await site.until("db has an address", lambda: ask(site.host.guests, "db"))
    pid = site.supervisor.get(place.NAMES).pid
    site.remove("b")
    await site.sync("b")
    await site.until("db has none", lambda: not ask(site.host.guests, "db"))
    assert site.supervisor.get(place.NAMES).pid == pid
