"""Plans of wiring: only what is missing, nothing of others, nothing removed too soon."""

from collections.abc import Sequence
from dataclasses import replace
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Any

import pytest

from chronovisor.net.intent import build
from chronovisor.net.marks import (
    FORMER_LINK_LOCAL,
    GATEWAY_LINK_LOCAL,
    GATEWAY_MAC,
    ROUTE_PROTOCOL,
)
from chronovisor.net.settings import RateLimit
from chronovisor.net.wiring.actions import (
    Action,
    AddAddress,
    AddRoute,
    ChangeLink,
    LimitToVm,
    RemoveAddress,
    RemoveNeighbour,
    RemoveRoute,
    SetNeighbour,
    SetSwitch,
)
from chronovisor.net.wiring.limits import bucket, queue_device
from chronovisor.net.wiring.netlink.address import (
    KERNEL_LINK_LOCAL,
    NO_DAD,
    NO_PREFIX_ROUTE,
    DeviceAddress,
)
from chronovisor.net.wiring.netlink.link import Link
from chronovisor.net.wiring.netlink.neighbour import Neighbour
from chronovisor.net.wiring.netlink.route import SCOPE_LINK, Route
from chronovisor.net.wiring.netlink.traffic import HANDLE, Qdisc
from chronovisor.net.wiring.observed import IPV6_FORWARDING, Observed, proxy_delay
from chronovisor.net.wiring.plan import Plan, plan
from chronovisor.net.wiring.taps import Tap, taps

FRR, BIRD, STATIC = 11, 12, 4
READY = {"ipv4/ip_forward": "1", IPV6_FORWARDING: "1"}


def wanted(*numbers: int, **more: object) -> dict[str, Tap]:
    values: dict[str, Any] = {
        "host/net/networks/net": {
            "mtu": 1400,
            "subnets": [
                {"prefix": "10.5.0.0/16", "gateway": "10.5.0.1"},
                {"prefix": "2001:db8:5::/64", "gateway": "2001:db8:5::fe"},
            ],
        }
    }
    for number in numbers:
        values[f"host/net/ports/p{number}"] = {
            "device": f"tap{number}",
            "mac": f"02:00:00:00:00:{number:02x}",
            "network": "net",
            "addresses": [f"10.5.1.{number}", f"2001:db8:5::{number}"],
        } | more
    intent = build(values)
    assert not intent.refused
    return taps(intent)


def raw(number: int, **more: Any) -> Link:
    """Return a tap as it is when somebody just made it."""
    fresh = Link(
        100 + number, f"tap{number}", mtu=1500, mac="fe:00:00:00:00:01", kind="tun",
        ipv4=(0, 0, 0, 1, 1, 1, 1, 0, 1) + 24 * (0,), ipv6=(0, 64, 1500, 1, 1) + 40 * (0,),
    )  # fmt: skip
    return replace(fresh, **more)


def after(actions: Sequence[Action], observed: Observed) -> Observed:
    """Return what there is when actions were carried out: a kernel in a few lines."""
    links = {one.index: one for one in observed.links.values()}
    addresses = {index: list(them) for index, them in observed.addresses.items()}
    routes = {address: list(them) for address, them in observed.routes.items()}
    neighbours = {index: list(them) for index, them in observed.neighbours.items()}
    switches, qdiscs = dict(observed.switches), dict(observed.qdiscs)
    for action in actions:
        match action:
            case SetSwitch(path=path, value=value):
                switches[path] = value
                _, kind, device, name = path.split("/") if path.count("/") == 3 else [""] * 4
                for link in [*links.values()]:
                    if kind == "conf" and link.name == device:
                        numbers = {"forwarding": 0, "accept_ra": 3, "accept_redirects": 4}
                        six = list(link.ipv6)
                        six[numbers.get(name, 26)] = int(value)
                        links[link.index] = replace(link, ipv6=tuple(six))
            case ChangeLink(change=change):
                link = links[change.index]
                four = list(link.ipv4)
                for number, setting in change.ipv4:
                    four[number - 1] = setting
                said: dict[str, object] = {"up": change.up, "mtu": change.mtu, "mac": change.mac}
                said |= {"ipv6_mode": change.ipv6_mode, "ipv4": tuple(four)}
                given = {key: value for key, value in said.items() if value is not None}
                links[change.index] = replace(link, **given)  # type: ignore[arg-type]  # by name
            case AddAddress(address=one):
                others = [it for it in addresses.get(one.index, []) if it.address != one.address]
                addresses[one.index] = [*others, one]
            case RemoveAddress(address=one):
                addresses[one.index].remove(one)
            case AddRoute(route=one, replace=over):
                there = routes.setdefault(one.destination, [])
                same = [other for other in there if other.metric == one.metric]
                assert bool(same) == over
                routes[one.destination] = [r for r in there if r not in same] + [one]
            case RemoveRoute(route=one):
                routes[one.destination].remove(one)
            case SetNeighbour(neighbour=one):
                them = [n for n in neighbours.get(one.index, []) if n.address != one.address]
                neighbours[one.index] = [*them, one]
            case RemoveNeighbour(neighbour=one):
                neighbours[one.index].remove(one)
            case LimitToVm(index=index, rate=rate):
                qdiscs.pop(index, None)
                if rate.ingress_kbit_s:
                    qdiscs[index] = bucket(index, rate.ingress_kbit_s, rate, links[index].mtu)
    return Observed(
        {one.name: one for one in links.values()},
        {index: tuple(them) for index, them in addresses.items()},
        {address: tuple(them) for address, them in routes.items() if them},
        {index: tuple(them) for index, them in neighbours.items()},
        switches,
        qdiscs,
        observed.redirects,
    )


def seen(*links: Link, **more: Any) -> Observed:
    return Observed({one.name: one for one in links}, **{"switches": dict(READY)} | more)


def wired(*numbers: int) -> Observed:
    """Return a host whose taps are wired."""
    start = seen(*map(raw, numbers))
    return after(plan(wanted(*numbers), start, clean=False).actions, start)


def kinds(made: Plan) -> list[str]:
    return [type(one).__name__ for one in made.actions]


def test_a_plan_carried_out_leaves_nothing_to_do() -> None:
    there = wired(1, 2)
    assert plan(wanted(1, 2), there, clean=True) == Plan()
    tap = there.links["tap1"]
    assert (tap.up, tap.mtu, tap.mac) == (True, 1400, GATEWAY_MAC)
    assert there.switches[proxy_delay("tap1")] == "0"
    assert {str(one.address) for one in there.addresses[101]} == {
        "10.5.0.1", "169.254.169.254", "2001:db8:5::fe", "fe80::a9fe:a9fe",
    }  # fmt: skip


def test_a_port_may_be_wanted_before_its_tap() -> None:
    made = plan(wanted(1), seen(), clean=True)
    assert made == Plan(waiting=frozenset({"p1"}))


def test_a_link_local_gateway_is_one_more_address_unless_it_is_ours() -> None:
    for gateway, count in (("fe80::2", 2), ("fe80::a9fe:a9fe", 1)):
        subnet = {"prefix": "2001:db8:5::/64", "gateway": gateway}
        port = {"device": "tap1", "mac": "02:00:00:00:00:01", "network": "n", "addresses": []}
        intent = build({"host/net/networks/n": {"subnets": [subnet]}, "host/net/ports/p": port})
        assert not intent.refused
        there = taps(intent)["tap1"].addresses
        assert {str(one.address) for one in there} == {"fe80::a9fe:a9fe", gateway}
        assert len(there) == count
        assert [one.on_link for one in there].count(True) == 1


def test_the_router_of_an_older_layout_stays_and_the_prefix_has_its_route() -> None:
    there = wired(1)
    flags = NO_DAD | NO_PREFIX_ROUTE
    old = DeviceAddress(101, FORMER_LINK_LOCAL, 64, NO_DAD, SCOPE_LINK, ROUTE_PROTOCOL)
    ours = next(one for one in there.addresses[101] if one.address == GATEWAY_LINK_LOCAL)
    rest = [one for one in there.addresses[101] if one is not ours]
    before = replace(there, addresses={101: (*rest, old, replace(ours, flags=flags))})
    made = plan(wanted(1), before, clean=True)
    (action,) = made.actions
    assert isinstance(action, AddAddress)
    assert action.address == ours
    assert plan(wanted(1), after(made.actions, before), clean=True) == Plan()
    gone = plan({}, before, clean=True).actions
    assert old in [one.address for one in gone if isinstance(one, RemoveAddress)]


def test_the_tap_comes_up_after_its_settings_and_before_its_routes() -> None:
    made = plan(wanted(1), seen(raw(1)), clean=False)
    names = kinds(made)
    ups = [n for n, one in enumerate(made.actions) if isinstance(one, ChangeLink) and one.change.up]
    assert names.index("SetSwitch") < names.index("ChangeLink") < names.index("AddAddress")
    assert names.index("AddAddress") < ups[0] < names.index("SetNeighbour")
    assert names[-2:] == ["AddRoute", "AddRoute"]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"master": 9}, "tap1 is in br0"),
        ({"kind": ""}, "no virtual device"),
        ({"kind": "vxlan"}, "a device of kind vxlan"),
        ({"ethernet": False}, "no Ethernet"),
    ],
)
def test_a_device_that_is_no_free_tap_stops_its_port_alone(
    change: dict[str, Any], words: str
) -> None:
    bridge = Link(9, "br0", kind="bridge")
    made = plan(wanted(1, 2), seen(bridge, raw(1, **change), raw(2)), clean=True)
    assert words in made.problems["p1"]
    assert {one.port for one in made.actions} == {"p2"}


@pytest.mark.parametrize(("metric", "in_the_way"), [(0, True), (20, False)])
def test_a_foreign_route_is_told_of_and_stays(metric: int, in_the_way: bool) -> None:
    address = IPv4Address("10.5.1.1")
    foreign = Route(address, 32, 9, FRR, metric)
    there = seen(raw(1), Link(9, "eth0"), routes={address: (foreign,)})
    made = plan(wanted(1), there, clean=True)
    said = made.problems if in_the_way else made.warnings
    assert "a route to eth0 of protocol 11" in said["p1"]
    routes = [str(one.route.destination) for one in made.actions if isinstance(one, AddRoute)]
    assert routes == (["2001:db8:5::1"] if in_the_way else ["10.5.1.1", "2001:db8:5::1"])
    assert "RemoveRoute" not in kinds(made)


def test_nothing_is_removed_before_all_is_known() -> None:
    assert plan(wanted(1), wired(1, 2), clean=False) == Plan()


def test_a_port_that_went_is_taken_apart_routes_first_marks_last() -> None:
    made = plan(wanted(1), wired(1, 2), clean=True)
    names = kinds(made)
    assert names[:2] == ["RemoveRoute", "RemoveRoute"]
    assert names[2:5] == ["ChangeLink", "RemoveNeighbour", "RemoveNeighbour"]
    assert set(names[5:]) == {"RemoveAddress"}
    left = after(made.actions, wired(1, 2))
    assert plan(wanted(1), left, clean=True) == Plan()
    tap = left.links["tap2"]
    assert (tap.ipv4_setting(1), tap.ipv4_setting(3)) == (0, 0)


def test_what_others_put_on_a_tap_stays() -> None:
    there = wired(1)
    theirs = DeviceAddress(101, IPv4Address("192.0.2.1"), 24)
    route = Route(IPv4Address("192.0.2.9"), 32, 101, STATIC)
    neighbour = Neighbour(101, IPv4Address("192.0.2.9"), "02:00:00:00:00:99")
    mixed = replace(
        there,
        addresses={101: (*there.addresses[101], theirs)},
        routes={**there.routes, route.destination: (route,)},
        neighbours={101: (*there.neighbours[101], neighbour)},
        qdiscs={101: Qdisc(101, "htb", 0x10000)},
    )
    assert plan(wanted(1), mixed, clean=True) == Plan()
    left = after(plan({}, mixed, clean=True).actions, mixed)
    assert left.addresses[101] == (theirs,)
    assert left.routes == {route.destination: (route,)}
    assert left.neighbours[101] == (neighbour,)


def test_the_kernels_own_link_local_address_goes() -> None:
    made_up = DeviceAddress(101, IPv6Address("fe80::2"), 64, protocol=KERNEL_LINK_LOCAL)
    made = plan(wanted(1), seen(raw(1), addresses={101: (made_up,)}), clean=False)
    assert [one.address for one in made.actions if isinstance(one, RemoveAddress)] == [made_up]


def test_an_address_that_moves_between_ports_is_replaced_in_one_step() -> None:
    there = wired(1, 2)
    swapped = {
        **wanted(1, addresses=["10.5.1.2"]),
        **wanted(2, addresses=["10.5.1.1"]),
    }
    made = plan(swapped, there, clean=True)
    moved = [one for one in made.actions if isinstance(one, AddRoute)]
    assert [(str(one.route.destination), one.device, one.replace) for one in moved] == [
        ("10.5.1.2", "tap1", True),
        ("10.5.1.1", "tap2", True),
    ]
    gone = [str(one.route.destination) for one in made.actions if isinstance(one, RemoveRoute)]
    assert sorted(gone) == ["2001:db8:5::1", "2001:db8:5::2"]
    assert plan(swapped, after(made.actions, there), clean=True) == Plan()


def test_a_route_of_ours_to_a_device_that_a_port_claims_and_cannot_have_stays() -> None:
    there = wired(1)
    bridged = {"tap1": replace(there.links["tap1"], master=9)}
    made = plan(wanted(1), replace(there, links=bridged), clean=True)
    assert made.actions == ()


def test_uplinks_go_on_to_learn_their_router() -> None:
    uplink = Link(3, "eth0", ipv6=(0, 64, 1500, 1))
    there = replace(seen(raw(1), uplink), switches={"ipv4/ip_forward": "0", IPV6_FORWARDING: "0"})
    made = plan(wanted(1), there, clean=False)
    assert [str(one) for one in made.actions[:3]] == [
        "set net/ipv4/ip_forward to 1",
        "set net/ipv6/conf/eth0/accept_ra to 2",
        "set net/ipv6/conf/all/forwarding to 1",
    ]
    assert "set net/ipv4/ip_forward to 1" not in map(str, plan({}, there, clean=True).actions)


def test_a_vm_without_ipv6_finds_none() -> None:
    values = {
        "host/net/networks/net": {"subnets": [{"prefix": "10.5.0.0/16", "gateway": "10.5.0.1"}]},
        "host/net/ports/p": {"device": "tap1", "mac": "02:00:00:00:00:01", "network": "net"},
    }
    made = plan(taps(build(values)), seen(raw(1)), clean=False)
    assert "set net/ipv6/conf/tap1/disable_ipv6 to 1" in map(str, made.actions)
    assert all(
        one.address.address.version == 4 for one in made.actions if isinstance(one, AddAddress)
    )


@pytest.mark.parametrize(
    ("more", "strict"),
    [
        ({}, 1),
        ({"port_security": False}, 0),
        ({"allowed_address_pairs": [{"prefix": "10.5.9.0/24"}]}, 0),
    ],
)
def test_sources_are_checked_strictly_unless_others_are_allowed(
    more: dict[str, object], strict: int
) -> None:
    assert dict(wanted(1, **more)["tap1"].ipv4)[8] == strict


class TestRateLimits:
    def test_both_directions_are_made_changed_and_removed(self) -> None:
        there = wired(1)
        limit = {"ingress_kbit_s": 8000, "egress_kbit_s": 4000}
        bounded = wanted(1, rate_limit=limit)
        made = plan(bounded, there, clean=False)
        assert kinds(made) == ["LimitToVm", "LimitFromVm"]
        rate = RateLimit(ingress_kbit_s=8000, egress_kbit_s=4000)
        ifb = Link(500, queue_device(101), up=True, kind="ifb")
        bounds = {101: bucket(101, 8000, rate, 1400), 500: bucket(500, 4000, rate, 1400)}
        done = replace(
            there, links={**there.links, ifb.name: ifb}, qdiscs=bounds, redirects={101: 500}
        )
        assert plan(bounded, done, clean=True) == Plan()
        faster = wanted(1, rate_limit=limit | {"egress_kbit_s": 5000})
        assert kinds(plan(faster, done, clean=True)) == ["LimitFromVm"]
        burst = wanted(1, rate_limit=limit | {"burst_kbyte": 64})
        assert kinds(plan(burst, done, clean=True)) == ["LimitToVm", "LimitFromVm"]
        assert kinds(plan(wanted(1), done, clean=True)) == ["LimitToVm", "LimitFromVm"]
        gone = plan({}, done, clean=True)
        assert {"LimitToVm", "LimitFromVm"} <= set(kinds(gone))

    def test_the_ifb_of_a_tap_that_went_goes(self) -> None:
        ifb = Link(500, queue_device(77), up=True, kind="ifb")
        made = plan({}, seen(ifb), clean=True)
        assert [(type(one).__name__, getattr(one, "index", 0)) for one in made.actions] == [
            ("LimitFromVm", 77)
        ]
        assert plan({}, seen(replace(ifb, kind="veth")), clean=True) == Plan()

    @pytest.mark.parametrize(("kbit_s", "limit"), [(8, 131_072 + 50), (400_000_000, 2_500_131_072)])
    def test_a_bucket_holds_its_burst_and_50_ms(self, kbit_s: int, limit: int) -> None:
        made = bucket(1, kbit_s, RateLimit(), 1500)
        assert (made.limit_byte, made.handle) == (limit, HANDLE)


def test_every_action_says_what_and_why() -> None:
    there = wired(1)
    for made in (plan(wanted(1), seen(raw(1)), clean=True), plan({}, there, clean=True)):
        assert all(str(one) and one.reason for one in made.actions)
    assert there.routes[ip_address("10.5.1.1")][0].protocol == ROUTE_PROTOCOL
