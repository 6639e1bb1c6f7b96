"""Wiring in the kernel: VMs reach each other by routing alone, and stay wired whatever happens."""

import json
import os
import signal
import sys
from collections.abc import Iterator

import pytest

from chronovisor.net.marks import GATEWAY_MAC
from wired_hosts import Host, Namespace, host, intent, mac, ping, port, run, until

SHOUT = """
import socket
for family, target in (
    (socket.AF_INET, "255.255.255.255"),
    (socket.AF_INET, "10.5.255.255"),
    (socket.AF_INET, "224.0.0.251"),
    (socket.AF_INET6, "ff02::1%eth0"),
    (socket.AF_INET6, "ff05::1:3"),
):
    with socket.socket(family, socket.SOCK_DGRAM) as one:
        one.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
        one.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, b"eth0")
        one.sendto(b"to all", socket.getaddrinfo(target, 5353, family)[0][4])
with socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as raw:
    raw.bind(("eth0", 0))
    me = raw.getsockname()[4]
    mine, theirs = (socket.inet_aton(one) for one in ("10.5.0.11", "10.5.0.12"))
    arp = bytes.fromhex("0001080006040001") + me
    for target in (mine, theirs, socket.inet_aton("10.5.0.77")):  # the first one is gratuitous
        raw.send(b"\\xff" * 6 + me + b"\\x08\\x06" + arp + mine + b"\\0" * 6 + target)
    raw.send(b"\\x02\\0\\0\\0\\0\\x0b" + me + b"\\x88\\xb5" + b"straight to the other VM's MAC")
"""


@pytest.fixture
def one_host() -> Iterator[Host]:
    with host() as made:
        yield made


def tap(namespace: Namespace, name: str) -> None:
    namespace.run("ip", "tuntap", "add", "dev", name, "mode", "tap")


def routes(namespace: Namespace) -> set[str]:
    """Return what our routes lead to, and over which device."""
    four = namespace.json("ip", "-json", "route", "show", "proto", "86")
    six = namespace.json("ip", "-6", "-json", "route", "show", "proto", "86")
    return {f"{one['dst']} {one['dev']}" for one in (*four, *six)}


def test_vms_with_one_big_prefix_reach_each_other_and_hear_nothing_else(one_host: Host) -> None:
    first, second = one_host.vm(10), one_host.vm(11)
    wiring = one_host.wiring()
    states = wiring.want(intent(a=port(10), b=port(11)))
    assert all(one["wired"] and not one["problem"] for one in states.values())
    capture = one_host.capture(second)
    first.run(sys.executable, "-c", SHOUT)
    for target in ("10.5.0.12", "2001:db8:5::c"):
        assert ping(first, target) == []
    for target in ("10.5.0.1", "2001:db8:5::1", "fe80::a9fe:a9fe%eth0"):
        assert ping(second, target) == []
    frames = capture.stop()
    assert sum("echo request" in one for one in frames) == 6
    assert [one for one in frames if f" {GATEWAY_MAC} > " not in one] == []
    to_many = [one for one in frames if f" > {mac(11)}, " not in one]
    hosts_own = (
        "fe80::a9fe:a9fe > ff02::16: HBH ICMP6, multicast listener report",  # RFC 3810
        "fe80::a9fe:a9fe > ff02::1:ff00:b: ICMP6, neighbor solicitation, who has fe80::ff:fe00:b,",
    )
    assert [one for one in to_many if not any(own in one for own in hosts_own)] == []
    assert not any("who-has" in one or "length 30" in one for one in frames)


def test_a_forged_source_goes_nowhere(one_host: Host) -> None:
    first, second = one_host.vm(10), one_host.vm(11)
    one_host.wiring().want(intent(a=port(10), b=port(11)))
    capture = one_host.capture(second, "icmp")
    first.run("ip", "address", "add", "10.5.0.99/16", "dev", "eth0")
    forged = "10.5.0.12 via 10.5.0.1 dev eth0 src 10.5.0.99"
    first.run("ip", "route", "add", *forged.split())
    assert ping(first, "10.5.0.12", 1) == [0]
    first.run("ip", "route", "del", "10.5.0.12")
    assert ping(first, "10.5.0.12", 1) == []
    frames = capture.stop()
    assert len(frames) == 1
    assert "10.5.0.11 > 10.5.0.12" in frames[0]


def test_a_tap_is_wired_when_it_comes_and_forgotten_when_it_goes(one_host: Host) -> None:
    wiring = one_host.wiring()
    states = wiring.want(intent(a=port(10)))
    assert states["a"] == {"device": "tap10", "wired": False, "problem": ""}
    for _ in range(3):
        tap(one_host.namespace, "tap10")
        wiring.next_state("a", wired=True, problem="")
        assert routes(one_host.namespace) == {"10.5.0.11 tap10", "2001:db8:5::b tap10"}
        one_host.namespace.run("ip", "link", "delete", "tap10")
        wiring.next_state("a", wired=False, problem="")
        assert routes(one_host.namespace) == set()
    assert wiring.drift() == []


def test_taps_that_come_and_go_quickly_end_as_they_are(one_host: Host) -> None:
    wiring = one_host.wiring()
    wiring.want(intent(**{f"p{number}": port(number) for number in range(10, 30)}))
    lines = []
    for _ in range(5):
        lines += [f"tuntap add dev tap{number} mode tap" for number in range(10, 30)]
        lines += [f"link delete tap{number}" for number in range(10, 30)]
    one_host.namespace.batch([*lines, *lines[:20]])
    until("all are wired", lambda: len(routes(one_host.namespace)) == 40)
    until("nothing is left to do", lambda: wiring.drift() == [])


def test_a_tap_renamed_or_moved_away_is_given_up(one_host: Host) -> None:
    namespace = one_host.namespace
    wiring = one_host.wiring()
    tap(namespace, "tap10")
    assert wiring.want(intent(a=port(10)))["a"]["wired"]
    namespace.run("ip", "link", "set", "tap10", "name", "other0")
    wiring.next_state("a", wired=False)
    until("our work is off the renamed device", lambda: not routes(namespace))
    until("its addresses too", lambda: "10.5.0.1" not in namespace.run("ip", "address"))
    assert namespace.switch("ipv4/conf/other0/proxy_arp") == "0"
    namespace.run("ip", "link", "set", "other0", "name", "tap10")
    wiring.next_state("a", wired=True, problem="")
    away = Namespace(f"{namespace.name}-away")
    try:
        namespace.run("ip", "link", "set", "tap10", "netns", away.name)
        wiring.next_state("a", wired=False)
        assert routes(namespace) == set()
    finally:
        away.remove()


def test_a_tap_in_a_bridge_is_its_ports_problem_alone(one_host: Host) -> None:
    namespace = one_host.namespace
    for name in ("tap10", "tap11"):
        tap(namespace, name)
    namespace.batch(["link add br0 type bridge", "link set tap10 master br0"])
    wiring = one_host.wiring()
    states = wiring.want(intent(a=port(10), b=port(11)))
    assert "is in " in states["a"]["problem"]
    assert states["b"] == {"device": "tap11", "wired": True, "problem": ""}
    assert "10.5.0.1" not in namespace.run("ip", "address", "show", "tap10")
    namespace.run("ip", "link", "set", "tap10", "nomaster")
    wiring.next_state("a", wired=True, problem="")


def test_an_uplink_named_by_mistake_is_left_alone(one_host: Host) -> None:
    namespace = one_host.namespace
    namespace.run("ip", "link", "add", "up1", "type", "bridge")
    before = namespace.run("ip", "-details", "address", "show", "up1")
    states = one_host.wiring().want(intent(a=port(10, device="up1")))
    assert "a device of kind bridge" in states["a"]["problem"]
    assert namespace.run("ip", "-details", "address", "show", "up1") == before


def test_a_foreign_route_is_reported_and_stays(one_host: Host) -> None:
    namespace = one_host.namespace
    tap(namespace, "tap10")
    foreign = ["blackhole 10.5.0.11 proto static", "10.5.0.11 dev lo proto static metric 50"]
    for one in foreign:
        namespace.run("ip", "route", "add", *one.split())
    wiring = one_host.wiring()
    state = wiring.want(intent(a=port(10)))["a"]
    assert not state["wired"]
    assert "is not ours" in state["problem"]
    assert routes(namespace) == {"2001:db8:5::b tap10"}
    namespace.run("ip", "route", "del", "blackhole", "10.5.0.11")
    wiring.next_state("a", wired=True)
    assert "10.5.0.11 tap10" in routes(namespace)
    wiring.want({"host/net/ports/a": None})
    assert routes(namespace) == set()
    assert "metric 50" in namespace.run("ip", "route")


def test_nothing_is_removed_before_all_is_known(one_host: Host) -> None:
    namespace = one_host.namespace
    for name in ("tap10", "tap11"):
        tap(namespace, name)
    first = one_host.wiring()
    first.want(intent(a=port(10), b=port(11)))
    first.kill()
    all_of_them = routes(namespace)
    second = one_host.wiring()
    second.want(intent(a=port(10)), complete=False)
    assert routes(namespace) == all_of_them
    second.want({}, complete=True)
    assert routes(namespace) == {"10.5.0.11 tap10", "2001:db8:5::b tap10"}
    assert second.drift() == []


def test_killed_and_started_again_it_costs_no_packet(one_host: Host) -> None:
    first, _ = one_host.vm(10), one_host.vm(11)
    ports = intent(a=port(10), b=port(11))
    wiring = one_host.wiring()
    wiring.want(ports)
    streams = [one_host.stream(first, "10.5.0.12"), one_host.stream(first, "2001:db8:5::c")]
    for _ in range(3):
        wiring.kill()
        wiring = one_host.wiring()
        assert all(one["wired"] for one in wiring.want(ports).values())
    for stream in streams:
        sent, lost = stream.stop()
        assert sent > 100
        assert lost == []


def test_killed_in_the_middle_it_finishes_when_started_again(one_host: Host) -> None:
    ports = intent(**{f"p{number}": port(number) for number in range(10, 210)})
    one_host.namespace.batch([f"tuntap add dev tap{n} mode tap" for n in range(10, 210)])
    wiring = one_host.wiring()
    assert wiring.process.stdin
    wiring.process.stdin.write(f'{{"want": {json.dumps(ports)}}}\n')
    wiring.process.stdin.flush()
    until("it is at work", lambda: bool(routes(one_host.namespace)))
    wiring.kill()
    states = one_host.wiring().want(ports)
    assert all(one["wired"] for one in states.values())
    assert len(routes(one_host.namespace)) == 400


@pytest.mark.parametrize(
    "harm",
    [
        "ip route del 10.5.0.11",
        "ip -6 route del 2001:db8:5::b",
        "ip address del 10.5.0.1/16 dev tap10",
        "ip -6 address del fe80::a9fe:a9fe/64 dev tap10",
        "ip -6 address del 2001:db8:5::1/64 dev tap10",
        "ip link set tap10 down",
        "ip link set tap10 mtu 1400",
        "ip link set tap10 address 02:00:00:00:99:99",
    ],
)
def test_what_is_broken_is_mended_at_once(one_host: Host, harm: str) -> None:
    tap(one_host.namespace, "tap10")
    wiring = one_host.wiring()
    wiring.want(intent(a=port(10)))
    assert wiring.drift() == []
    os.kill(wiring.process.pid, signal.SIGSTOP)
    one_host.namespace.run(*harm.split())
    broken = one_host.namespace.run("ip", "address") + str(sorted(routes(one_host.namespace)))
    os.kill(wiring.process.pid, signal.SIGCONT)
    until("it is mended", lambda: wiring.drift() == [])
    assert broken != one_host.namespace.run("ip", "address") + str(
        sorted(routes(one_host.namespace))
    )


OLD_LAYOUT = """
from ipaddress import IPv6Address
from socket import if_nametoindex
from chronovisor.net.wiring.netlink import address, message
from chronovisor.net.wiring.netlink.address import NO_DAD, NO_PREFIX_ROUTE, DeviceAddress
from chronovisor.net.wiring.netlink.channel import Channel

tap = if_nametoindex("tap10")
addresses = [
    DeviceAddress(tap, IPv6Address(one), 64, flags, 253, 86)
    for one, flags in (("fe80::1", NO_DAD), ("fe80::a9fe:a9fe", NO_DAD | NO_PREFIX_ROUTE))
]
with Channel() as channel:
    assert not channel.batch([(address.NEW, message.CREATE, one.pack()) for one in addresses])
"""


def test_a_vm_keeps_the_router_it_has_from_an_older_layout(one_host: Host) -> None:
    vm = one_host.vm(10)
    vm.run("ip", "-6", "route", "replace", "::/0", "via", "fe80::1", "dev", "eth0")
    one_host.vm(11)
    one_host.namespace.run("ip", "link", "set", "tap10", "addrgenmode", "none")
    one_host.namespace.run(sys.executable, "-c", OLD_LAYOUT)
    wiring = one_host.wiring()
    wiring.want(intent(a=port(10), b=port(11)))
    for target in ("2001:db8:5::c", "fe80::1%eth0", "fe80::a9fe:a9fe%eth0"):
        assert ping(vm, target) == []
    # the prefix has its route also when the old address goes
    one_host.namespace.run("ip", "address", "del", "fe80::1/64", "dev", "tap10")
    assert ping(vm, "fe80::a9fe:a9fe%eth0") == []
    assert wiring.drift() == []


def test_drift_is_told_of_and_left_as_it_is(one_host: Host) -> None:
    tap(one_host.namespace, "tap10")
    wiring = one_host.wiring()
    wiring.want(intent(a=port(10)))
    switch = "/proc/sys/net/ipv4/conf/tap10/proxy_arp"
    one_host.namespace.run("sh", "-c", f"echo 0 > {switch}")  # the kernel tells nobody of it
    (line,) = wiring.drift()
    assert line.startswith("set tap10: 1 IPv4 settings")
    assert one_host.namespace.switch("ipv4/conf/tap10/proxy_arp") == "0"


def test_events_that_were_lost_are_made_up_for(one_host: Host) -> None:
    namespace = one_host.namespace
    tap(namespace, "tap10")
    wiring = one_host.wiring()
    wiring.want(intent(a=port(10)))
    os.kill(wiring.process.pid, signal.SIGSTOP)
    numbers = [f"198.18.{one >> 8}.{one & 255}" for one in range(40_000)]
    noise = [f"route add blackhole {one}" for one in numbers]
    namespace.batch([*noise, "route del 10.5.0.11"])
    os.kill(wiring.process.pid, signal.SIGCONT)
    until("the route is back", lambda: "10.5.0.11 tap10" in routes(namespace))


def test_rate_limits_hold_both_ways_and_go(one_host: Host) -> None:
    first, second = one_host.vm(10), one_host.vm(11)
    wiring = one_host.wiring()
    limit = {"ingress_kbit_s": 80_000, "egress_kbit_s": 40_000}
    limited = intent(a=port(10), b=port(11, rate_limit=limit))
    assert all(one["wired"] for one in wiring.want(limited).values())
    assert wiring.drift() == []
    assert ping(second, "10.5.0.11", 20) == []
    assert ping(first, "2001:db8:5::c", 20) == []
    queues = one_host.namespace.json("tc", "-json", "-s", "qdisc", "show")
    buckets = {one["dev"]: one for one in queues if one["kind"] == "tbf"}
    assert {one["options"]["rate"] * 8 // 1000 for one in buckets.values()} == {80_000, 40_000}
    assert all(one["packets"] >= 40 for one in buckets.values())
    wiring.want({"host/net/ports/b": port(11)})
    left = one_host.namespace.run("tc", "qdisc", "show")
    assert "tbf" not in left
    assert "ifb" not in one_host.namespace.run("ip", "-details", "link")
    assert ping(second, "10.5.0.11") == []


def test_a_queue_of_others_stays_and_is_told_of(one_host: Host) -> None:
    tap(one_host.namespace, "tap10")
    one_host.namespace.run("tc", "qdisc", "add", "dev", "tap10", "root", "handle", "7:", "htb")
    wiring = one_host.wiring()
    limited = port(10, rate_limit={"ingress_kbit_s": 8000})
    assert "not ours at its root" in wiring.want(intent(a=limited))["a"]["problem"]
    assert wiring.want({"host/net/ports/a": port(10)})["a"]["wired"]
    assert "htb 7:" in one_host.namespace.run("tc", "qdisc", "show")


def test_a_host_forwards_and_still_learns_its_router(one_host: Host) -> None:
    namespace = one_host.namespace
    namespace.batch(["link add up1 type veth peer name up2"])
    namespace.run("sysctl", "-qw", "net.ipv6.conf.up1.accept_ra=1")
    tap(namespace, "tap10")
    one_host.wiring().want(intent(a=port(10)))
    assert namespace.switch("ipv4/ip_forward") == "1"
    assert namespace.switch("ipv6/conf/all/forwarding") == "1"
    assert namespace.switch("ipv6/conf/up1/accept_ra") == "2"
    assert namespace.switch("ipv6/conf/tap10/accept_ra") == "0"


def test_the_machine_outside_is_untouched(one_host: Host) -> None:
    before = run("ip", "-json", "route") + run("ip", "-6", "-json", "route")
    tap(one_host.namespace, "tap10")
    one_host.wiring().want(intent(a=port(10)))
    assert before == run("ip", "-json", "route") + run("ip", "-6", "-json", "route")
