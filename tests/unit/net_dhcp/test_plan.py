"""The plan: what goes goes first, what comes comes last, and nothing is done twice."""

from dataclasses import replace
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chronovisor.net.dhcp import plan as plans
from chronovisor.net.dhcp.leases import Lease
from chronovisor.net.dhcp.place import DNSMASQ, NAMES, RESPONDER, Place
from chronovisor.net.dhcp.plan import (
    Action,
    MarkReload,
    Observed,
    ReleaseLease,
    Reload,
    RemoveFile,
    RestartDaemon,
    StartDaemon,
    StopDaemon,
    WriteFile,
    plan,
)
from chronovisor.net.dhcp.wanted import Wanted, want
from chronovisor.net.intent import Intent, build

AT = Place(Path("/x"))
DUAL = {
    "subnets": [
        {"prefix": "10.0.0.0/16", "gateway": "10.0.0.1"},
        {"prefix": "2001:db8::/64", "gateway": "fe80::1"},
    ]
}


def port(number: int, **more: object) -> dict[str, Any]:
    return {
        "device": f"tap{number}",
        "mac": f"02:00:00:00:00:{number:02x}",
        "network": "net",
        "addresses": [f"10.0.1.{number}", f"2001:db8::{number}"],
    } | more


def intent(**ports: object) -> Intent:
    return build(
        {"host/net/networks/net": DUAL}
        | {f"host/net/ports/{name}": value for name, value in ports.items()}
    )


def after(wanted: Wanted, *leases: Lease) -> Observed:
    """Return what is there once `wanted` was applied."""
    return Observed(wanted.files, leases, {one.name: one.generation for one in wanted.daemons})


def kinds(actions: list[Action]) -> list[str]:
    return [type(one).__name__ for one in actions]


def lease(number: int, mac: int) -> Lease:
    return Lease(IPv4Address(f"10.0.1.{number}"), f"02:00:00:00:00:{mac:02x}", 0)


NOTHING = Observed({}, (), {})


def test_cold_start_writes_all_then_starts() -> None:
    actions = plan(want(intent(a=port(1)), AT), NOTHING, AT)
    assert kinds(actions) == ["WriteFile"] * 3 + ["StartDaemon"] * 2
    assert [str(one) for one in actions] == [
        "write /x/options/a", "write /x/hosts/a", "write /x/ipv6/a",
        "start net-dhcp", "start net-ipv6",
    ]  # fmt: skip


def test_nothing_to_do_when_all_is_as_wanted() -> None:
    wanted = want(intent(a=port(1)), AT)
    assert plan(wanted, after(wanted, lease(1, 1)), AT) == []


def test_an_addition_needs_no_reload() -> None:
    before = after(want(intent(a=port(1)), AT))
    actions = plan(want(intent(a=port(1), b=port(2)), AT), before, AT)
    assert kinds(actions) == ["WriteFile"] * 3
    assert {one.path.name for one in actions if isinstance(one, WriteFile)} == {"b"}


def test_an_address_that_moves_is_freed_before_it_is_given() -> None:
    before = after(want(intent(a=port(1)), AT), lease(1, 1))
    moved = intent(b=port(2, addresses=["10.0.1.1"]))
    actions = plan(want(moved, AT), before, AT)
    assert kinds(actions) == [
        "MarkReload", "RemoveFile", "RemoveFile", "RemoveFile", "Reload", "ReleaseLease",
        "WriteFile", "WriteFile", "WriteFile",
    ]  # fmt: skip


def test_a_changed_file_needs_a_reload() -> None:
    before = after(want(intent(a=port(1)), AT))
    actions = plan(want(intent(a=port(1, hostname="web")), AT), before, AT)
    assert kinds(actions) == ["MarkReload", "WriteFile", "WriteFile", "Reload"]


def test_a_change_of_ipv6_alone_leaves_dnsmasq_alone() -> None:
    before = after(want(intent(a=port(1)), AT))
    changed = intent(a=port(1, addresses=["10.0.1.1", "2001:db8::77"]))
    assert [str(one) for one in plan(want(changed, AT), before, AT)] == ["write /x/ipv6/a"]


def test_a_reload_that_was_cut_off_follows() -> None:
    wanted = want(intent(a=port(1)), AT)
    observed = replace(after(wanted), reload_pending=True)
    assert kinds(plan(wanted, observed, AT)) == ["Reload"]


@pytest.mark.parametrize(
    ("held", "reason"),
    [(lease(9, 9), "no port has this address"), (lease(1, 9), "belongs to 02:00:00:00:00:01 now")],
)
def test_leases_of_nobody_are_released(held: Lease, reason: str) -> None:
    wanted = want(intent(a=port(1)), AT)
    (action,) = plan(wanted, after(wanted, held), AT)
    assert isinstance(action, ReleaseLease)
    assert reason in action.reason
    # dnsmasq must run to be told
    stopped = replace(after(wanted, held), daemons={RESPONDER: wanted.daemons[1].generation})
    assert kinds(plan(wanted, stopped, AT)) == ["StartDaemon"]


def test_one_port_s_change_looks_at_that_port_alone() -> None:
    whole = intent(a=port(1), b=port(2))
    before = after(want(whole, AT), lease(1, 1))
    some = replace(
        before, files={path: it for path, it in before.files.items() if path.name == "b"}
    )
    assert plan(want(whole, AT, ["b"]), some, AT) == []
    assert kinds(plan(want(intent(a=port(1)), AT, ["b"]), some, AT)) == [
        "MarkReload", "RemoveFile", "RemoveFile", "RemoveFile", "Reload",
    ]  # fmt: skip


def test_a_device_beyond_the_patterns_restarts_dnsmasq() -> None:
    before = after(want(intent(a=port(1)), AT))
    actions = plan(want(intent(a=port(1), b=port(2, device="enp3s0f1v2")), AT), before, AT)
    assert isinstance(actions[-1], RestartDaemon)
    assert "--interface=enp3s0f1v2" in actions[-1].spec.argv
    assert "--interface=tap2" not in actions[-1].spec.argv


def test_daemons_end_with_their_last_network() -> None:
    before = after(want(intent(a=port(1)), AT))
    actions = plan(want(build({}), AT), before, AT)
    assert [one.name for one in actions if isinstance(one, StopDaemon)] == [RESPONDER, DNSMASQ]


def test_dns_is_a_daemon_of_its_own() -> None:
    wanted = want(intent(a=port(1, hostname="web")), Place(Path("/x"), dns=True))
    assert [one.name for one in wanted.daemons] == [DNSMASQ, RESPONDER, NAMES]
    assert "--port=0" in wanted.daemons[0].argv
    assert wanted.files[Path("/x/names/a")] == "10.0.1.1 web\n2001:db8::1 web\n"
    assert "6,10.0.0.1" in wanted.files[Path("/x/options/a")]


def test_very_many_new_ports_end_with_a_reload(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plans, "MOST_EVENTS", 3)
    before = after(want(intent(), AT))
    actions = plan(want(intent(a=port(1), b=port(2)), AT), before, AT)
    assert kinds(actions) == ["MarkReload", *["WriteFile"] * 6, "Reload"]


@given(st.sets(st.integers(1, 9)), st.sets(st.integers(1, 9)), st.integers(0, 8))
def test_whatever_is_cut_off_the_next_plan_completes(
    before: set[int], now: set[int], cut: int
) -> None:
    """Ports swap addresses at random, and visord dies after any action."""
    old = intent(**{f"p{one}": port(one) for one in before})
    new = intent(**{f"p{one}": port(one, addresses=[f"10.0.1.{10 - one}"]) for one in now})
    observed = after(want(old, AT), *(lease(one, one) for one in before))
    loaded = dict(observed.files)
    wanted = want(new, AT)
    for limit in (cut, None, None):
        for action in plan(wanted, observed, AT)[:limit]:
            observed = _done(action, observed, loaded)
    assert plan(wanted, observed, AT) == []
    assert {path: it for path, it in loaded.items() if path.parent == AT.hosts} == {
        path: it for path, it in wanted.files.items() if path.parent == AT.hosts
    }


def _done(action: Action, observed: Observed, loaded: dict[Path, str]) -> Observed:
    """Return what is there after an action; `loaded` is what dnsmasq knows: it forgets nothing."""
    files = dict(observed.files)
    match action:
        case WriteFile(path, text):
            loaded.setdefault(path, text)
            files[path] = text
        case RemoveFile(path):
            files.pop(path, None)
        case MarkReload():
            return replace(observed, reload_pending=True)
        case Reload():
            loaded.clear()
            loaded.update(files)
            return replace(observed, reload_pending=False)
        case ReleaseLease(given):
            left = tuple(one for one in observed.leases if one != given)
            return replace(observed, leases=left)
        case StartDaemon(spec) | RestartDaemon(spec):
            daemons = {**observed.daemons, spec.name: spec.generation}
            return replace(observed, daemons=daemons)
        case StopDaemon(name):
            rest = {one: it for one, it in observed.daemons.items() if one != name}
            return replace(observed, daemons=rest)
    return replace(observed, files=files)
