"""One table for the firewall or several: what a change gains, and what every packet pays.

The kernel walks all rules of a table whenever one is added (nft_table_validate), so the same rules
in several tables are walked in less time. But each table has base chains of its own, and a packet
goes through all of them. The least of many tries counts: whatever else runs can only add to it.
docs/design/firewall.md says what follows.
"""

import re
import statistics
import time
from collections.abc import Callable, Iterator
from functools import partial
from ipaddress import IPv4Network

from bench.net_firewall import World
from bench.result import Row, progress, row
from chronovisor.net.firewall import Firewall, messages
from chronovisor.net.firewall.bytecode import attribute, expressions, string, user_data
from chronovisor.net.firewall.messages import APPEND, CREATE, NEW_RULE, REQUEST
from chronovisor.net.firewall.names import INET, TABLE
from chronovisor.net.firewall.netfilter import NetfilterSocket
from chronovisor.net.firewall.plan import merged
from chronovisor.net.firewall.rules import ACCEPT, MatchAddress
from chronovisor.net.firewall.text import part_text
from chronovisor.net.firewall.wanted import Wanted
from chronovisor.net.intent import build
from firewalled_hosts import NETWORK, Host, firewalled_host, inside, new_namespace, run

PORTS = 3000
TABLES = (1, 2, 4, 8, 16)
CHANGES = 25
PACKETS = 40_000
ROUNDS = 5
OTHERS = 50
"""Taps that each further table knows, so that its lookups are those of a filled map."""

_BASE = """table inet {table} {{
  map from_vm {{ type ifname : verdict; }}
  map to_vm {{ type ifname : verdict; }}
  chain forward {{
    type filter hook forward priority -1
    ct state established,related accept
    iifname vmap @from_vm
  }}
  chain postrouting {{
    type filter hook postrouting priority -1
    ct state established,related accept
    oifname vmap @to_vm
  }}
}}
"""


def measure() -> list[Row]:
    """Return what a change costs with the rules in so many tables, and what a packet does."""
    progress(f"{PORTS} ports with groups of their own in several tables")
    whole = part_text(merged(Wanted.of(World(PORTS, PORTS).intent()).parts.values()))
    rows = [_change(whole, tables) for tables in TABLES]
    progress("packets through several tables")
    with firewalled_host() as host:
        return [*rows, *_packets(host)]


def _change(whole: str, tables: int) -> Row:
    """Return what one more rule costs."""
    matches = (MatchAddress("saddr", IPv4Network("192.0.2.0/24")),)
    body = string(1, "part0") + string(2, "group-to-g0") + expressions(matches, ACCEPT)
    rule = body + attribute(7, user_data("walk"))
    packed = [messages.message(NEW_RULE, REQUEST | CREATE | APPEND, INET, rule)]
    with new_namespace() as namespace, inside(namespace):
        run("nft", "-f", "-", text="".join(_divided(whole, tables)))
        with NetfilterSocket() as netfilter:
            taken_s = [_timed(partial(netfilter.commit, packed)) for _ in range(CHANGES)]
    return row(
        f"one more rule, {PORTS} ports with groups of their own, in tables: {tables}",
        min(taken_s) * 1e3,
        "ms",
        goal="10 ms",
        note=f"median {statistics.median(taken_s) * 1e3:.1f} ms",
    )


def _divided(whole: str, tables: int) -> Iterator[str]:
    """Yield a ruleset's chains, rules and verdicts, those of each port in one of some tables."""
    for number in range(tables):
        yield _BASE.format(table=f"part{number}")
    for line in whole.splitlines():
        if found := re.search(r"\b(?:group-)?(?:from|to)-[pg](\d+)", line):
            table = f"part{int(found[1]) % tables}"
            yield line.replace(f"inet {TABLE}", f"inet {table}", 1) + "\n"


def _packets(host: Host) -> Iterator[Row]:
    """Yield what one packet of a known connection costs from one VM to another."""
    one, other = host.add_vm(1), host.add_vm(2)
    rules = [{"direction": direction} for direction in ("ingress", "egress")]
    ports = {
        f"host/net/ports/vm{vm.number}": vm.port(security_groups=["all"]) for vm in (one, other)
    }
    groups = {"host/net/security_groups/all": {"rules": rules}}
    with Firewall() as firewall:
        firewall.sync(build({"host/net/networks/lan": NETWORK, **groups, **ports}))
        sender, receiver = one.udp(one.address4), other.udp(other.address4, 5000)
        sender.sendto(b"one way", (other.address4, 5000))
        receiver.sendto(b"and back", receiver.recvfrom(64)[1])
        sender.recv(64)
        sender.connect((other.address4, 5000))
        found: dict[int, list[float]] = {further: [] for further in (0, *TABLES)}
        for _ in range(ROUNDS):  # in turns: the machine's speed drifts
            for further, costs in found.items():
                costs.append(_packet_ns(further, partial(sender.send, b"x" * 64)))
    alone = min(found[0])
    for further, costs in found.items():
        name = f"a packet from VM to VM, further tables: {further}"
        yield row(name, min(costs), "ns", peer=alone, note="peer: our table alone")


def _packet_ns(further: int, send: Callable[[], object]) -> float:
    """Return the processor time of a packet: all of its way is walked within the call to send."""
    for number in range(further):
        elements = ", ".join(f'"other{one}" : accept' for one in range(OTHERS))
        maps = "".join(
            f"add element inet part{number} {name} {{ {elements} }}\n"
            for name in ("from_vm", "to_vm")
        )
        run("nft", "-f", "-", text=_BASE.format(table=f"part{number}") + maps)
    began_s = time.clock_gettime(time.CLOCK_THREAD_CPUTIME_ID)
    for _ in range(PACKETS):
        send()
    taken_s = time.clock_gettime(time.CLOCK_THREAD_CPUTIME_ID) - began_s
    for number in range(further):
        run("nft", "delete", "table", "inet", f"part{number}")
    return taken_s / PACKETS * 1e9


def _timed(done: Callable[[], object]) -> float:
    before = time.perf_counter()
    done()
    return time.perf_counter() - before
