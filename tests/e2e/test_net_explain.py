"""`visorctl net explain` and `net trace` as an operator has them: what visord does not mend."""

import contextlib
import json
import os
import signal
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from chronovisor.errors import InvalidInput, NotFound
from visords import until
from vm_hosts import VmHost, reaches, vm_host
from wired_hosts import ping, port

FIRST, SECOND = port(1)["addresses"], port(2)["addresses"]


@pytest.fixture
def host() -> Iterator[VmHost]:
    """Return a host with two VMs that reach each other."""
    with vm_host() as made:
        made.start()
        for number in (1, 2):
            made.vm(number)
            made.add(f"vm{number}", number)
        made.until_wired("vm1", "vm2")
        until("all daemons run", lambda: len(made.worlds()) == 3)
        assert reaches(made.site.vms[1], SECOND[0])
        yield made


def broken(host: VmHost, *words: str) -> str:
    """Return what `net explain` says is broken first, with evidence; exit code 1 says so, too."""
    code, output, errors = host.visord.ctl("net", "explain", *words, "--format", "json")
    found = json.loads(output)["broken"]
    assert (code, errors) == (0 if found is None else 1, "")
    return "" if found is None else f"{found['link']} of {found['end']}: {found['evidence']}"


def is_well(host: VmHost, words: tuple[str, ...]) -> bool:
    return not broken(host, *words)


def test_all_is_well(host: VmHost) -> None:
    for words in (("vm2", "--from", "vm1", "--icmp"), (SECOND[1], "--from", FIRST[1], "--icmp"),
                  ("vm2", "--from", FIRST[0], "--udp", "7000"), ("vm1",),
                  ("169.254.169.254", "--from", "vm1", "--tcp", "80")):  # fmt: skip
        until(f"{words} is well", partial(is_well, host, words))
    shown = host.do("net", "explain", "vm2", "--from", "vm1", "--icmp")
    assert shown.startswith("vm1 to vm2 by icmp echo: nothing is broken\n")
    for link in ("plane", "device", "guest", "dhcp", "route", "firewall", "other rulesets"):
        assert f"\n{link} " in shown


def test_bad_questions_are_refused(host: VmHost) -> None:
    assert "'vm7' is neither" in host.refused("net", "explain", "vm7", code=4)
    both = host.refused("net", "explain", SECOND[1], "--from", FIRST[0])
    assert "10.5.0.2 has IPv4 and 2001:db8:5::3 has IPv6" in both
    assert "tcp/443" in host.refused("net", "explain", "vm1", "--tcp", "0")
    assert "exclude" in host.refused("net", "explain", "vm1", "--tcp", "1", "--icmp")
    assert "'vm7' is neither" in host.refused("net", "trace", "vm7", code=4)


ODD = ("::", "255.255.255.255", "127.0.0.1", "fe80::1%eth0", "fe80::7%tap1", "::ffff:1.2.3.4",
       "ff02::1", "224.0.0.1", "0.0.0.0", "bare", "10.5.0.1", "", "é", "a" * 5000)  # fmt: skip


@pytest.mark.parametrize("service", ["", "icmp", "tcp/x", "tcp/²"])
def test_odd_questions_are_answered_or_refused(host: VmHost, service: str) -> None:
    host.add("bare", 3, addresses=[])
    for target in ODD:
        for source in ("", "vm1", "::1", "bare", "0.0.0.0"):
            with contextlib.suppress(InvalidInput, NotFound):
                query = {"to": target, "from": source, "service": service}
                assert host.client.get("/v1/net/explain", **query)["findings"]


def test_what_visord_does_not_mend_is_named(host: VmHost) -> None:
    ask = ("vm2", "--from", "vm1", "--icmp")
    assert "tcp/443" in broken(host, "vm2", "--tcp", "443")
    host.namespace.run("ip", "rule", "add", "priority", "9", "from", FIRST[0], "prohibit")
    assert "9: from 10.5.0.2/32 prohibit" in broken(host, *ask)
    host.namespace.run("ip", "rule", "delete", "priority", "9")
    table = "table ip docker { chain f { type filter hook forward priority 0; policy drop; }; }"
    host.namespace.run("nft", "-f", "-", text=table)
    assert "chain ip docker f drops it at hook forward" in broken(host, *ask)
    assert ping(host.site.vms[1], SECOND[0], 1) == [0]
    host.namespace.run("nft", "delete", "table", "ip", "docker")
    pid = host.worlds()["net-dhcp"]
    os.kill(pid, signal.SIGSTOP)
    assert "dhcp of vm1" in broken(host, *ask)
    os.kill(pid, signal.SIGCONT)
    host.namespace.batch(["link add br0 type bridge", "link set tap2 master br0"])
    host.until_problem("vm2", "tap2 is in br0")
    assert "device of vm2: tap2 is in br0" in broken(host, *ask)
    host.namespace.run("ip", "link", "delete", "br0")
    host.until_wired("vm1", "vm2")
    assert broken(host, *ask) == ""
    host.do("net", "disable")
    until("it is disabled", lambda: "plane" in broken(host, *ask))


def traces(host: VmHost) -> list[str]:
    """Return the tables by which packets are marked."""
    found = host.namespace.run("nft", "list", "tables").split()
    return [name for name in found if name.startswith("chronovisor-trace")]


def is_following(said: Path) -> bool:
    return "following packets" in said.read_text()


def test_packets_are_followed_through_each_rule(host: VmHost) -> None:
    words = ("net", "trace", "vm2", "--from", "vm1", "--icmp", "--count", "2", "--timeout", "20s")
    with host.visord.following(*words) as (process, said):
        until("it follows", lambda: is_following(said))
        assert len(traces(host)) == 1
        assert ping(host.site.vms[1], FIRST[0].replace("5.0.2", "5.0.1"), 1) == []  # not asked for
        assert ping(host.site.vms[1], SECOND[0], 1) == []
        assert process.wait(20) == 0
        shown = said.read_text()
    assert "packet 1: icmp 10.5.0.2 > 10.5.0.3 type 8 code 0, in tap1\n" in shown
    assert "packet 2: icmp 10.5.0.3 > 10.5.0.2 type 0 code 0, in tap2, out tap1\n" in shown
    assert "iifname . ether saddr . ip saddr @guard4 accept" in shown
    assert "[what security group web lets out, rule 0]" in shown
    assert "[what security group web lets in, rule 2]" in shown
    assert "10.5.0.1" not in shown
    assert shown.endswith("2 packets, 0 dropped\n")
    assert traces(host) == []
    host.until_same()


def test_the_rule_that_drops_is_shown(host: VmHost) -> None:
    words = ("net", "trace", "vm2", "--tcp", "443", "--count", "1", "--timeout", "20s")
    with host.visord.following(*words, "--format", "json") as (process, said):
        until("it follows", lambda: is_following(said))
        connect = "import socket; socket.create_connection(('10.5.0.3', 443), 0.3)"
        host.site.vms[1].run("python3", "-c", connect, check=False)
        assert process.wait(20) == 0
        lines = [line for line in said.read_text().splitlines() if line.startswith("{")]
    steps = [json.loads(line) for line in lines]
    assert {one["packet"] for one in steps} == {1}
    assert steps[0]["headers"].startswith("tcp 10.5.0.2:")
    assert (steps[-1]["chain"], steps[-1]["verdict"]) == ("ingress", "drop")


def test_nothing_is_left_of_a_trace_however_it_ends(host: VmHost) -> None:
    words = ("net", "trace", "vm2", "--timeout", "300s")
    with host.visord.following(*words) as (process, said):
        until("it follows", lambda: is_following(said))
        process.kill()
        until("the table is gone with its reader", lambda: not traces(host))
    with host.visord.following(*words) as (process, said):
        until("it follows", lambda: is_following(said))
        assert len(traces(host)) == 1
        host.visord.stop(signal.SIGKILL)
        until("the table is gone with visord", lambda: not traces(host))
        assert process.wait(20) == 7
    host.visord.start()
    assert reaches(host.site.vms[1], SECOND[0])


def test_only_who_may_write_may_trace(host: VmHost) -> None:
    code, _, errors = host.visord.ctl("net", "trace", "vm2", user=65534)
    assert (code, "not change" in errors) == (6, True)
