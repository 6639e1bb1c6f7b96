"""Others who change nftables are heard at once; our own changes and their tables are no news."""

import asyncio
import select
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from chronovisor.net import plane as planes
from chronovisor.net.firewall import Firewall
from chronovisor.net.firewall import firewall as firewalls
from chronovisor.net.firewall.apply import apply
from chronovisor.net.intent import changed
from chronovisor.net.plane import NetPlane
from chronovisor.net.settings import Metadata, VmNetworking
from chronovisor.worlds import Supervisor
from firewalled_hosts import run

OURS = "inet chronovisor"
TOUCHED = [
    f"delete rule {OURS} egress handle @HANDLE@",
    f"add rule {OURS} egress accept",
    f"flush chain {OURS} input",
    f"delete element {OURS} claimed {{ tap1 }}",
    f"add element {OURS} unguarded {{ tap1 }}",
    f"delete table {OURS}",
    "flush ruleset",
    "flush ruleset\nadd table inet theirs",
    "add rule arp chronovisor input accept",
]
THEIRS = [
    "add table inet theirs",
    "add table ip chronovisor\nadd chain ip chronovisor egress",  # another family: not ours
    "add table inet theirs\nadd chain inet theirs claimed\nadd set inet theirs chronovisor "
    "{ type ifname; }",
]


def heard(firewall: Firewall) -> bool:
    """Return whether there is something to read, now."""
    return bool(select.select([firewall], [], [], 0)[0])


@pytest.mark.parametrize("change", TOUCHED)
def test_a_change_of_ours_by_others_is_heard_and_mended(site: Any, change: str) -> None:
    firewall: Firewall = site.firewall
    site.sync()
    assert firewall.is_untouched()
    if "@HANDLE@" in change:
        listing = run("nft", "-a", "list", "chain", "inet", "chronovisor", "egress")
        handle = next(line for line in listing.splitlines() if "drop" in line).split()[-1]
        change = change.replace("@HANDLE@", handle)
    assert not heard(firewall)
    run("nft", "-f", "-", text=f"{change}\n")
    assert heard(firewall)
    assert not firewall.is_untouched()
    assert not heard(firewall)  # it was taken, and is still remembered:
    assert not firewall.is_untouched()
    assert firewall.sync(site.intent)
    assert firewall.is_untouched()
    assert firewall.plan(site.intent) == []


@pytest.mark.parametrize("change", THEIRS)
def test_changes_of_other_tables_are_no_reason_to_read_everything(site: Any, change: str) -> None:
    firewall: Firewall = site.firewall
    site.sync()
    for _ in range(3):
        run("nft", "-f", "-", text=f"{change}\n")
        assert heard(firewall)
        assert firewall.is_untouched()
        run("nft", "delete", "table", *change.split()[2:4])
        firewall.change(changed(site.intent, {"host/net/ports/vm2": None}))  # news not yet taken
        assert firewall.is_untouched()
        firewall.change(site.intent)
    assert firewall.is_untouched()


def test_our_own_changes_are_no_news(site: Any) -> None:
    firewall: Firewall = site.firewall
    site.sync()
    for _ in range(3):
        firewall.change(changed(site.intent, {"host/net/ports/vm2": None}))
        firewall.change(site.intent)
        assert not heard(firewall)
        assert firewall.is_untouched()


def test_a_change_while_ours_is_made_is_found(site: Any) -> None:
    firewall: Firewall = site.firewall
    site.sync()
    assert firewall.is_untouched()
    run("nft", "flush", "chain", *OURS.split(), "egress")
    firewall.change(changed(site.intent, {"host/net/ports/vm2": None}))
    assert not firewall.is_untouched()


def test_what_is_lost_counts_as_a_change_of_ours(site: Any) -> None:
    firewall: Firewall = site.firewall
    site.sync()
    elements = ", ".join(str(number) for number in range(1, 60_000))
    text = "add table ip theirs\nadd set ip theirs many { type mark; }\n"
    for _ in range(3):
        run("nft", "-f", "-", text=f"{text}add element ip theirs many {{ {elements} }}\n")
        run("nft", "delete", "table", "ip", "theirs")
    assert not firewall.is_untouched()
    site.sync()
    assert firewall.is_untouched()


async def until_rules(count: int) -> None:
    """Wait until our chain `input` has so many rules that name devices."""
    async with asyncio.timeout(60):
        while True:
            look = ("nft", "list", "chain", "inet", "chronovisor", "input")
            process = await asyncio.create_subprocess_exec(
                *look, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL
            )
            said, _ = await process.communicate()
            if said.count(b"iifname") == count:
                return
            await asyncio.sleep(0.02)


def with_plane(base: Path, scenario: Callable[[], Awaitable[None]]) -> None:
    """Run a scenario beside a plane that looks for itself only where it was told to."""

    async def run_both() -> None:
        async with Supervisor(base / "worlds") as supervisor:
            plane = NetPlane(supervisor, base, base, lambda _, __: None)
            plane.want({}, VmNetworking(enabled=True), Metadata(enabled=False))
            running = asyncio.create_task(plane.run())
            await scenario()
            running.cancel()
            await asyncio.wait([running])

    asyncio.run(run_both())


@pytest.fixture
def unprompted(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep planes from looking at everything now and then."""
    for name in ("RECONCILE_S", "RETRY_S"):
        monkeypatch.setattr(planes, name, 1e6)


@pytest.mark.usefixtures("site", "unprompted")
def test_the_plane_mends_at_once_what_it_hears_of(tmp_path: Path) -> None:
    async def scenario() -> None:
        for harm in ("list ruleset", "flush ruleset", "flush chain inet chronovisor input") * 2:
            await until_rules(2)
            run("nft", *harm.split())
        await until_rules(2)

    with_plane(tmp_path, scenario)


@pytest.mark.usefixtures("site", "unprompted")
def test_the_plane_mends_what_was_changed_while_it_loaded_its_rules(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    harms = ["flush chain inet chronovisor input"] * 2  # it makes sure twice at its start

    def apply_and_harm(*words: Any) -> None:
        apply(*words)
        if harms:
            run("nft", *harms[-1].split())
            harms.pop()

    async def scenario() -> None:
        while harms:  # noqa: ASYNC110 - a thread empties it
            await asyncio.sleep(0.01)
        await until_rules(2)

    monkeypatch.setattr(firewalls, "apply", apply_and_harm)
    with_plane(tmp_path, scenario)
