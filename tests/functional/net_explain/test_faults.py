"""Faults made on purpose on one host: each is named; while there is none, none is named."""

import contextlib
import copy
import os
import signal
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pytest

from chronovisor.net.explain import Condition, Service
from chronovisor.net.settings import IpProtocol
from explained_hosts import ICMP, TCP_443, UDP_7000, Explained, explained_host, shown
from visords import until
from vm_hosts import reaches, web
from wired_hosts import ping, port

VM1, VM2 = port(1)["addresses"], port(2)["addresses"]
ELSEWHERE = f"tap-{os.getpid()}"
FOREIGN = "table inet foreign {{ chain c {{ type filter hook {} priority 10; {}; }}; }}"


@pytest.fixture(scope="module")
def whole() -> Iterator[Explained]:
    with explained_host() as made:
        yield made


@pytest.fixture
def host(whole: Explained) -> Iterator[Explained]:
    """Return the host, whose VMs reach each other and of which nothing is said to be broken."""
    values = copy.deepcopy(whole.values)
    _is_well(whole)
    yield whole
    whole.values = values
    whole.enabled = True
    whole.mend()
    _is_well(whole)


def _is_well(host: Explained) -> None:
    for address in VM2:
        assert reaches(host.vms[1], address)
        found = host.ask(address, "vm1", ICMP)
        assert {one.condition for one in found.findings} == {Condition.OK}, shown(found)
    found = host.ask("169.254.169.254", "vm1", Service(IpProtocol.TCP, 80))
    assert {one.condition for one in found.findings} == {Condition.OK}, shown(found)
    for name in ("vm1", "vm2", "vm3"):
        assert host.ask(name).first_broken is None


Step = Callable[[Explained], object]


@dataclass(frozen=True)
class Fault:
    """How a fault is made and undone, what is asked then, and what has to be said."""

    make: Step
    link: str
    words: tuple[str, ...]
    undo: Step | None = None
    target: str = VM2[0]
    source: str = "vm1"
    service: Service | None = ICMP
    stops: bool = False
    """Whether pings from vm1 to vm2 are lost meanwhile."""


def ip(*lines: str) -> Step:
    return lambda host: host.namespace.batch(lines)


def vm(number: int, *lines: str) -> Step:
    return lambda host: host.vms[number].batch(lines)


def sysctl(setting: str) -> Step:
    return lambda host: host.sysctl(setting)


def nft(text: str) -> Step:
    return lambda host: host.nft(text)


def set_port(name: str, **changes: object) -> Step:
    return lambda host: host.port(name, **changes)


def signalled(world: str, number: signal.Signals) -> Step:
    return lambda host: os.kill(host.pid(world), number)


def both(*steps: Step) -> Step:
    return lambda host: [step(host) for step in steps]


def lease(mac: str, address: str, ends_in_s: int) -> Step:
    """Write a lease as dnsmasq does; it reads the file at its start only."""

    def write(host: Explained) -> None:
        with host.place.leases.open("a") as file:
            file.write(f"{int(time.time()) + ends_in_s} {mac} {address} * *\n")

    return write


def no_leases(host: Explained) -> None:
    host.place.leases.write_text("")


def put_elsewhere(host: Explained) -> None:
    host.vms[3].batch([f"link add {ELSEWHERE} type veth peer name other"])
    host.port("vm9", **web(9) | {"device": ELSEWHERE})


def mute(host: Explained) -> None:
    host.values["host/net/security_groups/mute"] = {
        "rules": [{"direction": "ingress", "protocol": "icmp"}]
    }
    host.port("vm1", security_groups=["mute"])
    host.mend()


def allow_pair(host: Explained) -> None:
    host.port("vm2", allowed_address_pairs=[{"prefix": "192.0.2.0/24"}])
    host.mend()


BACK_4 = vm(
    2,
    "address delete 10.5.0.77/16 dev eth0",
    f"address add {VM2[0]}/16 dev eth0",
    "route add default via 10.5.0.1",
)

FAULTS: dict[str, Fault] = {
    "plane disabled": Fault(
        lambda host: setattr(host, "enabled", False), "plane", ("disabled", "net enable")
    ),
    "address of nobody": Fault(
        lambda _: None, "settings", ("no port of this host has 10.5.0.99", "network net"),
        target="10.5.0.99", source="", service=None,
    ),
    "port refused": Fault(
        set_port("vm9", **web(9) | {"addresses": [VM2[0]]}), "settings",
        ("refused", "port vm2 has address 10.5.0.3 already"), target="vm9", source="",
    ),
    "port disabled": Fault(
        set_port("vm2", enabled=False), "settings", ("port vm2 is disabled", "enabled=true")
    ),
    "tap missing": Fault(
        set_port("vm9", **web(9) | {"device": "tap4077"}), "device",
        ("there is no device tap4077",), target="vm9",
    ),
    "tap down": Fault(ip("link set tap2 down"), "device", ("tap2 is down",), stops=True),
    "tap in a bridge": Fault(
        ip("link add br0 type bridge", "link set tap2 master br0"), "device",
        ("tap2 is in br0", "nomaster"), undo=ip("link delete br0"), stops=True,
    ),
    "tap in another namespace": Fault(
        put_elsewhere, "device", (f"there is no {ELSEWHERE} in this host's", "-vm3 has a device"),
        target="vm9", undo=vm(3, f"link delete {ELSEWHERE}"),
    ),
    "guest gone": Fault(
        vm(2, "link set eth0 down"), "device", ("tap2 has no carrier",),
        undo=vm(2, "link set eth0 up", "route add default via 10.5.0.1",
                f"address replace {VM2[1]}/128 dev eth0 nodad",
                "route add ::/0 via fe80::a9fe:a9fe dev eth0"), stops=True,
    ),
    "MTU too small": Fault(
        ip("link set tap2 mtu 1280"), "device", ("MTU of tap2 is 1280", "1500")
    ),
    "proxy ARP off": Fault(
        sysctl("net.ipv4.conf.tap1.proxy_arp=0"), "switches", ("proxy_arp of tap1 is 0",)
    ),
    "host does not forward": Fault(
        sysctl("net.ipv4.ip_forward=0"), "switches", ("ipv4/ip_forward is 0",), stops=True
    ),
    "tap does not forward": Fault(
        sysctl("net.ipv4.conf.tap1.forwarding=0"), "switches", ("tap1 does not forward IPv4",),
        stops=True,
    ),
    "IPv6 off on the tap": Fault(
        sysctl("net.ipv6.conf.tap2.disable_ipv6=1"), "switches", ("switched off on tap2",),
        target=VM2[1],
    ),
    "strict rp_filter of all": Fault(
        both(allow_pair, sysctl("net.ipv4.conf.all.rp_filter=1")), "switches",
        ("ipv4/conf/all/rp_filter is 1", "other addresses"),
        undo=sysctl("net.ipv4.conf.all.rp_filter=0"),
    ),
    "gateway address missing": Fault(
        ip("address delete 10.5.0.1/16 dev tap1"), "gateway", ("tap1 has no address 10.5.0.1",)
    ),
    "guest has another address": Fault(
        vm(2, f"address delete {VM2[0]}/16 dev eth0", "address add 10.5.0.77/16 dev eth0"),
        "guest", ("nobody behind tap2 answers ARP for 10.5.0.3", "02:00:00:00:00:02 is there"),
        undo=BACK_4, stops=True,
    ),
    "guest is silent": Fault(
        vm(2, "link set eth0 arp off"), "guest", ("nobody behind tap2 answers ARP",),
        undo=vm(2, "link set eth0 arp on"),
    ),
    "guest has another MAC": Fault(
        vm(2, "link set eth0 address 02:00:00:00:00:99"), "guest",
        ("answers ARP from 02:00:00:00:00:99", "02:00:00:00:00:02"),
        undo=vm(2, "link set eth0 address 02:00:00:00:00:02"), stops=True,
    ),
    "neighbour entry of others": Fault(
        ip(f"neigh replace {VM2[0]} lladdr 02:00:00:00:00:77 dev tap2 nud permanent"), "guest",
        ("neighbour entry says 10.5.0.3 is at 02:00:00:00:00:77",), stops=True,
    ),
    "dnsmasq frozen": Fault(
        signalled("net-dhcp", signal.SIGSTOP), "dhcp", ("net-dhcp", "frozen", "kill -CONT"),
        undo=signalled("net-dhcp", signal.SIGCONT),
    ),
    "DHCP file missing": Fault(
        lambda host: (host.place.hosts / "vm2").rename(host.place.directory / "kept"), "dhcp",
        ("hosts/vm2 is missing",),
        undo=lambda host: (host.place.directory / "kept").rename(host.place.hosts / "vm2"),
    ),
    "lease of another MAC": Fault(
        lease("02:00:00:00:00:55", VM2[0], 600), "dhcp",
        ("leased 10.5.0.3 to 02:00:00:00:00:55",), undo=no_leases,
    ),
    "lease of another address": Fault(
        lease("02:00:00:00:00:02", "10.5.0.88", 600), "dhcp", ("holds a lease of 10.5.0.88",),
        undo=no_leases,
    ),
    "lease ended": Fault(
        lease("02:00:00:00:00:02", VM2[0], -600), "dhcp", ("lease of 10.5.0.3 ended",),
        undo=no_leases,
    ),
    "responder of IPv6 frozen": Fault(
        signalled("net-ipv6", signal.SIGSTOP), "advertisements", ("net-ipv6", "frozen"),
        undo=signalled("net-ipv6", signal.SIGCONT), target=VM2[1],
    ),
    "route deleted": Fault(
        ip(f"route delete {VM2[0]}/32 dev tap2"), "route",
        ("no route", "10.5.0.3"), stops=True,
    ),
    "IPv6 route deleted": Fault(
        ip(f"route delete {VM2[1]}/128 dev tap2"), "route", ("2001:db8:5::3",),
        target=VM2[1],
    ),
    "route of others in its place": Fault(
        ip(f"route replace {VM2[0]}/32 dev tap3"), "route",
        ("no route of ours to 10.5.0.3", "dev tap3", "ip route show"),
        undo=ip(f"route delete {VM2[0]}/32 dev tap3"), stops=True,
    ),
    "policy rule to another table": Fault(
        ip(f"route add {VM2[0]}/32 dev tap3 table 77",
           f"rule add priority 100 to {VM2[0]} lookup 77"), "route",
        ("packets leave over tap3", "table 77", "100: to 10.5.0.3/32 lookup table 77"),
        undo=ip("rule delete priority 100", f"route delete {VM2[0]}/32 dev tap3 table 77"),
        stops=True,
    ),
    "policy rule drops": Fault(
        ip(f"rule add priority 100 from {VM1[0]} blackhole"), "route",
        ("RTM_GETROUTE", "100: from 10.5.0.2/32 blackhole"),
        undo=ip("rule delete priority 100"), stops=True,
    ),
    "blackhole": Fault(
        ip(f"route replace blackhole {VM2[0]}/32"), "route", ("blackhole 10.5.0.3/32",),
        undo=ip(f"route delete blackhole {VM2[0]}/32"), stops=True,
    ),
    "no way beyond": Fault(
        lambda _: None, "route", ("198.51.100.1", "no route"), target="198.51.100.1"
    ),
    "our table deleted": Fault(
        nft("delete table inet chronovisor"), "firewall", ("there is no table inet chronovisor",)
    ),
    "rules of a port deleted": Fault(
        nft("flush chain inet chronovisor to-vm2"), "firewall",
        ("chain inet chronovisor to-vm2 has 0 rules",), stops=True,
    ),
    "identity of a port deleted": Fault(
        nft('delete element inet chronovisor guard4 { "tap1" . 02:00:00:00:00:01 . 10.5.0.2 }'),
        "firewall", ('"tap1" . 02:00:00:00:00:01 . 10.5.0.2 in set inet chronovisor guard4',),
        stops=True,
    ),
    "static rules deleted": Fault(
        nft("flush chain inet chronovisor forward"), "firewall",
        ("chain inet chronovisor forward has 0 rules",),
    ),
    "no rule lets it in": Fault(
        lambda _: None, "firewall", ("no ingress rule", "web"), service=TCP_443
    ),
    "group of the target": Fault(
        lambda _: None, "firewall", ("no ingress rule", "quiet"), target="vm3"
    ),
    "no rule lets it in from this host": Fault(
        lambda _: None, "firewall", ("no ingress rule", "tcp/443"), source="", service=TCP_443
    ),
    "source may not send": Fault(mute, "firewall", ("no egress rule", "mute"), stops=True),
    "service of the host": Fault(
        lambda _: None, "firewall", ("tcp/22 to this host is dropped",), target="10.5.0.1",
        service=Service(IpProtocol.TCP, 22),
    ),
    "foreign rule drops": Fault(
        nft(FOREIGN.format("forward", f"ip daddr {VM2[0]} drop")), "other rulesets",
        ("inet foreign c", "at hook forward", "rule 2"),
        undo=nft("delete table inet foreign"), stops=True,
    ),
    "foreign policy drops": Fault(
        nft(FOREIGN.format("forward", 'policy drop; iifname "docker0" accept')),
        "other rulesets", ("inet foreign c", "policy"),
        undo=nft("delete table inet foreign"), stops=True,
    ),
    "foreign rule on the tap": Fault(
        nft("table netdev foreign { chain c { type filter hook ingress device tap1 priority 0; "
            "meta l4proto icmp drop; }; }"), "other rulesets", ("netdev foreign c", "ingress"),
        undo=nft("delete table netdev foreign"), stops=True,
    ),
    "metadata proxy frozen": Fault(
        signalled("net-metadata", signal.SIGSTOP), "metadata", ("net-metadata", "frozen"),
        undo=signalled("net-metadata", signal.SIGCONT), target="169.254.169.254", service=None,
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", FAULTS)
def test_it_is_named(host: Explained, name: str) -> None:
    fault = FAULTS[name]
    with contextlib.ExitStack() as stack:
        if fault.undo:
            stack.callback(partial(fault.undo, host))
        fault.make(host)
        found = host.ask(fault.target, fault.source, fault.service)
        first = found.first_broken
        assert first is not None, shown(found)
        said = f"{first.evidence} {first.way_out}"
        assert first.link == fault.link, shown(found)
        assert all(words in said for words in fault.words), shown(found)
        assert first.way_out
        if fault.stops:
            assert ping(host.vms[1], VM2[0], 1) == [0]


FINE: dict[str, tuple[str, Service]] = {
    "a foreign chain that drops other things": (
        FOREIGN.format("forward", f"tcp dport 22 drop; ip saddr {VM2[0]} ip daddr {VM1[0]} "
                       "icmp type echo-request drop; iifname eth9 drop"), ICMP),
    "a foreign policy with a rule for it": (
        FOREIGN.format("forward", 'policy drop; ct state { established, new } accept; '
                       'oifname "tap*" accept'), ICMP),
    "a foreign chain that calls others": (
        "table inet foreign { chain d { ip daddr 10.5.0.0/16 accept; drop; }; "
        "chain c { type filter hook forward priority 10; policy drop; jump d; }; }", UDP_7000),
}  # fmt: skip


@pytest.mark.parametrize("name", FINE)
def test_what_others_do_besides_is_no_false_alarm(host: Explained, name: str) -> None:
    text, service = FINE[name]
    host.nft(text)
    try:
        assert ping(host.vms[1], VM2[0], 1) == []
        found = host.ask(VM2[0], "vm1", service)
        assert found.first_broken is None, shown(found)
    finally:
        host.nft("delete table inet foreign")


def test_a_daemon_that_died_is_named() -> None:
    with explained_host() as host:
        pid = host.pid("net-dhcp")
        os.kill(pid, signal.SIGKILL)
        until("it is gone", lambda: not _runs(pid))
        first = host.ask(VM2[0], "vm1", ICMP).first_broken
        assert first is not None
        assert (first.link, "net-dhcp" in first.evidence) == ("dhcp", True)


def _runs(pid: int) -> bool:
    with contextlib.suppress(OSError):
        status = Path(f"/proc/{pid}/stat").read_text()
        return status.rpartition(")")[2].split()[0] not in "ZX"
    return False
