"""The firewall: loads and changes with up to 3,000 ports, beside nft and iptables-restore.

Peers, same rules, same namespace, same run: `nft -f` of the whole ruleset, which is what a tool
that writes files does at every change; one change by the `nft` command; `iptables-restore`
(nf_tables and legacy) of the whole ruleset.

Two worlds. In `shared` the ports have 100 groups of 20 rules between them, as tenants do. In `own`
every port has a group of its own with 20 rules that nobody else has, the worst there is: the
kernel walks all 60,000 rules at each change that adds a rule or a jump (nft_chain_validate), and
nobody is faster than that walk; `walk` is its time alone, one rule added by one bare message.
"""

import os
import resource
import statistics
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from ipaddress import IPv4Address, IPv4Network, IPv6Address

from bench.result import Row, progress, row
from chronovisor.net.firewall import Firewall, messages, static
from chronovisor.net.firewall.bytecode import rule
from chronovisor.net.firewall.netfilter import NetfilterSocket
from chronovisor.net.firewall.plan import merged
from chronovisor.net.firewall.rules import ACCEPT, Chain, MatchAddress, MatchPort, MatchProtocol
from chronovisor.net.firewall.text import part_text
from chronovisor.net.firewall.wanted import Wanted
from chronovisor.net.intent import Intent, build, changed
from chronovisor.net.settings import (
    NETWORKS,
    PORTS,
    SECURITY_GROUPS,
    Direction,
    Network,
    Port,
    Rule,
    SecurityGroup,
    Subnet,
)
from firewalled_hosts import inside, new_namespace

SHARED = 100
COUNTS = (100, 1000, 3000)
CHANGES = 15
MEMBERS = 2000


@dataclass(frozen=True, slots=True)
class World:
    """Ports of a bench: `groups` groups between `ports` ports."""

    ports: int
    groups: int

    def intent(self) -> Intent:
        """Return all settings as an intent."""
        subnets = (
            Subnet(prefix=IPv4Network("10.0.0.0/16"), gateway=IPv4Address("10.0.0.1")),
            Subnet.model_validate({"prefix": "2001:db8::/64", "gateway": "2001:db8::1"}),
        )
        values: dict[str, object] = {f"{NETWORKS}/lan": Network(subnets=subnets)}
        for number in range(self.groups):
            values[f"{SECURITY_GROUPS}/g{number}"] = group(number)
        for number in range(self.ports):
            values[f"{PORTS}/p{number}"] = self.port(number)
        intent = build(values)
        assert not intent.refused
        return intent

    def port(self, number: int) -> Port:
        """Return a port with an address of each family."""
        return Port(
            device=f"tap{number}",
            mac=f"02:00:00:00:{number >> 8:02x}:{number & 255:02x}",
            network="lan",
            addresses=(
                IPv4Address(f"10.0.{number + 2 >> 8}.{number + 2 & 255}"),
                IPv6Address(f"2001:db8::{number + 2:x}"),
            ),
            security_groups=(f"g{number % self.groups}",),
        )


def group(number: int) -> SecurityGroup:
    """Return a group of 20 rules that no other group has."""
    return SecurityGroup(
        rules=tuple(
            Rule.model_validate(
                {
                    "direction": direction,
                    "protocol": "tcp",
                    "port_min": 1000 + number + place,
                    "port_max": 2000 + number + place,
                    "remote_prefix": f"10.{place}.0.0/16",
                }
            )
            for direction in Direction
            for place in range(10)
        )
    )


def measure() -> list[Row]:
    """Return the figures of both worlds."""
    rows: list[Row] = []
    for count in COUNTS:
        progress(f"firewall with {count} ports in shared groups")
        rows += _in_namespace(partial(_changes, World(count, SHARED), "shared"))
    most = COUNTS[-1]
    progress(f"firewall with {most} ports, each with a group of its own")
    rows += _in_namespace(lambda: _changes(World(most, most), "own"))
    progress("firewall beside iptables-restore")
    return rows + _in_namespace(lambda: _iptables(World(most, most)))


def _in_namespace(measured: Callable[[], list[Row]]) -> list[Row]:
    with new_namespace() as namespace, inside(namespace):
        return measured()


def _changes(world: World, name: str) -> list[Row]:
    intent = world.intent()
    text = static.text() + part_text(merged(Wanted.of(intent).parts.values()))
    whole_s = _timed(lambda: _run("nft", "-f", "-", text=text))
    again_s = _timed(lambda: _run("nft", "-f", "-", text=f"flush ruleset\n{text}"))
    _run("nft", "flush", "ruleset")
    what = f"{world.ports} ports, {name} groups"
    with Firewall() as firewall:
        load_s = _timed(lambda: firewall.sync(intent))
        goal = "5 s" if name == "own" else ""
        rows = [row(f"load, {what}", load_s, "s", goal=goal, peer=whole_s, note="nft -f")]
        with Firewall() as next_one:
            adopt_s = _timed(lambda: next_one.sync(intent))
        rows.append(row(f"restart: read and agree, {what}", adopt_s, "s"))
        rows += _one_by_one(firewall, world, intent, what, again_s)
        if world.ports == COUNTS[-1]:
            rows.append(_remote_group(firewall, intent, what))
    peak_mib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return [*rows, row(f"peak memory so far, {what}", peak_mib, "MiB")]


def _one_by_one(
    firewall: Firewall, world: World, intent: Intent, what: str, whole_s: float
) -> list[Row]:
    """Return what single changes cost: a port that comes, one that goes, a group's new rule."""
    added, removed, ruled, judged = [], [], [], []
    for number in range(CHANGES):
        key = f"{PORTS}/x{number}"
        intent = changed(intent, {key: world.port(world.ports + number)})
        added.append(_timed(partial(firewall.change_rules, intent)))
        judged.append(_timed(firewall.end_refused))
        intent = changed(intent, {key: None})
        removed.append(_timed(partial(firewall.change_rules, intent)))
        wider = Rule(direction=Direction.INGRESS, port_min=None, port_max=None)
        rules = (*intent.groups["g1"].rules, wider)[-20 - number % 2 :]
        intent = changed(intent, {f"{SECURITY_GROUPS}/g1": SecurityGroup(rules=rules)})
        ruled.append(_timed(partial(firewall.change_rules, intent)))
        firewall.end_refused()
    walk_s, nft_s = _walk(), _nft_change()
    return [
        _ms(f"a port comes, p50, {what}", added, peer=whole_s, note="nft -f, whole ruleset"),
        _ms(f"a port comes, most, {what}", [max(added)]),
        _ms(f"a port goes, p50, {what}", removed, peer=nft_s, note="nft command, one rule"),
        _ms(f"a group has another rule, p50, {what}", ruled, peer=walk_s, note="walk"),
        _ms(f"connections judged afterwards, p50, {what}", judged, goal=""),
    ]


def _remote_group(firewall: Firewall, intent: Intent, what: str) -> Row:
    """Return how long it takes until a rule names a group of 2,000 members, and they are there."""
    members = tuple(IPv4Network(0xC6120000 + number) for number in range(MEMBERS))
    named = Rule(direction=Direction.INGRESS, remote_group="far")
    values = {
        f"{SECURITY_GROUPS}/far": SecurityGroup(members=members),
        f"{SECURITY_GROUPS}/g1": SecurityGroup(rules=(named,)),
    }
    intent = changed(intent, values)
    taken_s = _timed(lambda: firewall.change(intent))
    return row(f"a remote group of {MEMBERS} members, {what}", taken_s * 1e3, "ms", goal="1000 ms")


def _walk() -> float:
    """Return what the kernel needs for one more rule in a chain that is reached from a hook."""
    matches = (
        MatchAddress("saddr", IPv4Network("192.0.2.0/24")),
        MatchProtocol(6),
        MatchPort(1, 2),
    )
    packed = list(messages.new_rules(Chain(1, "group-to-g2"), [rule(matches, ACCEPT, "walk")]))
    with NetfilterSocket() as netfilter:
        return statistics.median(_timed(lambda: netfilter.commit(packed)) for _ in range(7))


def _nft_change() -> float:
    """Return what the nft command needs for one more rule."""
    words = "add rule inet chronovisor group-to-g2 tcp dport 1 accept"
    return statistics.median(_timed(lambda: _run("nft", words)) for _ in range(5))


def _iptables(world: World) -> list[Row]:
    """Return full loads of the same groups by iptables-restore; our load is the row above."""
    lines = ["*filter", ":FORWARD DROP [0:0]"]
    rules: list[str] = []
    for number in range(world.ports):
        for letter, side, flag in (("i", "-s", "-o"), ("o", "-d", "-i")):
            lines.append(f":{letter}{number} - [0:0]")
            rules.append(f"-A FORWARD {flag} tap{number} -j {letter}{number}")
            rules += [
                f"-A {letter}{number} {side} 10.{place}.0.0/16 -p tcp"
                f" --dport {1000 + number + place}:{2000 + number + place} -j ACCEPT"
                for place in range(10)
            ]
    text = "\n".join([*lines, *rules, "COMMIT", ""])
    rows: list[Row] = []
    with Firewall() as firewall:
        intent = world.intent()
        ours_s = _timed(lambda: firewall.sync(intent))
    _run("nft", "flush", "ruleset")
    for kind in ("iptables-nft-restore", "iptables-legacy-restore"):
        taken = _timed(partial(_run, kind, text=text))
        rows.append(
            row(
                f"load, {world.ports} ports, own groups, {kind}",
                ours_s,
                "s",
                peer=taken,
                note="whole ruleset",
            )
        )
    return rows


def _ms(
    name: str,
    taken_s: list[float],
    *,
    goal: str = "10 ms",
    peer: float | None = None,
    note: str = "",
) -> Row:
    value = statistics.median(taken_s) * 1e3
    return row(name, value, "ms", goal=goal, peer=peer and peer * 1e3, note=note)


def _timed(done: Callable[[], object]) -> float:
    before = time.perf_counter()
    done()
    return time.perf_counter() - before


def _run(*words: str, text: str = "") -> None:
    environment = {**os.environ, "PATH": f"{os.environ['PATH']}:/usr/sbin:/sbin"}
    subprocess.run(words, input=text, text=True, check=True, env=environment, capture_output=True)
