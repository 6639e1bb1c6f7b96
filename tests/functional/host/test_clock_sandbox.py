"""The clock's daemons in containers of a real runc, driven through visorctl and the API alone."""

import json
import os
import secrets
import signal
import subprocess
from collections.abc import Iterator
from contextlib import closing
from typing import Any

import pytest

from chronovisor.clock.settings import PATH, SystemTime
from chronovisor.config import Change, ConfigStore, Registry, SqliteBackend
from visords import Visord, short_directory, until

ADDRESS = "192.0.2.2/24"
MASTER = "192.0.2.1"
FAST = {"ptp4l": {"logAnnounceInterval": -2, "logSyncInterval": -3, "logMinDelayReqInterval": -3}}
GRANDMASTER = """[global]
free_running 1
time_stamping software
priority1 10
logAnnounceInterval -2
logSyncInterval -3
logMinDelayReqInterval -3
uds_address {directory}/gm
"""


class Site:
    """Two namespaces on one cable: a grandmaster on `gm0`, a host whose NIC is `nic0`."""

    def __init__(self) -> None:
        mark = secrets.token_hex(3)
        self.host, self.master = f"cvh-{mark}", f"cvm-{mark}"

    def up(self) -> None:
        for name in (self.host, self.master):
            subprocess.run(["ip", "netns", "add", name], check=True)
            subprocess.run(["ip", "-n", name, "link", "set", "lo", "up"], check=True)
        self.cable()

    def cable(self) -> None:
        """Plug both NICs in, new ones if there were others before."""
        peer = ("peer", "name", "gm0", "netns", self.master)
        words = ("link", "add", "nic0", "netns", self.host, "type", "veth", *peer)
        subprocess.run(["ip", *words], check=True)
        ends = ((self.host, "nic0", ADDRESS), (self.master, "gm0", f"{MASTER}/24"))
        for name, device, address in ends:
            subprocess.run(["ip", "-n", name, "addr", "add", address, "dev", device], check=True)
            subprocess.run(["ip", "-n", name, "link", "set", device, "up"], check=True)

    def down(self) -> None:
        for name in (self.host, self.master):
            subprocess.run(["ip", "netns", "delete", name], capture_output=True, check=False)

    def inside(self, name: str) -> tuple[str, ...]:
        return ("nsenter", f"--net=/run/netns/{name}", "--")

    def nic(self) -> dict[str, Any]:
        """Return the NIC as the host has it, empty while it is elsewhere."""
        argv = ["ip", "-json", "-n", self.host, "address", "show", "dev", "nic0"]
        done = subprocess.run(argv, capture_output=True, text=True, check=False)
        return json.loads(done.stdout)[0] if done.returncode == 0 else {}


@pytest.fixture
def site() -> Iterator[Site]:
    site = Site()
    try:
        site.up()
        yield site
    finally:
        site.down()


@pytest.fixture
def visord(site: Site) -> Iterator[Visord]:
    with short_directory() as base:
        config = base / "gm.conf"
        config.write_text(GRANDMASTER.format(directory=base))
        argv = [*site.inside(site.master), "ptp4l", "-f", str(config), "-i", "gm0"]
        visord = Visord(base)
        visord.place = site.inside(site.host)
        with subprocess.Popen(argv, stdout=subprocess.DEVNULL) as grandmaster:
            try:
                yield visord.start()
            finally:
                grandmaster.kill()
                visord.clear()


def settings(kind: str, **more: Any) -> dict[str, Any]:
    port = {
        "index": 0,
        "device": "nic0",
        "device_type": kind,
        "accept": ["management_nic"],  # of this small host it is the only one
    }
    return {
        "enabled": True,
        "discipline": "monitor",
        "options": FAST,
        "ptp_config": {"port": [port]},
        **more,
    }


def tracking(visord: Visord) -> dict[str, Any]:
    return visord.until_status(
        "it follows the grandmaster, by address",
        lambda now: (
            now["state"] == "tracking" and (now["grandmaster"] or {}).get("address") == MASTER
        ),
    )


def world(visord: Visord, name: str = "ptp4l") -> dict[str, Any]:
    found: dict[str, Any] = visord.client.get(f"/v1/worlds/{name}")
    return found


def capabilities(visord: Visord, name: str = "ptp4l") -> list[str]:
    found: list[str] = visord.client.get(f"/v1/crx/{name}")["capabilities"]
    return found


def at_home(now: dict[str, Any], before: dict[str, Any]) -> bool:
    """Tell whether a NIC is up with the addresses that it had before."""

    def ipv4(nic: dict[str, Any]) -> list[str]:
        return [one["local"] for one in nic.get("addr_info", ()) if one["family"] == "inet"]

    same = now.get("address") == before["address"] and ipv4(now) == ipv4(before)
    return same and now.get("operstate") == "UP"


def test_a_virtual_nic_stays_with_the_host(visord: Visord, site: Site) -> None:
    visord.set(**settings("virtual_nic"))
    tracking(visord)
    assert site.nic()["operstate"] == "UP"
    assert capabilities(visord) == ["CAP_NET_BIND_SERVICE"]
    (shown,) = json.loads(visord.do("crx", "ps", "--format", "json"))
    assert (shown["name"], shown["state"]) == ("ptp4l", "running")
    assert "LISTENING" in visord.do("crx", "logs", "ptp4l")
    assert visord.do("clock", "plan") == "effect: nothing\n"


def test_a_passed_through_nic_is_lent_for_as_long_as_it_is_wanted(
    visord: Visord, site: Site
) -> None:
    before = site.nic()
    visord.set(**settings("pci_passthru_nic"))
    tracking(visord)
    assert site.nic() == {}
    (row,) = [
        row
        for row in json.loads(visord.do("clock", "devices", "--format", "json"))
        if row["name"] == "nic0"
    ]
    assert (row["place"], row["link_up"]) == ("container ptp4l", True)
    assert visord.do("clock", "plan") == "effect: nothing\n"

    os.kill(pid := world(visord)["pid"], signal.SIGKILL)
    until("it is back", lambda: world(visord)["pid"] not in (None, pid))
    tracking(visord)

    pid = world(visord)["pid"]
    visord.stop(signal.SIGKILL)
    visord.start()
    tracking(visord)
    assert (world(visord)["pid"], world(visord)["adopted"]) == (pid, True)

    visord.set(**settings("pci_passthru_nic") | {"enabled": False})
    until("the NIC is back, with its address and link", lambda: at_home(site.nic(), before))


def test_a_nic_that_was_unplugged_goes_in_again(visord: Visord, site: Site) -> None:
    visord.set(**settings("pci_passthru_nic"))
    tracking(visord)
    pid = world(visord)["pid"]
    subprocess.run(["ip", "-n", site.master, "link", "delete", "gm0"], check=True)
    visord.until_status("its loss is seen", lambda now: now["state"] == "faulty")
    site.cable()
    until("another has it", lambda: not site.nic() and world(visord)["pid"] not in (None, pid))
    tracking(visord)


def test_addresses_of_the_settings_are_those_in_the_container(visord: Visord) -> None:
    value = settings("pci_passthru_nic")
    ip_config = {"dhcp": False, "ip_address": "192.0.2.9", "subnet_mask": "255.255.255.0"}
    value["ptp_config"]["port"][0]["ip_config"] = ip_config
    visord.set(**value)
    tracking(visord)
    shown = visord.do("crx", "exec", "ptp4l", "--", "ip", "-br", "address", "show", "dev", "nic0")
    assert "192.0.2.9/24" in shown
    assert ADDRESS not in shown
    assert "assign" not in visord.do("clock", "plan")


def test_in_and_out_of_the_sandbox(visord: Visord, site: Site) -> None:
    visord.set(**settings("pci_passthru_nic", sandbox="none"))
    tracking(visord)
    assert world(visord)["sandboxed"] is False
    change = ("clock", "plan", "sandbox=crx")
    assert "restart ptp4l" in visord.do(*change)
    assert "sandbox none -> crx" in visord.do(*change)
    visord.do("clock", "set", "sandbox=crx")
    until("it runs in a container", lambda: not site.nic() and world(visord)["sandboxed"])
    tracking(visord)
    visord.do("clock", "set", "sandbox=none")
    until("it does not any more", lambda: site.nic() and not world(visord)["sandboxed"])
    tracking(visord)


WITHOUT = 'for p in runc crun; do f=$(command -v $p) && mount --bind /dev/null $f; done; exec "$@"'
"""Runs a command where no OCI runtime can be run: what is mounted ends with its namespace."""


def test_without_a_runtime_what_runs_goes_on(visord: Visord) -> None:
    visord.set(**settings("virtual_nic", sandbox="none"))
    tracking(visord)
    pid = world(visord)["pid"]
    visord.stop()
    visord.wrapper = ("unshare", "--mount", "sh", "-c", WITHOUT, "sh")
    visord.start()
    code, _, errors = visord.ctl("clock", "set", "sandbox=crx")
    assert code != 0
    assert "apt-get install runc" in errors
    assert "set sandbox to none" in errors
    tracking(visord)
    assert world(visord)["pid"] == pid


def test_an_upgrade_stops_no_clock_for_want_of_a_runtime(visord: Visord) -> None:
    """A clock that runs without a container, and settings of before there was `sandbox`."""
    old = settings("virtual_nic")
    visord.set(**old, sandbox="none")
    tracking(visord)
    pid = world(visord)["pid"]
    visord.stop()
    keys = Registry()
    keys.register(PATH, SystemTime, description="as visord has it")
    with closing(ConfigStore(SqliteBackend(visord.var / "config.db"), keys)) as store:
        store.commit([Change(PATH, old)], author="the release before")
    visord.wrapper = ("unshare", "--mount", "sh", "-c", WITHOUT, "sh")
    visord.start()
    tracking(visord)
    health = until(
        "health says what to do",
        lambda: text if "apt-get install runc" in (text := visord.ctl("host", "health")[1]) else "",
    )
    assert "sandbox to none" in health
    assert world(visord)["pid"] == pid
    assert world(visord)["sandboxed"] is False
    visord.do("clock", "set", "sandbox=none")
    until("all is well", lambda: "apt-get" not in visord.ctl("host", "health")[1])
    assert world(visord)["pid"] == pid
