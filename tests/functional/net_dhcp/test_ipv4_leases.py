"""Real dnsmasq and VMs behind taps: what VMs are told by IPv4, and what changes do to them."""

import asyncio
import os
import signal
from ipaddress import IPv4Address
from typing import Any

import pytest

from chronovisor.net.dhcp import place
from chronovisor.net.dhcp.leases import parse
from chronovisor.worlds import State
from dhcp_guests import ACK, NAK, ip
from dhcp_site import Site, Vm, mac

PLAIN = {"prefix": "10.0.0.0/16", "gateway": "10.0.0.1"}
RICH = {
    "prefix": "192.168.4.0/22",
    "gateway": "192.168.4.1",
    "dns_servers": ["192.0.2.53", "192.0.2.54"],
    "ntp_servers": ["192.0.2.123"],
    "host_routes": [{"destination": "10.9.0.0/16", "next_hop": "192.168.4.2"}],
}


async def test_every_option_reaches_the_vm(site: Site) -> None:
    site.network("rich", RICH, mtu=1442, domain="vms.example.org", lease_time_s=7200)
    site.port("a", 1, "rich", "192.168.5.10", hostname="web1")
    vm = site.tap(1, "192.168.4.1/32")
    await site.sync()
    lease = await vm.lease()
    assert lease.address == IPv4Address("192.168.5.10")
    options = {number: lease.options[number] for number in lease.options if number != 59}
    assert options == {
        1: IPv4Address("255.255.252.0").packed,
        3: IPv4Address("192.168.4.1").packed,
        6: IPv4Address("192.0.2.53").packed + IPv4Address("192.0.2.54").packed,
        12: b"web1",
        15: b"vms.example.org",
        26: (1442).to_bytes(2, "big"),
        28: IPv4Address("192.168.7.255").packed,
        42: IPv4Address("192.0.2.123").packed,
        51: (7200).to_bytes(4, "big"),
        53: b"\x05",
        54: IPv4Address("192.168.4.1").packed,
        58: (3600).to_bytes(4, "big"),
        # RFC 3442: the default route, then 10.9.0.0/16
        121: bytes((0, 192, 168, 4, 1, 16, 10, 9, 192, 168, 4, 2)),
    }


async def test_networks_differ_on_one_dnsmasq(site: Site) -> None:
    site.network("rich", RICH, mtu=1442)
    site.network("plain", PLAIN, mtu=9000)
    site.port("a", 1, "rich", "192.168.5.10")
    site.port("b", 2, "plain", "10.0.7.7", hostname="123")
    site.port("c", 3, "plain", "10.0.7.8", hostname="ignore")
    one = site.tap(1, "192.168.4.1/32")
    two, three = site.tap(2, "10.0.0.1/32"), site.tap(3, "10.0.0.1/32")
    await site.sync()
    first, second, third = await asyncio.gather(one.lease(), two.lease(), three.lease())
    assert [str(lease.address) for lease in (first, second, third)] == [
        "192.168.5.10", "10.0.7.7", "10.0.7.8",
    ]  # fmt: skip
    assert (first.options[26], second.options[26]) == (b"\x05\xa2", b"\x23\x28")
    assert second.options[1] == IPv4Address("255.255.0.0").packed
    assert {6, 15, 42, 121} & second.options.keys() == set()
    # Names that mean something else to dnsmasq: a lease time, a host to ignore.
    assert (second.options[12], third.options[12]) == (b"123", b"ignore")
    assert await site.sync() == []


async def test_an_addition_touches_nothing_else(site: Site) -> None:
    site.network("plain", PLAIN)
    site.port("a", 1, "plain", "10.0.0.11")
    site.tap(1, "10.0.0.1/32")
    await site.sync()
    before = {path: path.stat().st_mtime_ns for path in site.service.at.hosts.iterdir()}
    pid = site.supervisor.get(place.DNSMASQ).pid
    site.network("other", RICH)
    site.port("b", 2, "other", "192.168.5.2")
    vm = site.tap(2, "192.168.4.1/32")
    done = await site.sync("b")
    assert [line.split()[0] for line in done] == ["write", "write"]
    assert (await vm.lease()).address == IPv4Address("192.168.5.2")
    assert site.supervisor.get(place.DNSMASQ).pid == pid
    assert {path: path.stat().st_mtime_ns for path in before} == before


@pytest.mark.parametrize("net", ["10.0", "192.168"])  # of both halves that dnsmasq is told of
async def test_a_port_that_is_gone_frees_its_address(site: Site, net: str) -> None:
    site.network("plain", {"prefix": f"{net}.0.0/16", "gateway": f"{net}.0.1"})
    site.port("old", 1, "plain", f"{net}.0.11")
    site.port("kept", 2, "plain", f"{net}.0.12")
    old, kept = site.tap(1, f"{net}.0.1/32"), site.tap(2, f"{net}.0.1/32")
    await site.sync()
    await asyncio.gather(old.lease(), kept.lease())
    pid = site.supervisor.get(place.DNSMASQ).pid
    site.remove("old")
    site.host.remove("tap1")
    site.port("new", 3, "plain", f"{net}.0.11")
    new = site.tap(3, f"{net}.0.1/32")
    done = await site.sync()
    assert f"release the lease of {net}.0.11 to 02:00:00:00:00:01" in done
    assert (await new.lease()).address == IPv4Address(f"{net}.0.11")
    assert (await kept.lease()).address == IPv4Address(f"{net}.0.12")
    assert site.supervisor.get(place.DNSMASQ).pid == pid
    assert await site.sync() == []


async def test_a_vm_keeps_its_address_where_no_lease_is_known(site: Site) -> None:
    """As after a migration, or with the lease file lost; an address not its own is refused."""
    site.network("plain", PLAIN)
    site.port("a", 1, "plain", "10.0.0.11")
    vm = site.tap(1, "10.0.0.1/32")
    await site.sync()
    assert await vm.request("10.0.0.11") == ACK
    assert await vm.request("10.0.0.99") == NAK


async def test_a_file_that_somebody_edited_is_put_right(site: Site) -> None:
    site.network("plain", PLAIN)
    site.port("a", 1, "plain", "10.0.0.11")
    vm = site.tap(1, "10.0.0.1/32")
    await site.sync()
    assert await site.sync() == []
    file = site.service.at.hosts / "a"
    file.write_text(file.read_text().replace("10.0.0.11", "10.0.0.66"))
    assert f"write {file}" in await site.sync()
    assert (await vm.lease()).address == IPv4Address("10.0.0.11")


async def test_a_removed_port_gets_no_lease(site: Site) -> None:
    site.network("plain", PLAIN)
    site.port("a", 1, "plain", "10.0.0.11")
    vm = site.tap(1, "10.0.0.1/32")
    await site.sync()
    await vm.lease()
    site.remove("a")
    await site.sync("a")
    assert await vm.is_refused()
    await site.until("its lease is gone", lambda: not site.service.leases())


async def test_ports_that_swap_addresses_get_them(site: Site) -> None:
    site.network("plain", PLAIN)
    site.port("a", 1, "plain", "10.0.0.11")
    site.port("b", 2, "plain", "10.0.0.12")
    one, two = site.tap(1, "10.0.0.1/32"), site.tap(2, "10.0.0.1/32")
    await site.sync()
    await asyncio.gather(one.lease(), two.lease())
    site.port("a", 1, "plain", "10.0.0.12")
    site.port("b", 2, "plain", "10.0.0.11")
    await site.sync("a", "b")
    first, second = await asyncio.gather(one.lease(), two.lease())
    assert (str(first.address), str(second.address)) == ("10.0.0.12", "10.0.0.11")


async def test_changed_and_removed_options_hold(site: Site) -> None:
    site.network("net", RICH, mtu=1442, domain="old.example.org")
    site.port("a", 1, "net", "192.168.5.10")
    vm = site.tap(1, "192.168.4.1/32")
    await site.sync()
    assert (await vm.lease()).options[15] == b"old.example.org"
    site.network("net", {"prefix": "192.168.4.0/22", "gateway": "192.168.4.1"}, mtu=1400)
    await site.sync()
    options = (await vm.lease()).options
    assert options[26] == (1400).to_bytes(2, "big")
    assert {6, 15, 42, 121} & options.keys() == set()


async def test_killed_dnsmasq_is_back_with_its_leases(site: Site) -> None:
    site.network("plain", PLAIN)
    site.port("a", 1, "plain", "10.0.0.11")
    vm = site.tap(1, "10.0.0.1/32")
    await site.sync()
    await vm.lease()
    pid = site.supervisor.get(place.DNSMASQ).pid
    before = site.service.leases()
    assert [str(lease.address) for lease in before] == ["10.0.0.11"]
    assert pid
    os.kill(pid, signal.SIGKILL)

    def is_back() -> bool:
        world = site.supervisor.get(place.DNSMASQ)
        return world.state is State.RUNNING and world.pid != pid

    await site.until("dnsmasq runs again", is_back)
    assert (await vm.lease()).address == IPv4Address("10.0.0.11")
    assert [lease.address for lease in site.service.leases()] == [before[0].address]
    assert await site.sync() == []


async def test_a_reload_that_was_cut_off_is_made_up_for(site: Site) -> None:
    """As after a kill -9 between the removal of a file and the signal."""
    site.network("plain", PLAIN)
    site.port("old", 1, "plain", "10.0.0.11")
    site.tap(1, "10.0.0.1/32")
    await site.sync()
    site.remove("old")
    at = site.service.at
    at.reload_mark.touch()
    (at.hosts / "old").unlink()
    (at.options / "old").unlink()
    site.port("new", 2, "plain", "10.0.0.11")
    vm = site.tap(2, "10.0.0.1/32")
    assert "have dnsmasq read its files again" in await site.sync()
    assert (await vm.lease()).address == IPv4Address("10.0.0.11")
    assert not at.reload_mark.exists()


async def test_a_bad_network_blocks_nobody(site: Site) -> None:
    """Options too long for DHCP are left out; a file that somebody broke concerns nobody else."""
    long = RICH | {"dns_servers": [f"192.0.2.{number}" for number in range(1, 90)]}
    site.network("bad", long)
    site.network("plain", PLAIN)
    site.port("a", 1, "bad", "192.168.5.10")
    site.port("b", 2, "plain", "10.0.0.12")
    bad, good = site.tap(1, "192.168.4.1/32"), site.tap(2, "10.0.0.1/32")
    at = site.service.at
    at.hosts.mkdir(parents=True)
    await site.sync()
    (at.hosts / "zz").write_text("\0\1nonsense,,:::,\n" * 3)
    (at.options / "zz").write_text("tag:tap2,option:nothing,at all\n")
    wrong, right = await asyncio.gather(bad.lease(), good.lease())
    assert 6 not in wrong.options
    assert wrong.options[42] == IPv4Address("192.0.2.123").packed
    assert str(right.address) == "10.0.0.12"
    (problem,) = (one for one in site.service.problems(site.intent) if "dns_servers" in one.where)
    assert problem.where == "host/net/networks/bad: subnets[0].dns_servers"
    assert "356 bytes" in problem.message
    done = await site.sync()
    assert f"remove {at.hosts / 'zz'}" in done
    assert str((await good.lease()).address) == "10.0.0.12"


async def test_a_mac_address_of_another_tap_gets_nothing(site: Site) -> None:
    site.network("plain", PLAIN)
    site.port("a", 1, "plain", "10.0.0.11")
    site.port("b", 2, "plain", "10.0.0.12")
    thief = site.tap(2, "10.0.0.1/32")
    thief.guest.mac = bytes.fromhex("020000000001")
    await site.sync()
    assert await thief.is_refused()


async def test_a_device_beyond_the_patterns_is_served(site: Site) -> None:
    site.network("plain", PLAIN)
    site.port("a", 1, "plain", "10.0.0.11")
    await site.sync()
    site.port("b", 2, "plain", "10.0.0.12", device="guest-2")
    vm = Vm(site.host.tap("guest-2", mac(2), "10.0.0.1/32"))
    assert "restart net-dhcp" in await site.sync("b")
    assert (await vm.lease()).address == IPv4Address("10.0.0.12")


async def test_leases_and_files_outlive_visord(site: Site) -> None:
    """A new service on the same directory finds nothing to do."""
    site.network("plain", PLAIN)
    site.port("a", 1, "plain", "10.0.0.11")
    vm = site.tap(1, "10.0.0.1/32")
    await site.sync()
    await vm.lease()
    again: Any = type(site.service)(site.service.at, site.supervisor, lambda _, __: None)
    assert again.plan(site.intent) == []
    assert parse(site.service.at.leases.read_text())[0].mac == "02:00:00:00:00:01"


async def test_a_lease_leaves_the_host_s_neighbours_alone(site: Site) -> None:
    site.network("plain", PLAIN)
    site.port("a", 1, "plain", "10.0.0.11")
    vm = site.tap(1, "10.0.0.1/32")
    entry = ("10.0.0.11", "lladdr", mac(1), "dev", "tap1", "nud", "permanent")
    ip("neighbour", "replace", *entry, namespace=site.host.namespace)
    await site.sync()
    await vm.lease()
    assert "PERMANENT" in ip("neighbour", "show", "10.0.0.11", namespace=site.host.namespace)


async def test_a_directory_that_dnsmasq_cannot_enter_is_named(site: Site) -> None:
    site.network("plain", PLAIN)
    shut = site.service.at.directory.parent
    shut.chmod(0o700)
    await site.service.sync(site.intent)
    assert site.service.problem == f"dnsmasq's user may not enter {shut}"
    shut.chmod(0o755)
    await site.sync()
