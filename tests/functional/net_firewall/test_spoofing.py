"""What a VM says that it is not is dropped; without the firewall each of these frames arrives."""

import socket
from collections.abc import Callable
from typing import Any

import pytest

from firewalled_hosts import (
    BROADCAST_MAC,
    ETH_P_ARP,
    ETH_P_IP,
    ETH_P_IPV6,
    GATEWAY4,
    LINK_LOCAL,
    Vm,
    arp,
    frame,
    icmpv6,
    inside,
    mac_bytes,
    mac_of,
    read_until,
    run,
    udp,
)

OTHER_MAC = "02:00:00:00:00:77"
Build = Callable[[Vm, Vm, str], bytes]


def _v4(source: str, mac: str | None = None) -> Build:
    def build(a: Vm, b: Vm, gateway: str) -> bytes:
        packet = udp(source.format(a=a, b=b), b.address4, (7, 53), b"judged")
        return frame(gateway, mac or a.mac, ETH_P_IP, packet)

    return build


def _v6(source: str, mac: str | None = None) -> Build:
    def build(a: Vm, b: Vm, gateway: str) -> bytes:
        packet = udp(source.format(a=a, b=b), b.address6, (7, 53), b"judged")
        return frame(gateway, mac or a.mac, ETH_P_IPV6, packet)

    return build


def _dhcp_server(ports: tuple[int, int]) -> Build:
    def build(a: Vm, b: Vm, gateway: str) -> bytes:
        if ports[1] == 68:
            return frame(gateway, a.mac, ETH_P_IP, udp(a.address4, b.address4, ports, b"judged"))
        return frame(gateway, a.mac, ETH_P_IPV6, udp(a.address6, b.address6, ports, b"judged"))

    return build


FORWARDED = {
    "foreign MAC": _v4("{a.address4}", OTHER_MAC),
    "MAC of another VM": _v4("{a.address4}", "02:00:00:00:00:02"),
    "foreign IPv4": _v4("192.0.2.1"),
    "IPv4 of the network": _v4("10.0.0.99"),
    "foreign IPv6": _v6("2001:db8::99"),
    "IPv6 with foreign MAC": _v6("{a.address6}", OTHER_MAC),
    "DHCP server": _dhcp_server((67, 68)),
    "DHCP server behind another port": _dhcp_server((4011, 68)),
    "DHCPv6 server": _dhcp_server((547, 546)),
}


@pytest.mark.parametrize("guarded", [True, False])
@pytest.mark.parametrize("kind", FORWARDED)
def test_spoofed_packets_do_not_reach_another_vm(site: Any, kind: str, guarded: bool) -> None:
    if guarded:
        site.sync()
    gateway = mac_of(site.a)
    out, seen = site.a.raw(), site.b.raw()
    out.send(FORWARDED[kind](site.a, site.b, gateway))
    packet = udp(site.a.address4, site.b.address4, (7, 54), b"marked")
    out.send(frame(gateway, site.a.mac, ETH_P_IP, packet))
    found = read_until(seen, b"marked")
    assert any(b"judged" in one for one in found) is not guarded


def _ra(a: Vm, _: Vm, gateway: str) -> bytes:
    return _nd(a, gateway, "fe80::1234", 134, bytes(12))


def _nd(a: Vm, gateway: str, source: str, kind: int, body: bytes, mac: str = "") -> bytes:
    packet = icmpv6(source, LINK_LOCAL, kind, body)
    return frame(gateway, mac or a.mac, ETH_P_IPV6, packet)


def _target(address: str) -> bytes:
    return bytes(4) + socket.inet_pton(socket.AF_INET6, address)


def _na(a: Vm, b: Vm, gateway: str) -> bytes:
    option = b"\2\1" + mac_bytes(a.mac)
    return _nd(a, gateway, a.address6, 136, b"\x60" + _target(b.address6)[1:] + option)


def _ns(a: Vm, b: Vm, gateway: str) -> bytes:
    return _nd(a, gateway, b.address6, 135, _target(LINK_LOCAL) + b"\1\1" + mac_bytes(a.mac))


def _ns_mac(a: Vm, _: Vm, gateway: str) -> bytes:
    body = _target(LINK_LOCAL) + b"\1\1" + mac_bytes(OTHER_MAC)
    return _nd(a, gateway, a.address6, 135, body, OTHER_MAC)


def _redirect(a: Vm, b: Vm, gateway: str) -> bytes:
    body = _target(LINK_LOCAL) + socket.inet_pton(socket.AF_INET6, b.address6)
    return _nd(a, gateway, "fe80::1234", 137, body)


NEIGHBOUR = {
    "router advertisement": (134, _ra),
    "advertisement for another VM": (136, _na),
    "solicitation from another VM's address": (135, _ns),
    "solicitation with foreign MAC": (135, _ns_mac),
    "redirect": (137, _redirect),
}


@pytest.mark.parametrize("guarded", [True, False])
@pytest.mark.parametrize("kind", NEIGHBOUR)
def test_spoofed_neighbour_discovery_does_not_reach_the_host(
    site: Any, kind: str, guarded: bool
) -> None:
    if guarded:
        site.sync()
    number, build = NEIGHBOUR[kind]
    gateway = mac_of(site.a)
    seen = site.host.open(socket.AF_INET6, socket.SOCK_RAW, 58)
    out = site.a.raw()
    spoofed = build(site.a, site.b, gateway)
    out.send(spoofed)
    echo = icmpv6(site.a.address6, "2001:db8::1", 128, b"\0\1\0\1marked")
    out.send(frame(gateway, site.a.mac, ETH_P_IPV6, echo))
    message = spoofed[14 + 40 :]
    assert message[0] == number
    assert (message in read_until(seen, b"marked")) is not guarded


def test_neighbour_discovery_of_a_vm_itself_works(site: Any) -> None:
    site.sync()
    with inside(site.a.namespace):
        run("ip", "neighbour", "flush", "dev", "eth0")
    run("ip", "neighbour", "delete", site.a.address6, "dev", site.a.tap)
    one = site.a.udp(site.a.address6, 53)
    site.b.udp(site.b.address6).sendto(b"hello", (site.a.address6, 53))
    assert one.recv(10) == b"hello"


def _arp(source: str, mac: str, address: str) -> bytes:
    return frame(BROADCAST_MAC, source, ETH_P_ARP, arp(1, mac, address, GATEWAY4))


ARP: dict[str, Callable[[Vm, Vm], bytes]] = {
    "IPv4 of another VM": lambda a, b: _arp(a.mac, a.mac, b.address4),
    "MAC in the message": lambda a, _: _arp(a.mac, OTHER_MAC, a.address4),
    "MAC of the frame": lambda a, _: _arp(OTHER_MAC, a.mac, a.address4),
}


@pytest.mark.parametrize("guarded", [True, False])
@pytest.mark.parametrize("kind", ARP)
def test_spoofed_arp_is_not_answered(site: Any, kind: str, guarded: bool) -> None:
    if guarded:
        site.sync()
    raw = site.a.raw()
    raw.send(ARP[kind](site.a, site.b))
    own = arp(1, site.a.mac, site.a.address4, "169.254.169.254")
    raw.send(frame(BROADCAST_MAC, site.a.mac, ETH_P_ARP, own))
    answers = [
        one
        for one in read_until(raw, b"\0\2" + mac_bytes(mac_of(site.a)) + b"\xa9\xfe\xa9\xfe")
        if one[12:14] == b"\x08\x06" and one[20:22] == b"\0\2"
    ]
    assert (len(answers) == 1) is guarded


def test_arp_from_an_allowed_prefix_is_answered(site: Any) -> None:
    site.port(site.a, "open", allowed_address_pairs=[{"prefix": "10.0.7.0/24"}])
    site.sync()
    raw = site.a.raw()
    asked = arp(1, site.a.mac, "10.0.7.9", GATEWAY4)
    raw.send(frame(BROADCAST_MAC, site.a.mac, ETH_P_ARP, asked))
    assert read_until(raw, b"\0\2" + mac_bytes(mac_of(site.a)))


def test_dhcp_of_a_client_reaches_the_host(site: Any) -> None:
    site.sync()
    server = site.host.open(socket.AF_INET, socket.SOCK_DGRAM)
    server.bind(("", 67))
    raw = site.a.raw()
    discover = udp("0.0.0.0", "255.255.255.255", (68, 67), b"discover")
    raw.send(frame(BROADCAST_MAC, OTHER_MAC, ETH_P_IP, discover.replace(b"disc", b"evil")))
    raw.send(frame(BROADCAST_MAC, site.a.mac, ETH_P_IP, discover))
    assert server.recv(100) == b"discover"
    server.sendto(b"offer", (site.a.address4, 68))
    assert any(b"offer" in one for one in read_until(raw, b"offer"))


def test_dhcpv6_of_a_client_reaches_the_host(site: Any) -> None:
    site.sync()
    server = site.host.open(socket.AF_INET6, socket.SOCK_DGRAM)
    server.bind(("::", 547))
    raw = site.a.raw()
    solicit = udp("fe80::1234", LINK_LOCAL, (546, 547), b"solicit")
    raw.send(frame(mac_of(site.a), site.a.mac, ETH_P_IPV6, solicit))
    assert server.recv(100) == b"solicit"


def test_nothing_of_the_second_layer_passes_from_vm_to_vm(site: Any) -> None:
    site.sync()
    raw, seen = site.a.raw(), site.b.raw()
    raw.send(frame(BROADCAST_MAC, site.a.mac, 0x88B5, b"judged broadcast"))
    raw.send(frame("33:33:00:00:00:01", site.a.mac, ETH_P_IPV6, bytes(60)))
    raw.send(
        frame(
            BROADCAST_MAC,
            site.a.mac,
            ETH_P_ARP,
            arp(1, site.a.mac, site.a.address4, site.b.address4),
        )
    )
    out = site.a.udp(site.a.address4)
    out.sendto(b"marked", (site.b.address4, 53))
    for one in read_until(seen, b"marked"):
        assert mac_bytes(site.a.mac) not in one[6:12]
        assert b"judged" not in one
