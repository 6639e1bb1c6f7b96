"""Real VMs: QEMU and Debian's kernels behind taps that a real visord wires."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from chronovisor.net.marks import GATEWAY_MAC
from qemu import Machine, Nic, debian_kernel
from visords import until
from vm_hosts import VmHost, vm_host, web
from wired_hosts import NETWORK, mac, port

LEASED = """#!/bin/sh
# What udhcpc calls (busybox, networking/udhcp): the lease is in the environment.
[ "$1" = bound ] || [ "$1" = renew ] || exit 0
ip -4 address flush dev "$interface"
ip address add "$ip/$mask" dev "$interface"
ip link set "$interface" mtu "$mtu"
ip route add default via "$router"
"""
SHOUT = """
arping -c 2 -w 3 -I eth0 {other}
arping -U -c 2 -w 3 -I eth0 {own}
ping -c 1 -W 1 255.255.255.255
ping -c 1 -W 1 10.5.255.255
ping -c 1 -W 1 224.0.0.1
ping6 -c 1 -W 1 ff02::1%eth0
true
"""
SPOOFED = "10.5.9.9"
METADATA = ("169.254.169.254", "fe80::a9fe:a9fe%eth0")


def four(number: int) -> str:
    return str(port(number)["addresses"][0])


def six(number: int) -> str:
    """Return the address that a VM makes of its MAC (RFC 4291 appendix A): 02 becomes 00."""
    return f"2001:db8:5::ff:fe00:{number:x}"


def nic(number: int) -> Nic:
    """Return a NIC whose tap QEMU makes, and which is gone with it."""
    return Nic(f"tap{number}", mac(number))


class Vm:
    """A VM that takes its addresses as any would: a lease by DHCP, and SLAAC."""

    def __init__(self, host: VmHost, number: int, machine: Machine) -> None:
        self.host, self.number, self.machine = host, number, machine

    def take_addresses(self) -> None:
        """Bring the interface up; return with both addresses in use."""
        self.machine.check("/run/guest/busybox", "ip", "link", "set", "eth0", "up")
        lease = "/run/guest/busybox udhcpc -f -n -q -t 20 -T 1 -i eth0 -O mtu -s "
        done = self.machine.shell(f"{lease} /run/guest/files/leased")
        assert done.code == 0, done.text
        assert f"lease of {four(self.number)} obtained" in done.text
        until("the address of SLAAC is used", self._has_made_its_address)

    def _has_made_its_address(self) -> bool:
        lines = self.machine.shell("ip -6 address show dev eth0").text.splitlines()
        (line,) = [one for one in lines if six(self.number) in one] or [""]
        return bool(line) and "tentative" not in line

    def until_said(self, script: str, words: str) -> None:
        until(words, lambda: words in self.machine.shell(script).text)

    def reaches(self, address: str, source: str = "") -> bool:
        """Return whether one of three echo requests is answered."""
        of = f"-I {source} " if source else ""
        done = self.machine.shell(f"/run/guest/busybox ping -c 3 -W 2 {of}{address}")
        return done.code == 0

    def metadata(self, address: str) -> str:
        """Return the instance id that the VM is told; busybox's static wget crashes, nc does."""
        ask = r"printf 'GET /latest/meta-data/instance-id HTTP/1.0\r\nHost: metadata\r\n\r\n'"
        done = self.machine.shell(f"{ask} | /run/guest/busybox nc -w 20 {address} 80")
        head, _, body = done.text.replace("\r", "").partition("\n\n")
        assert head.startswith("HTTP/1.1 200 "), done.text
        return body


@pytest.fixture(scope="module")
def host() -> Iterator[VmHost]:
    with vm_host() as made:
        made.start()
        subnets = [NETWORK["subnets"][0], NETWORK["subnets"][1] | {"ra_mode": "slaac"}]
        made.set("networks", "net", {"subnets": subnets, "mtu": 1400})
        for number in (1, 2):
            value: dict[str, Any] = web(number) | {"addresses": [four(number), six(number)]}
            made.load(
                {
                    f"host/net/ports/vm{number}": value,
                    "host/net/networks/net": {"subnets": subnets, "mtu": 1400},
                }
            )
        yield made


@pytest.fixture(scope="module")
def small(host: VmHost) -> Iterator[Vm]:
    """Return a VM with Debian's cloud kernel and nothing but busybox."""
    with small_machine(host, 1) as machine:
        yield Vm(host, 1, machine)


def small_machine(host: VmHost, number: int) -> Machine:
    return Machine(
        debian_kernel("cloud-amd64"),
        memory_mib=128,
        cpus=1,
        nics=[nic(number)],
        modules=("virtio_net", "virtio_rng", "af_packet"),
        files={"leased": LEASED.encode()},
        prefix=host.namespace.argv(),
    )


@pytest.fixture(scope="module")
def large(host: VmHost) -> Iterator[Vm]:
    """Return a VM that has this machine's programs, tcpdump among them."""
    machine = Machine(
        debian_kernel(),
        root=Path("/"),
        memory_mib=512,
        nics=[nic(2)],
        files={"leased": LEASED.encode()},
        prefix=host.namespace.argv(),
    )
    with machine:
        yield Vm(host, 2, machine)


def test_real_vms_get_lease_and_metadata_and_reach_each_other(
    host: VmHost, small: Vm, large: Vm
) -> None:
    host.until_wired("vm1", "vm2")
    for vm in (small, large):
        vm.take_addresses()
        assert "mtu 1400" in vm.machine.shell("ip link show dev eth0").text
        assert [vm.metadata(one) for one in METADATA] == [f"vm{vm.number}"] * 2
    for vm, other in ((small, 2), (large, 1)):
        assert vm.reaches(four(other))
        assert vm.reaches(six(other))
    assert host.health() == ""


def test_nothing_but_what_is_for_it_comes_to_a_vm_and_no_forged_source(
    small: Vm, large: Vm
) -> None:
    capture = "tcpdump --immediate-mode -lnne -Q in -i eth0 >/tmp/frames 2>/tmp/said </dev/null &"
    large.machine.shell(capture)
    large.until_said("cat /tmp/said", "listening on")
    small.machine.shell(SHOUT.format(own=four(1), other=four(2)))
    small.machine.check("ip", "address", "add", f"{SPOOFED}/32", "dev", "eth0")
    assert not small.reaches(four(2), SPOOFED)
    assert not small.reaches("10.5.0.1", SPOOFED)
    small.machine.check("ip", "address", "delete", f"{SPOOFED}/32", "dev", "eth0")
    assert small.reaches(four(2))
    large.until_said("cat /tmp/frames", f"{four(1)} > {four(2)}: ICMP echo request")
    large.machine.shell("kill $(pidof tcpdump)")
    frames = [one for one in large.machine.shell("cat /tmp/frames").text.splitlines() if one]
    assert [one for one in frames if f" {GATEWAY_MAC} > " not in one] == []
    assert not any(word in one for one in frames for word in (SPOOFED, "who-has", mac(1)))


def test_a_vm_that_is_killed_and_started_again_is_wired_again(
    host: VmHost, small: Vm, large: Vm
) -> None:
    small.machine.close()
    until("its tap is gone with it", lambda: not host.port("vm1")["wired"])
    assert not large.reaches(four(1))
    with small_machine(host, 1) as machine:
        again = Vm(host, 1, machine)
        host.until_wired("vm1", "vm2")
        again.take_addresses()
        assert again.metadata(METADATA[0]) == "vm1"
        assert again.reaches(four(2))
        assert large.reaches(six(1))
    assert host.health() == ""
