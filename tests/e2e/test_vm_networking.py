"""VM networking as a user has it: a visord, visorctl, taps, and VMs that talk through them."""

import json
import re
import signal
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from ipaddress import IPv4Address
from typing import Any

import pytest
from pydantic import BaseModel, ConfigDict

from chronovisor.config import Change, ConfigStore, Registry, SqliteBackend
from chronovisor.errors import InvalidInput
from chronovisor.net.marks import GATEWAY_MAC
from dhcp_guests import ACK, Guest, Nobody
from visords import until
from vm_hosts import GROUPS, SHOUT, Datagrams, VmHost, curl, reaches, vm_host, web
from wired_hosts import NETWORK, mac, ping, port


class Anything(BaseModel):
    model_config = ConfigDict(extra="allow")


def lax_registry() -> Registry:
    """Return the keys of VM networking as a release had them that checked nothing."""
    made = Registry()
    for key in ("networks", "security_groups", "ports"):
        made.register(f"host/net/{key}", Anything, instances=True, description="anything")
    return made


ADDRESSES = {number: port(number)["addresses"] for number in range(10)}


@pytest.fixture
def new() -> Iterator[VmHost]:
    """Return a host whose visord is not yet started."""
    with vm_host() as made:
        yield made


@pytest.fixture
def host(new: VmHost) -> VmHost:
    """Return a host that connects VMs and has none yet."""
    return new.start()


def test_vms_reach_each_other_by_routing_alone(host: VmHost) -> None:
    first, second = host.vm(1), host.vm(2)
    host.add("vm1", 1)
    host.add("vm2", 2)
    host.until_wired("vm1", "vm2")
    capture = host.site.capture(second)
    four, six = ADDRESSES[2]
    first.run("python3", "-c", SHOUT, ADDRESSES[1][0], four, mac(2))
    assert (ping(first, four), ping(first, six)) == ([], [])
    frames = capture.stop()
    assert sum("echo request" in frame for frame in frames) == 6
    assert [frame for frame in frames if f" {GATEWAY_MAC} > " not in frame] == []
    assert not any("to all" in frame or "who-has" in frame for frame in frames)
    assert host.health() == ""
    assert host.do("net", "drift") == "nothing differs\n"


def test_a_port_is_wired_when_its_tap_comes_and_waits_when_it_goes(host: VmHost) -> None:
    host.add("early", 1)
    now = host.port("early")
    assert (now["wired"], now["problem"]) == (False, "")
    other = host.vm(2)  # here the tap comes first
    host.add("late", 2)
    for _ in range(2):
        vm = host.vm(1)
        host.until_wired("early", "late")
        assert reaches(vm, ADDRESSES[2][0])
        assert reaches(other, ADDRESSES[1][1])
        host.namespace.run("ip", "link", "delete", "tap1")
        until("the port waits again", lambda: not host.port("early")["wired"])
        host.until_same()
        vm.remove()
    assert "early" in host.do("net", "port", "list")


def test_a_vm_gets_lease_and_options(host: VmHost) -> None:
    host.set(
        "networks",
        "net",
        {
            "subnets": [
                {
                    **NETWORK["subnets"][0],
                    "dns_servers": ["192.0.2.53"],
                    "ntp_servers": ["192.0.2.123"],
                    "host_routes": [{"destination": "198.51.100.0/24", "next_hop": "10.5.0.9"}],
                },
                {**NETWORK["subnets"][1], "dns_servers": ["2001:db8::53"]},
            ],
            "mtu": 1400,
            "domain": "vms.example",
        },
    )
    host.add("vm1", 1, hostname="first")
    guest = host.guest(1)
    host.until_wired("vm1")
    lease = guest.lease()
    assert str(lease.address) == ADDRESSES[1][0]
    expected = {
        1: IPv4Address("255.255.0.0").packed,
        3: IPv4Address("10.5.0.1").packed,
        6: IPv4Address("192.0.2.53").packed,
        12: b"first",
        15: b"vms.example",
        26: (1400).to_bytes(2, "big"),
        42: IPv4Address("192.0.2.123").packed,
    }
    assert {code: lease.options.get(code) for code in expected} == expected
    assert bytes((24, 198, 51, 100, 10, 5, 0, 9)) in lease.options[121]  # RFC 3442
    lease6 = guest.lease6()
    assert [str(one) for one in lease6.addresses] == [ADDRESSES[1][1]]
    assert guest.advertisement()


def test_a_vm_reads_its_own_metadata_alone(host: VmHost) -> None:
    vms = {number: host.vm(number) for number in (1, 2, 3)}
    for number in (1, 2):
        host.add(f"vm{number}", number, instance={"id": f"i-{number}", "user_data": f"of {number}"})
    host.until_wired("vm1", "vm2")
    for number in (1, 2):
        for service in ("169.254.169.254", "[fe80::a9fe:a9fe%25eth0]"):
            where = f"http://{service}/latest/user-data"
            said = until(f"user data of {number} at {where}", partial(curl, vms[number], where))
            assert said == f"of {number}"
    there = "http://169.254.169.254/latest/meta-data/instance-id"
    lies = ("-H", "X-Instance-ID: i-2", "-H", f"X-Forwarded-For: {ADDRESSES[2][0]}")
    assert curl(vms[1], *lies, there) == "i-1"
    vms[1].run("ip", "address", "add", f"{ADDRESSES[2][0]}/16", "dev", "eth0")
    assert curl(vms[1], "--interface", ADDRESSES[2][0], there) == ""
    assert curl(vms[3], there) == ""  # no port claims its tap


def test_a_change_of_groups_cuts_and_opens(host: VmHost) -> None:
    first, second = host.vm(1), host.vm(2)
    host.add("vm1", 1)
    host.add("vm2", 2, security_groups=["quiet"])
    host.until_wired("vm1", "vm2")
    assert ping(first, ADDRESSES[2][0], 1) == [0]
    assert ping(second, ADDRESSES[1][0], 1) == []
    host.change("vm2", security_groups=["web"])
    assert reaches(first, ADDRESSES[2][0])
    stream = host.site.stream(first, ADDRESSES[2][1])
    host.set("security_groups", "web", GROUPS["quiet"])
    until("pings are cut", lambda: ping(first, ADDRESSES[2][0], 1) == [0])
    _, lost = stream.stop()
    assert lost  # an exchange that was under way ends with the rule, too
    host.set("security_groups", "web", GROUPS["web"])
    assert reaches(first, ADDRESSES[2][1])
    assert host.health() == ""


def test_what_no_port_claims_is_closed_and_its_address_is_free_again(host: VmHost) -> None:
    first, unknown = host.guest(1), host.vm(3)
    host.vm(2)
    host.add("vm1", 1)
    host.add("vm2", 2)
    host.until_wired("vm1", "vm2")
    assert str(first.lease().address) == ADDRESSES[1][0]
    for target in (ADDRESSES[2][0], "10.5.0.1", "fe80::a9fe:a9fe%eth0"):
        assert ping(unknown, target, 1) == [0]
    host.do("net", "port", "remove", "vm1")
    host.until_same()
    with pytest.raises(Nobody):
        first.discover(1.0)
    with pytest.raises(Nobody):
        Guest(unknown.name, "eth0", mac(3)).discover(1.0)
    host.add("vm3", 3, addresses=ADDRESSES[1])
    host.until_wired("vm3")
    again = Guest(unknown.name, "eth0", mac(3))
    assert str(again.lease().address) == ADDRESSES[1][0]
    unknown.run("ip", "address", "add", f"{ADDRESSES[1][0]}/16", "dev", "eth0")
    assert reaches(host.site.vms[2], ADDRESSES[1][0])


def test_visord_killed_and_started_again_costs_no_packet(host: VmHost) -> None:
    vms = {number: host.vm(number) for number in (1, 2)}
    for number in (1, 2):
        host.add(f"vm{number}", number)
    host.until_wired("vm1", "vm2")
    until("all worlds run", lambda: len(host.worlds()) == 3)
    worlds = host.worlds()
    assert reaches(vms[1], ADDRESSES[2][0])
    datagrams = Datagrams(vms[1], vms[2], ADDRESSES[2][0], 7000)
    streams = [host.site.stream(vms[1], address) for address in ADDRESSES[2]]
    host.visord.stop(signal.SIGKILL)
    host.visord.start()
    host.until_wired("vm1", "vm2")
    results = [datagrams.stop(), *(one.stop() for one in streams)]
    assert all(sent > 100 for sent, _ in results)
    assert [lost for _, lost in results] == [[], [], []]
    assert host.worlds() == worlds
    assert host.do("net", "drift") == "nothing differs\n"
    assert host.health() == ""


def test_disabled_it_touches_nothing(new: VmHost) -> None:
    host = new
    vms = {number: host.vm(number) for number in (1, 2)}

    def state() -> tuple[str, ...]:
        look = (
            "nft -s list ruleset",
            "sysctl -a --pattern ^net\\.ipv[46]\\.",
            "ip -details address",
            "ip neighbour show nud permanent",
            "ip route show table all proto 86",
            "ip -6 route show table all proto 86",
        )
        said = (host.namespace.run(*words.split()) for words in look)
        # Whether a veth has a carrier, the kernel says some time after it has one.
        return tuple(re.sub("NO-CARRIER,|(qdisc|state) [A-Za-z]+ ", "", one) for one in said)

    before = state()
    host.visord.start()
    host.load({f"host/net/ports/vm{number}": web(number) for number in vms})
    now = host.port("vm1")
    assert (now["wired"], now["problem"]) == (False, "VM networking is disabled on this host")
    assert host.health() == ""
    assert host.drift() == []
    assert "disabled" in host.do("net", "drift")
    assert state() == before
    assert host.worlds() == {}
    host.do("net", "enable")
    host.until_wired("vm1", "vm2")
    assert reaches(vms[1], ADDRESSES[2][0])
    enabled, worlds = state(), host.worlds()
    host.do("net", "disable")
    until("it is disabled", lambda: not host.port("vm1")["wired"])
    host.do("net", "port", "remove", "vm1")
    host.visord.stop()
    host.visord.start()
    assert state() == enabled
    assert host.worlds() == worlds
    assert ping(vms[1], ADDRESSES[2][0]) == []
    other = host.vm(1 + 2)  # comes while nobody looks, and is wired at the next enable
    host.load({"host/net/ports/vm3": web(3)})
    host.do("net", "enable")
    host.until_wired("vm2", "vm3")
    assert reaches(other, ADDRESSES[2][0])
    assert ping(vms[1], ADDRESSES[2][0], 1) == [0]


def test_a_tap_that_comes_while_disabled_is_wired_at_enable(host: VmHost) -> None:
    host.add("vm1", 1)
    host.do("net", "disable")
    until("it is disabled", lambda: "disabled" in host.port("vm1")["problem"])
    vm = host.vm(1)
    host.do("net", "enable")
    host.until_wired("vm1")
    assert ping(vm, "10.5.0.1") == []


def test_dnsmasq_comes_back_with_its_leases(host: VmHost) -> None:
    guest = host.guest(1)
    host.add("vm1", 1)
    host.until_wired("vm1")
    address = guest.lease().address
    pid = host.worlds()["net-dhcp"]
    host.namespace.run("kill", "-9", str(pid))
    until("another dnsmasq runs", lambda: host.worlds().get("net-dhcp", pid) != pid)
    assert guest.request(address) == ACK  # it would be ignored, were the lease forgotten
    assert host.health() == ""


BAD_ONES = ("vm50", "vm51")


def many_ports_and_some_bad_ones() -> dict[str, Any]:
    values: dict[str, Any] = {f"host/net/ports/vm{one}": web(one) for one in range(10, 110)}
    values["host/net/ports/vm50"] = web(50) | {"addresses": ["10.5.0.12"]}  # that of vm11
    values["host/net/ports/vm51"] = web(51) | {"network": "nowhere"}
    values["host/net/ports/vm52"] = web(52) | {"enabled": False}
    return values


def test_a_document_with_bad_ports_is_refused_whole(host: VmHost) -> None:
    before = host.do("config", "export")
    with pytest.raises(AssertionError) as caught:
        host.load(many_ports_and_some_bad_ones())
    said = str(caught.value)
    assert "host/net/ports/vm50: addresses[0]: port vm11 has address 10.5.0.12 already" in said
    assert "host/net/ports/vm51: network: there is no network nowhere that holds" in said
    assert host.do("config", "export") == before
    good = {k: v for k, v in many_ports_and_some_bad_ones().items() if k[-4:] not in BAD_ONES}
    host.load(good)
    assert len(host.client.get("/v1/net/ports")) == len(good)


def test_bad_ports_that_an_older_store_holds_are_named_and_stop_no_other(new: VmHost) -> None:
    host = new
    values = many_ports_and_some_bad_ones()
    values["host/net/ports/vm53"] = web(53) | {"colour": "red", "mac": "02:00", "addresses": None}
    values["host/net/networks/net"] = NETWORK
    values["host/net/security_groups/web"] = GROUPS["web"]
    host.visord.var.mkdir()
    store = ConfigStore(SqliteBackend(host.visord.var / "config.db"), lax_registry())
    store.commit([Change(key, one) for key, one in values.items()], author="an older visord")
    store.close()
    host.start()
    host.vm(10)
    host.vm(12)
    host.until_wired("vm10", "vm12")
    listed = {
        one["id"]: one for one in json.loads(host.do("net", "port", "list", "--format", "json"))
    }
    assert listed.keys() == {f"vm{number}" for number in range(10, 110)}
    assert {name for name, one in listed.items() if one["wired"]} == {"vm10", "vm12"}
    problems = {name: one["problem"] for name, one in listed.items() if one["problem"]}
    assert problems == {
        "vm50": "port vm11 has address 10.5.0.12 already",
        "vm51": "there is no network nowhere that holds",
        "vm53": problems["vm53"],
    }
    assert "colour: Extra inputs" in problems["vm53"]
    assert "mac: " in problems["vm53"]
    shown = host.port("vm53")
    assert (shown["device"], shown["mac"], shown["addresses"]) == ("tap53", "02:00", [])
    assert listed["vm60"]["addresses"] == port(60)["addresses"]
    health = host.health()
    assert "host/net/ports/vm50: addresses[0]: port vm11 has address 10.5.0.12 already" in health
    assert "host/net/ports/vm51: network: there is no network nowhere that holds" in health
    code, output, _ = host.visord.ctl("host", "health")
    assert (code, "vm50" in output) == (1, True)


def test_ports_that_are_added_at_once_are_all_there(host: VmHost) -> None:
    def add(number: int) -> None:
        words = ("--device", f"tap{number}", "--mac", mac(number), "--network", "net")
        host.do("net", "port", "add", f"vm{number}", *words)

    with ThreadPoolExecutor() as hands:
        list(hands.map(add, range(8)))
    assert len(host.client.get("/v1/net/ports")) == 8


def test_ports_that_are_changed_at_once_do_not_refuse_one_another(host: VmHost) -> None:
    for number in range(8):
        host.add(f"vm{number}", number + 1)

    def change(number: int) -> None:
        host.do("net", "port", "set", f"vm{number}", f"hostname=h{number}")
        field = ("announce=never", "port_security=false", "rate_limit.burst_kbyte=64")[number % 3]
        host.do("net", "port", "set", "vm0", field)  # one of them by all, other fields

    with ThreadPoolExecutor() as hands:
        list(hands.map(change, range(8)))
    settings = [
        host.client.get("/v1/config/host/net/ports", instance=f"vm{one}")["value"]
        for one in range(8)
    ]
    assert [one["hostname"] for one in settings] == [f"h{number}" for number in range(8)]
    vm0 = settings[0]
    assert (vm0["announce"], vm0["port_security"]) == ("never", False)
    assert vm0["rate_limit"]["burst_kbyte"] == 64


def test_a_device_that_no_pattern_covers_is_told_of(host: VmHost) -> None:
    host.namespace.batch(["link add vnet7 type veth peer name other7"])
    host.add("vm7", 7, device="vnet7")
    host.until_wired("vm7")
    assert "vnet7 is like none of tap_patterns" in host.health()
    assert "loopback" in host.refused("net", "enable", 'tap_patterns=["lo"]')
    host.do("net", "enable", 'tap_patterns=["tap*", "vnet*"]')
    host.until_wired("vm7")
    until("health is well", lambda: not host.health())
    assert "vnet*" in host.namespace.run("nft", "list", "chain", "inet", "chronovisor", "input")


BAD: list[tuple[dict[str, object], str]] = [
    ({"addresses": ADDRESSES[1]}, "port vm1 has address 10.5.0.2 already"),
    ({"mac": mac(1)}, "port vm1 has mac 02:00:00:00:00:01 already"),
    ({"device": "tap1"}, "port vm1 has device tap1 already"),
    ({"addresses": ["10.6.0.7"]}, "10.6.0.7 is outside its network, which has 10.5.0.0/16"),
    ({"addresses": ["10.5.0.1"]}, "10.5.0.1 is a gateway, which the host answers for"),
    ({"addresses": ["10.5.0.0"]}, "10.5.0.0 is the network address of 10.5.0.0/16"),
    ({"addresses": ["10.5.0"]}, "addresses[0]"),
    ({"network": "nowhere"}, "there is no network nowhere that holds"),
    ({"mac": "01:00:5e:00:00:01"}, "is a group address"),
    ({"mac": "02:00:00"}, "mac"),
    ({"device": "tap/../lo"}, "device"),
    ({"device": "lo"}, "'lo' cannot be a VM's device"),
    ({"hostnam": "x"}, "hostname"),
]


def test_bad_ports_are_refused_each_with_its_reason(host: VmHost) -> None:
    vm = host.vm(1)
    host.add("vm1", 1)
    host.until_wired("vm1")
    before = host.do("config", "export")
    for changes, said in BAD:
        with pytest.raises(InvalidInput) as caught:
            host.add("bad", 2, **changes)
        shown = "\n".join([caught.value.message, *map(str, caught.value.problems)])
        assert said in shown, (changes, shown)
    assert host.do("config", "export") == before
    assert ping(vm, "10.5.0.1", 1) == []
    assert host.health() == ""


def test_ports_by_visorctl(host: VmHost) -> None:
    vm = host.vm(1)
    new_port = ("net", "port", "add", "vm1", "--device", "tap1", "--mac", mac(1), "--group", "web")
    address = ("--address", ADDRESSES[1][0], "--address", ADDRESSES[1][1])
    network = ("--network", "net")
    host.do(*new_port, *network, *address, "hostname=first", "--comment", "the first VM")
    host.until_wired("vm1")
    shown = json.loads(host.do("net", "port", "show", "vm1", "--format", "json"))
    assert (shown["wired"], shown["problem"], shown["settings"]["hostname"]) == (True, "", "first")
    assert "there is a port vm1 already" in host.refused(*new_port, *network, code=5)
    twin = ("net", "port", "add", "vm2", *new_port[4:])
    said = host.refused(*twin, *network, *address)
    for what in ("device tap1", f"mac {mac(1)}", f"address {ADDRESSES[1][0]}"):
        assert f"port vm1 has {what} already" in said
    assert "there is no network nowhere" in host.refused(*twin, "--network", "nowhere")
    host.do("net", "port", "set", "vm1", 'addresses=["10.5.0.77"]')
    host.until_wired("vm1")
    vm.run("ip", "address", "add", "10.5.0.77/16", "dev", "eth0")
    listed = host.do("net", "port", "list")
    assert ["vm1", "tap1", mac(1), "net", "10.5.0.77", "yes"] in map(str.split, listed.splitlines())
    assert "outside" in host.refused("net", "port", "set", "vm1", 'addresses=["192.0.2.1"]')
    for words in (("show", "vm2"), ("remove", "vm2"), ("set", "vm2", "hostname=x")):
        host.refused("net", "port", *words, code=4)
    host.do("net", "port", "remove", "vm1")
    assert host.client.get("/v1/net/ports") == []
    until("its tap is closed", lambda: ping(vm, "10.5.0.1", 1) == [0])


def test_what_happens_to_taps_is_that_ports_trouble_alone(host: VmHost) -> None:
    vms = {number: host.vm(number) for number in (1, 2, 3)}
    host.namespace.batch(["link add br0 type bridge", "link set tap1 master br0"])
    for number in vms:
        host.add(f"vm{number}", number)
    host.until_problem("vm1", "tap1 is in br0", "take it out")
    host.until_wired("vm2", "vm3")
    assert "port vm1: tap1 is in br0" in host.health()
    assert "tap1 is in br0" in host.do("net", "port", "list")
    host.namespace.batch(["link set tap1 nomaster", "link set tap3 name other3"])
    host.until_wired("vm1")
    assert reaches(vms[1], ADDRESSES[2][0])
    until("vm3 waits for its tap", lambda: not host.port("vm3")["wired"])
    assert ping(vms[3], ADDRESSES[2][0], 1) == [0]
    host.namespace.batch(["link set other3 name tap3"])
    host.until_wired("vm3")
    assert reaches(vms[3], ADDRESSES[2][0])


def test_firewall_rules_of_others_stay(new: VmHost) -> None:
    host = new
    theirs = (
        "table inet filter {\n"
        "\tchain input {\n"
        "\t\ttype filter hook input priority filter; policy accept;\n"
        "\t\ttcp dport 9 drop\n"
        "\t}\n"
        "}\n"
    )
    host.namespace.run("nft", "-f", "-", text=theirs)
    host.start()
    vm = host.vm(1)
    host.add("vm1", 1)
    host.until_wired("vm1")
    assert host.namespace.run("nft", "list", "table", "inet", "filter") == theirs
    host.namespace.run("nft", "flush ruleset")  # somebody reloads nftables.service
    until("our rules are back", lambda: "iifname" in host.namespace.run("nft", "list", "ruleset"))
    host.until_same()
    assert ping(vm, "10.5.0.1", 1) == []


def test_a_network_that_goes_takes_its_ports_along_and_health_says_so(host: VmHost) -> None:
    first, second = host.vm(1), host.vm(2)
    host.set("networks", "other", {"subnets": [{"prefix": "10.5.0.0/24", "gateway": "10.5.0.1"}]})
    host.add("vm1", 1)
    host.add("vm2", 2, network="other", addresses=ADDRESSES[2][:1])
    host.until_wired("vm1", "vm2")
    words = ("config", "current", "delete", "-c", "host", "-g", "net", "-k", "networks", "-i")
    host.do(*words, "other")
    host.until_problem("vm2", "there is no network other that holds")
    host.until_same()
    assert "vm2" in host.health()
    assert ping(first, ADDRESSES[2][0], 1) == [0]
    host.set("networks", "other", {"subnets": [{"prefix": "10.5.0.0/24", "gateway": "10.5.0.1"}]})
    host.until_wired("vm2")
    assert reaches(second, ADDRESSES[1][0])
    assert host.health() == ""


def test_one_part_that_fails_stops_no_other(new: VmHost) -> None:
    host = new
    in_the_way = host.visord.var / "dhcp"
    in_the_way.parent.mkdir()
    in_the_way.touch()
    host.start()
    vm = host.vm(1)
    host.add("vm1", 1)
    until("it is wired", lambda: host.port("vm1")["wired"])
    assert reaches(vm, "10.5.0.1")
    until("health says so", lambda: f"dhcp: cannot make {in_the_way}" in host.health())
    metadata = partial(curl, vm, "http://169.254.169.254/latest/meta-data/instance-id")
    assert until("metadata", metadata) == "vm1"
    in_the_way.unlink()
    host.until_same()
    until("health is well", lambda: not host.health())
    assert "net-dhcp" in host.worlds()
