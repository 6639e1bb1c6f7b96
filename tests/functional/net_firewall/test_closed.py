"""Closed where nobody knows better: taps of nobody, before visord, and whatever it dies of."""

import contextlib
import itertools
import os
import signal
import socket
from collections.abc import Callable
from typing import Any

import pytest

from chronovisor.errors import InvalidInput, ToolFailed
from chronovisor.net.firewall import Firewall, messages, static
from chronovisor.net.firewall.netfilter import NetfilterSocket
from chronovisor.net.firewall.rules import Chain
from chronovisor.net.intent import Intent, build
from firewalled_hosts import (
    ETH_P_ARP,
    ETH_P_IP,
    GATEWAY4,
    Vm,
    arp,
    arrived,
    frame,
    mac_of,
    read_until,
    run,
    udp,
)


def opens(site: Any, stranger: Vm) -> set[str]:
    """Return what of a VM's traffic arrives somewhere: to the host, to a VM, from either."""
    found: set[str] = set()
    raw = stranger.raw()
    seen = site.b.raw()
    host = site.host.open(socket.AF_INET, socket.SOCK_DGRAM)
    host.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    host.bind(("0.0.0.0", 5001))
    gateway = mac_of(stranger)
    asked = arp(1, stranger.mac, stranger.address4, GATEWAY4)
    raw.send(frame("ff:ff:ff:ff:ff:ff", stranger.mac, ETH_P_ARP, asked))
    to_host = udp(stranger.address4, GATEWAY4, (7, 5001), b"to host")
    raw.send(frame(gateway, stranger.mac, ETH_P_IP, to_host))
    to_vm = udp(stranger.address4, site.b.address4, (7, 53), b"to vm")
    raw.send(frame(gateway, stranger.mac, ETH_P_IP, to_vm))
    run(
        "ip", "neighbour", "replace", stranger.address4, "lladdr", stranger.mac, "dev", stranger.tap
    )
    with contextlib.suppress(PermissionError):  # what the firewall drops of the host's own
        host.sendto(b"from host", (stranger.address4, 53))
    site.b.udp(site.b.address4).sendto(b"from vm", (stranger.address4, 53))
    # All that was sent before this has been judged when this has arrived.
    fence = udp(site.a.address4, site.b.address4, (7, 53), b"fence")
    site.a.raw().send(frame(mac_of(site.a), site.a.mac, ETH_P_IP, fence))
    frames = read_until(seen, b"fence")
    if any(b"to vm" in one for one in frames):
        found.add("to vm")
    if arrived(host) == b"to host":
        found.add("to host")
    while (one := arrived(raw)) is not None:
        found |= {word for word in ("from host", "from vm") if word.encode() in one}
        if one[12:14] == b"\x08\x06" and one[20:22] == b"\0\2":
            found.add("arp")
    return found


EVERYTHING = {"to vm", "to host", "arp", "from host", "from vm"}


def test_a_tap_that_no_port_claims_passes_nothing(site: Any) -> None:
    stranger = site.host.add_vm(3)
    assert opens(site, stranger) == EVERYTHING
    site.sync()
    assert opens(site, stranger) == set()


def test_the_static_part_alone_closes_every_tap(site: Any) -> None:
    stranger = site.host.add_vm(3, "tapX-1")
    other = site.host.add_vm(4, "veth4")
    site.sync()  # a and b are needed to see what passes
    run("nft", "-f", "-", text=static.text())
    assert site.firewall.plan(site.intent) == [], "loading it again changes nothing of ports"
    assert opens(site, stranger) == set()
    assert opens(site, other) == EVERYTHING, "only devices of VMs are closed"


def test_patterns_say_which_devices_are_vms(site: Any) -> None:
    stranger = site.host.add_vm(3, "vnet3")
    with Firewall(["tap*", "vnet*"]) as firewall:
        firewall.sync(site.intent)
        assert firewall.plan(site.intent) == []
        assert opens(site, stranger) == set()
    site.sync()
    assert opens(site, stranger) == EVERYTHING, "another static part replaced it"


@pytest.mark.parametrize("pattern", ["*", "lo", "tap*x", "a b", "x" * 16, 'tap" accept'])
def test_patterns_that_would_close_the_host_are_refused(pattern: str) -> None:
    with pytest.raises(InvalidInput):
        Firewall([pattern])


@pytest.mark.parametrize("how", ["disabled", "refused", "removed"])
def test_a_port_that_does_not_hold_is_closed(site: Any, how: str) -> None:
    other = site.host.add_vm(3, "veth3")
    key = "host/net/ports/vm3"
    site.port(other, "open")
    site.sync()
    assert opens(site, other) >= {"to vm", "from vm", "arp"}
    if how == "disabled":
        site.values[key] = site.values[key] | {"enabled": False}
    elif how == "refused":
        site.values[key] = site.values[key] | {"network": "missing"}
    if how == "removed":
        site.values[key] = site.values[key] | {"device": "tap-gone"}
    site.firewall.change(build(site.values))
    assert site.firewall.plan(build(site.values)) == []
    expected = EVERYTHING if how == "removed" else set()
    assert opens(site, other) == expected


FOREIGN = """
table inet mine {
  set blocked { type ipv4_addr; elements = { 192.0.2.66 } }
  chain input { type filter hook input priority 0; policy accept; ip saddr @blocked drop; }
}
table ip nat {
  chain postrouting { type nat hook postrouting priority srcnat; }
}
table arp chronovisor2 {
  chain c { }
}
"""


def test_foreign_rulesets_survive_everything(site: Any) -> None:
    run("nft", "-f", "-", text=FOREIGN)
    tables = (("inet", "mine"), ("ip", "nat"), ("arp", "chronovisor2"))
    before = [run("nft", "list", "table", *one) for one in tables]
    site.sync()
    site.port(site.a, "quiet")
    site.change()
    del site.values["host/net/ports/vm1"]
    site.change()
    with Firewall(["vnet*"]) as firewall:
        firewall.sync(site.intent)
    assert [run("nft", "list", "table", *one) for one in tables] == before


@pytest.mark.parametrize(
    "damage",
    [
        "flush chain inet chronovisor group-to-open",
        "insert rule inet chronovisor group-to-quiet accept",
        "flush map inet chronovisor from_vm",
        'add element inet chronovisor claimed { "tap77" }',
        "flush chain inet chronovisor spoof_check",
        "insert rule inet chronovisor prerouting accept",
        "add chain inet chronovisor from-nobody",
        "flush chain arp chronovisor input",
        "delete table inet chronovisor",
        "delete table arp chronovisor",
        "flush ruleset",
    ],
)
def test_damage_is_seen_and_repaired(site: Any, damage: str) -> None:
    site.sync()
    assert site.firewall.is_untouched()
    run("nft", damage)
    assert not site.firewall.is_untouched()
    with Firewall() as another:
        assert another.plan(site.intent) != []
    site.sync()


def test_a_change_on_a_damaged_ruleset_sets_all_right(site: Any) -> None:
    site.sync()
    run("nft", "flush", "ruleset")
    site.port(site.a, "quiet")
    site.change()
    assert opens(site, site.host.add_vm(3)) == set()


def test_another_process_adopts_what_it_finds(site: Any) -> None:
    site.sync()
    before = run("nft", "-a", "list", "ruleset")
    with Firewall() as another:
        assert another.sync(site.intent) == []
    assert run("nft", "-a", "list", "ruleset") == before, "handles too: nothing was written anew"


def test_a_refused_transaction_changes_nothing(site: Any) -> None:
    site.sync()
    before = run("nft", "list", "ruleset")
    with NetfilterSocket() as netfilter, pytest.raises(ToolFailed, match="ENOENT"):
        netfilter.commit(
            [messages.new_chain(Chain(1, "from-x")), messages.delete_chain(Chain(1, "from-y"))]
        )
    assert run("nft", "list", "ruleset") == before


def die_at(step: int, intent: Intent) -> int:
    """Let a process bring an intent about, killed before its system call `step` to netfilter.

    Returns its status: negative for the signal that ended it.
    """
    child = os.fork()
    if not child:
        with contextlib.suppress(BaseException):  # pytest must not run on in the child
            _sync_mortally(step, intent)
            os._exit(0)
        os._exit(1)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def _sync_mortally(step: int, intent: Intent) -> None:
    steps = itertools.count(1)

    def mortal(real: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any) -> Any:
            if next(steps) == step:
                os.kill(os.getpid(), signal.SIGKILL)
            return real(*args)

        return call

    for name in ("_send", "_receive"):
        setattr(NetfilterSocket, name, mortal(getattr(NetfilterSocket, name)))
    with Firewall() as firewall:
        firewall.sync(intent)


def test_killed_between_any_two_steps_old_or_new_is_there(site: Any) -> None:
    site.sync()
    old = state()
    site.port(site.a, "quiet")
    states: list[str] = []
    status = -signal.SIGKILL
    while status == -signal.SIGKILL:
        status = die_at(len(states) + 1, site.intent)
        states.append(state())
    assert status == 0
    new = states[-1]
    assert (states[0], new) == (old, state())
    assert old != new
    assert all(one in (old, new) for one in states)
    assert states == sorted(states, key=lambda one: one == new), "never back to the old one"
    assert len(states) > 20
    assert site.firewall.plan(site.intent) == []


def state() -> str:
    """Return the ruleset as nft shows it."""
    return run("nft", "list", "ruleset")
