"""The IPv6 process and VMs behind taps: advertisements, DHCPv6, changes, and its end."""

import asyncio
import os
import signal
import struct
from collections.abc import Callable
from ipaddress import IPv6Address
from pathlib import Path
from typing import Any

from chronovisor.net.dhcp import place
from chronovisor.worlds import State
from dhcp_guests import Nobody, inside
from dhcp_site import Site, Vm

ROUTER = "fe80::1/64"
OPTION_MEMORY = Path("/proc/sys/net/core/optmem_max")
RICH = {
    "prefix": "2001:db8:1::/64",
    "gateway": "fe80::1",
    "dns_servers": ["2001:db8::53"],
    "ntp_servers": ["2001:db8::123"],
    "host_routes": [{"destination": "2001:db8:9::/48", "next_hop": "fe80::1"}],
}


def subnet(mode: str, number: int = 1) -> dict[str, Any]:
    return {"prefix": f"2001:db8:{number}::/64", "gateway": "fe80::1", "ra_mode": mode}


def flags(advertisement: bytes) -> tuple[bool, bool, bool]:
    """Return M, O and the prefix's A (RFC 4861 sections 4.2 and 4.6.2)."""
    (prefix,) = (value for kind, value in options(advertisement) if kind == 3)
    assert not prefix[3] & 0x80  # never on-link: the host is asked for everything
    return bool(advertisement[5] & 0x80), bool(advertisement[5] & 0x40), bool(prefix[3] & 0x40)


def options(advertisement: bytes) -> list[tuple[int, bytes]]:
    found, rest = [], advertisement[16:]
    while rest:
        found.append((rest[0], rest[: rest[1] * 8]))
        rest = rest[rest[1] * 8 :]
    return found


async def test_every_option_reaches_the_vm(site: Site) -> None:
    site.network("rich", RICH, mtu=1442, domain="vms.example.org", lease_time_s=7200)
    site.port("a", 1, "rich", "2001:db8:1::10", "2001:db8:1::11", hostname="web1")
    vm = site.tap(1, ROUTER)
    await site.sync()
    lease = await vm.lease6()
    assert [str(one) for one in lease.addresses] == ["2001:db8:1::10", "2001:db8:1::11"]
    assert struct.unpack("!II", lease.options[3][4:12]) == (3600, 5760)
    assert struct.unpack("!II", lease.options[3][32:40]) == (7200, 7200)
    assert lease.options[23] == IPv6Address("2001:db8::53").packed
    assert lease.options[24] == b"\3vms\7example\3org\0"
    assert lease.options[31] == IPv6Address("2001:db8::123").packed
    assert lease.options[56] == b"\0\1\0\x10" + IPv6Address("2001:db8::123").packed
    told = dict(options(await vm.advertisement()))
    assert told[5] == struct.pack("!BBHI", 5, 1, 0, 1442)
    assert told[1] == bytes((1, 1)) + bytes.fromhex("026376000001")
    assert told[24][2:4] == bytes((48, 0))
    assert told[25][8:] == IPv6Address("2001:db8::53").packed
    assert told[31][8:].rstrip(b"\0") == b"\3vms\7example\3org"


async def test_networks_differ_in_how_vms_get_addresses(site: Site) -> None:
    modes = ("dhcpv6_stateful", "dhcpv6_stateless", "slaac", "none")
    vms = []
    for number, mode in enumerate(modes, 1):
        site.network(mode, subnet(mode, number))
        site.port(mode, number, mode, f"2001:db8:{number}::10")
        vms.append(site.tap(number, ROUTER))
    await site.sync()
    assert flags(await vms[0].advertisement()) == (True, True, False)
    assert flags(await vms[1].advertisement()) == (False, True, True)
    assert flags(await vms[2].advertisement()) == (False, False, True)
    assert [str(one) for one in (await vms[3].lease6()).addresses] == ["2001:db8:4::10"]
    assert 32 in (await vms[1].information6()).options
    assert await site.sync() == []


async def test_a_tap_that_comes_later_is_served(site: Site) -> None:
    site.network("net", subnet("dhcpv6_stateful"))
    site.port("a", 1, "net", "2001:db8:1::10")
    await site.sync()
    await site.until("it runs", lambda: site.supervisor.get(place.RESPONDER).state is State.RUNNING)
    for _ in range(2):  # and one that comes again, under another index
        vm = site.tap(1, ROUTER)
        assert flags(await vm.advertisement()) == (True, True, False)
        assert len((await vm.lease6()).addresses) == 1
        site.host.remove("tap1")


async def test_a_change_is_advertised_unasked(site: Site) -> None:
    site.network("net", subnet("slaac"), mtu=1500)
    site.port("a", 1, "net", "2001:db8:1::10")
    vm = site.tap(1, ROUTER)
    await site.sync()
    await vm.advertisement()
    waiting = asyncio.create_task(_advertised_mtu(vm, 1400))
    site.network("net", subnet("slaac"), mtu=1400)
    await site.sync()
    await waiting


async def _advertised_mtu(vm: Vm, mtu: int) -> None:
    wait_s = 4.0  # the next that would come anyway comes after 5 s at the earliest
    while True:
        told = dict(options(await vm.advertisement(solicit=False, wait_s=wait_s)))
        if told[5] == struct.pack("!BBHI", 5, 1, 0, mtu):
            return


async def test_a_port_that_is_gone_is_answered_no_more(site: Site) -> None:
    site.network("net", subnet("dhcpv6_stateful"))
    site.port("a", 1, "net", "2001:db8:1::10")
    site.port("b", 2, "net", "2001:db8:1::20")
    gone, kept = site.tap(1, ROUTER), site.tap(2, ROUTER)
    await site.sync()
    await asyncio.gather(gone.lease6(), kept.lease6())
    site.remove("a")
    site.port("b", 2, "net", "2001:db8:1::10")  # its address goes to another at once
    await site.sync()
    assert [str(one) for one in (await kept.lease6()).addresses] == ["2001:db8:1::10"]
    assert not await _answers(gone.lease6, 1.5)


async def _answers(ask: Callable[[float], Any], wait_s: float) -> bool:
    try:
        await ask(wait_s)
    except Nobody:
        return False
    return True


async def test_a_killed_responder_is_back(site: Site) -> None:
    site.network("net", subnet("dhcpv6_stateful"))
    site.port("a", 1, "net", "2001:db8:1::10")
    vm = site.tap(1, ROUTER)
    await site.sync()
    before = await vm.lease6()
    pid = site.supervisor.get(place.RESPONDER).pid
    assert pid
    os.kill(pid, signal.SIGKILL)
    assert (await vm.lease6()).addresses == before.addresses
    assert site.supervisor.get(place.RESPONDER).pid != pid


async def test_broken_requests_and_a_flood_hurt_nobody(site: Site) -> None:
    site.network("net", subnet("dhcpv6_stateful"))
    site.port("a", 1, "net", "2001:db8:1::10")
    site.port("b", 2, "net", "2001:db8:1::20")
    hostile, good = site.tap(1, ROUTER), site.tap(2, ROUTER)
    await site.sync()
    await hostile.lease6()
    pid = site.supervisor.get(place.RESPONDER).pid
    (site.service.at.ipv6 / "broken").write_text('{"device": 3')
    with hostile.guest.udp6() as wire:
        for length in range(300):
            wire.sendto(bytes((length % 14,)) + os.urandom(length), ("ff02::1:2", 547))
    assert len((await good.lease6()).addresses) == 1
    assert site.supervisor.get(place.RESPONDER).pid == pid


def little_option_memory() -> None:
    """Have as little as one socket needs; kernels before 6.8 set it for all namespaces only."""
    if OPTION_MEMORY.exists():
        OPTION_MEMORY.write_text("10000")


async def test_more_taps_than_one_socket_hears(site: Site) -> None:
    inside(site.host.namespace, little_option_memory)
    site.network("net", subnet("dhcpv6_stateful"))
    count = 200
    for number in range(1, count + 1):
        site.port(f"p{number}", number, "net", f"2001:db8:1::{number:x}:1")
    vms = site.taps(range(1, count + 1), ROUTER)
    await site.sync()
    for number in (1, count // 2, count):
        lease = await vms[number - 1].lease6()
        assert lease.addresses == (IPv6Address(f"2001:db8:1::{number:x}:1"),)
        await vms[number - 1].advertisement()
