"""What VMs are told: options of dnsmasq, their limits, leases and releases."""

import shutil
import subprocess
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chronovisor.net.dhcp import leases, options, release
from chronovisor.net.dhcp.leases import Lease
from chronovisor.net.dhcp.place import Place
from chronovisor.net.dhcp.wanted import problems, want
from chronovisor.net.intent import Intent, build
from chronovisor.net.settings import HostRoute, Network, Port

WHERE = "host/net/networks/net"


def network(**subnet: Any) -> Network:
    plain = {"prefix": "10.0.0.0/16", "gateway": "10.0.0.1"}
    return Network.model_validate({"subnets": [plain | subnet]})


def told(given: Network, **more: Any) -> list[str]:
    port = Port.model_validate(
        {"device": "tap1", "mac": "02:00:00:00:00:01", "network": "net"} | more
    )
    return options.lines(port, given, given.subnets[0]).splitlines()


def test_a_plain_network() -> None:
    assert told(network()) == [
        "tag:tap1,option:netmask,255.255.0.0",
        "tag:tap1,28,10.0.255.255",
        "tag:tap1,option:router,10.0.0.1",
        "tag:tap1,option:mtu,1500",
    ]


def test_a_host_name_is_never_read_as_a_number() -> None:
    assert 'tag:tap1,12,"3600"' in told(network(), hostname="3600")


def test_a_prefix_of_two_has_no_broadcast_address_of_its_own() -> None:
    given = network(prefix="10.0.0.0/31", gateway="10.0.0.0")
    assert "tag:tap1,28,255.255.255.255" in told(given)


def test_routes_bring_the_default_route_along() -> None:
    routes = [HostRoute.model_validate({"destination": "10.9.128.0/17", "next_hop": "10.0.0.2"})]
    encoded = options.classless_routes(routes, IPv4Address("10.0.0.1"))
    assert encoded == bytes((0, 10, 0, 0, 1, 17, 10, 9, 128, 10, 0, 0, 2))  # RFC 3442


def test_a_default_route_of_the_settings_is_the_only_one() -> None:
    routes = [HostRoute.model_validate({"destination": "0.0.0.0/0", "next_hop": "10.0.0.2"})]
    assert options.classless_routes(routes, IPv4Address("10.0.0.1")) == bytes((0, 10, 0, 0, 2))


@pytest.mark.parametrize(("setting", "code"), [("dns_servers", 6), ("ntp_servers", 42)])
def test_too_many_servers_are_left_out_and_named(setting: str, code: int) -> None:
    for count, fits in ((50, True), (63, True), (64, False)):
        given = network(**{setting: [f"192.168.100.{100 + number}" for number in range(count)]})
        lines = told(given)
        assert any(f",{code}," in line for line in lines) is fits
        assert all(len(line) < 1000 for line in lines)
        named = [one for one in options.problems(WHERE, given) if one.where.endswith(setting)]
        assert bool(named) is not fits


def test_too_many_routes_are_left_out_and_named() -> None:
    routes = [{"destination": f"10.{n}.0.0/16", "next_hop": "10.0.0.2"} for n in range(40)]
    given = network(host_routes=routes)
    assert not any(",121," in line for line in told(given))
    assert any(one.where == f"{WHERE}: subnets[0].host_routes" for one in problems_of(given))


def test_an_answer_that_small_clients_cannot_take_is_named() -> None:
    servers = [f"192.0.2.{number}" for number in range(1, 41)]
    (problem,) = problems_of(network(dns_servers=servers, ntp_servers=servers))
    assert problem.where == f"{WHERE}: subnets[0]"
    assert "at most 308 bytes" in problem.valid
    assert problems_of(network(dns_servers=servers[:3])) == []


def problems_of(given: Network) -> list[Any]:
    return problems(Intent(networks={"net": given}))


def test_ipv6_that_cannot_be_told_is_named() -> None:
    given = {
        "subnets": [
            {
                "prefix": "2001:db8::/60",
                "gateway": "fe80::1",
                "ra_mode": "slaac",
                "dns_servers": [f"2001:db8::{number:x}" for number in range(1, 30)],
                "host_routes": [{"destination": "2001:db8:9::/48", "next_hop": "2001:db8::9"}],
            }
        ]
    }
    assert [one.where.removeprefix(f"{WHERE}: subnets[0].") for one in problems_of(
        Network.model_validate(given)
    )] == ["dns_servers", "host_routes[0].next_hop", "ra_mode"]  # fmt: skip


def test_leases_are_read_and_the_rest_passed_over() -> None:
    text = (
        "1795242895 02:00:00:00:00:0A 192.168.5.10 web 01:02:00:00:00:00:0a\n"
        "0 02:00:00:00:00:0b 10.0.0.2 * *\n"
        "duid 00:01:00:01:32:93\n1795242685 7 2001:db8::10 * 00:03\n1795242895 02:00:00:0"
    )
    assert leases.parse(text) == (
        Lease(
            IPv4Address("192.168.5.10"),
            "02:00:00:00:00:0a",
            1795242895,
            bytes.fromhex("010200000000 0a"),
        ),
        Lease(IPv4Address("10.0.0.2"), "02:00:00:00:00:0b", 0),
    )


@given(st.text(max_size=200))
def test_any_lease_file_is_read(text: str) -> None:
    leases.parse(text)


def test_a_release_is_in_the_client_s_name() -> None:
    packet = release.pack(Lease(IPv4Address("10.0.0.2"), "02:00:00:00:00:0b", 0, b"\1id"))
    assert packet[12:16] == bytes((10, 0, 0, 2))
    assert packet[28:34] == bytes.fromhex("02000000000b")
    server = bytes((127, 0, 0, 1))
    expected = bytes((53, 1, 7, 54, 4)) + server + b"\x3d\3\1id" + bytes((82, 6, 11, 4)) + server
    assert packet[240:] == expected + b"\xff"


_LABEL = st.from_regex(r"[A-Za-z0-9]([A-Za-z0-9-]{0,10}[A-Za-z0-9])?", fullmatch=True)
_ADDRESS = st.ip_addresses(v=4).map(str)


@pytest.mark.skipif(shutil.which("dnsmasq") is None, reason="dnsmasq is not installed")
def test_dnsmasq_takes_whatever_the_settings_allow(tmp_path: Path) -> None:
    """All kinds of settings in one dry run, which names every line it would refuse."""
    lines: list[str] = []

    @given(
        st.lists(_ADDRESS, max_size=80),
        st.lists(_ADDRESS, max_size=80),
        st.lists(st.tuples(st.integers(0, 32), _ADDRESS, _ADDRESS), max_size=60),
        st.lists(_LABEL, min_size=1, max_size=4),
        st.one_of(_LABEL, st.sampled_from(["ignore", "infinite", "1h", "123", "set", "tag"])),
        st.from_regex(r"[A-Za-z0-9_.-]{1,15}", fullmatch=True),
        st.integers(1280, 65520),
    )
    def collect(
        dns: list[str],
        ntp: list[str],
        routes: list[tuple[int, str, str]],
        domain: list[str],
        hostname: str,
        device: str,
        mtu: int,
    ) -> None:
        subnet = {
            "prefix": "10.0.0.0/16",
            "gateway": "10.0.0.1",
            "dns_servers": dns,
            "ntp_servers": ntp,
            "host_routes": [
                {"destination": _network(to, length), "next_hop": by} for length, to, by in routes
            ],
        }
        values = {
            WHERE: {"subnets": [subnet], "domain": ".".join(domain), "mtu": mtu},
            "host/net/ports/a": {
                "device": device,
                "mac": "02:00:00:00:00:01",
                "network": "net",
                "addresses": ["10.0.0.2"],
                "hostname": hostname,
            },
        }
        files = want(build(values), Place(Path("/x"))).files
        lines.extend(
            f"dhcp-option={line}" for line in files.get(Path("/x/options/a"), "").splitlines()
        )

    collect()
    assert lines
    assert max(map(len, lines)) <= 1023
    file = tmp_path / "all.conf"
    file.write_text("\n".join(lines))
    done = subprocess.run(
        ["dnsmasq", "--test", f"--conf-file={file}"], capture_output=True, text=True, check=False
    )
    assert done.stderr.strip().endswith("syntax check OK.")


def _network(address: str, length: int) -> str:
    number = int(IPv4Address(address)) >> (32 - length) << (32 - length)
    return f"{IPv4Address(number)}/{length}"
