"""NTP through visord: a real chronyd that measures, what is shown of it, what is refused."""

import json
import os
import secrets
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

import ntp_server
from visords import Visord, short_directory

SERVER = "127.0.0.1"
AHEAD_NS = 300_000_000


@pytest.fixture
def inside() -> Iterator[tuple[str, ...]]:
    """Yield the words that lead into a network namespace of the test's own."""
    name = f"ntp-{secrets.token_hex(4)}"
    subprocess.run(["ip", "netns", "add", name], check=True)
    try:
        subprocess.run(["ip", "-n", name, "link", "set", "lo", "up"], check=True)
        yield ("nsenter", f"--net=/run/netns/{name}", "--")  # `ip netns exec` hides the cgroups
    finally:
        subprocess.run(["ip", "netns", "delete", name], check=True)


@pytest.fixture
def host(inside: tuple[str, ...]) -> Iterator[Visord]:
    """Yield a visord that may set no clock, beside an NTP server."""
    with short_directory() as base, ntp_server.running(SERVER, offset_ns=AHEAD_NS, inside=inside):
        visord = Visord(base)
        visord.place = inside
        try:
            yield visord.start()
        finally:
            visord.clear()


def test_ntp_keeps_the_time_is_shown_and_gives_way_to_ptp(host: Visord) -> None:
    server = {"address": SERVER, "min_poll": 0, "max_poll": 1}
    ntp = {"enabled": True, "discipline": "monitor", "ntp_config": {"server": [server]}}
    host.set(protocol="ntp", **ntp)
    now = host.until_status("the server is followed", lambda now: now["state"] == "tracking")
    assert now["ntp"]["offset_ns"] == pytest.approx(-AHEAD_NS, abs=100_000_000)
    assert now["system_clock"]["owner"] == "nobody"
    assert now["last_sync_time"]
    (shown,) = now["ntp"]["servers"]
    assert (shown["name"], shown["state"], shown["falseticker"]) == (SERVER, "selected", False)
    assert "selected" in host.do("clock", "status")
    assert 'chronovisor_system_clock_owner{owner="nobody"} 1.0' in host.do("host", "metrics")
    assert host.do("clock", "plan") == "effect: nothing\n"

    host.set(
        protocol="ptp",
        ptp_config={"port": [{"index": 0, "device": "lo"}]},
        fallback={"enabled": True},
        **ntp,
    )
    now = host.until_status(
        "PTP is looked for, and NTP measured beside it",
        lambda now: now["state"] == "unsynchronized" and now["ntp"]["available"],
    )
    assert host.client.get("/v1/worlds/chronyd")["state"] == "running"
    assert "-x" in host.client.get("/v1/worlds/chronyd")["argv"]
    assert not now["in_fallback_state"]


@pytest.mark.parametrize("sandbox", ["crx", "none"])
def test_a_killed_chronyd_is_back(host: Visord, sandbox: str) -> None:
    """Its pid file outlives it; in a container the next has the same pid, 1, and believed it."""
    ntp = {"enabled": True, "discipline": "monitor", "ntp_config": {"server": [SERVER]}}
    host.set(protocol="ntp", sandbox=sandbox, **ntp)
    for _ in range(2):
        host.until_status("the server is followed", lambda now: now["state"] == "tracking")
        os.kill(host.client.get("/v1/worlds/chronyd")["pid"], signal.SIGKILL)
        host.until_status("its end is seen", lambda now: not now["ntp"]["available"])
    host.until_status("the server is followed", lambda now: now["state"] == "tracking")


def test_a_killed_visord_finds_its_chronyd_again(host: Visord, tmp_path: Path) -> None:
    del tmp_path
    ntp = {"enabled": True, "discipline": "monitor", "ntp_config": {"server": [SERVER]}}
    host.set(protocol="ntp", **ntp)
    host.until_status("the server is followed", lambda now: now["state"] == "tracking")
    pid = host.client.get("/v1/worlds/chronyd")["pid"]
    host.stop(9)
    host.start()
    host.until_status("the server is followed again", lambda now: now["state"] == "tracking")
    assert host.client.get("/v1/worlds/chronyd")["pid"] == pid


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (['ntp_config.server=["a b","300.1.1.1"]'], "'300.1.1.1' is neither an address nor"),
        (['ntp_config.server=["a","A."]'], "server a is given more than once"),
        (["fallback.enabled=true"], "fallback needs at least one ntp_config.server"),
        (["protocol=ntp", "enabled=true"], "protocol ntp needs at least one ntp_config.server"),
        (['options.chrony.makestep="1 3"'], "set ntp_config.first_step_s instead"),
        (["options.chrony.maxdistanc=1"], "maxdistance"),
    ],
)
def test_what_cannot_be_is_refused_by_name(host: Visord, words: list[str], said: str) -> None:
    code, _, errors = host.ctl("clock", "set", *words)
    assert code == 3
    assert said in errors


def test_the_words_of_esxcli(host: Visord) -> None:
    host.do("esxcli", "system", "ntp", "set", "--server", SERVER, "--server", "ntp.example")
    shown = json.loads(host.do("esxcli", "system", "ntp", "get", "--format", "json"))
    assert shown["Servers"] == f"{SERVER}, ntp.example"
    assert shown["Enabled"] is False
    code, _, errors = host.ctl("esxcli", "system", "ntp", "set", "--disabled")
    assert code == 3
    assert "does not keep the time here" in errors
    host.do("esxcli", "system", "ntp", "set", "--reset")
    assert (
        json.loads(host.do("esxcli", "system", "ntp", "get", "--format", "json"))["Servers"] == ""
    )
