"""1,000 ports on one host: served as one is, and the end of no visord costs a packet."""

import json
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest

import chronovisor
from dhcp_guests import Guest
from visords import until
from vm_hosts import Datagrams, VmHost, curl, reaches, vm_host, web
from wired_hosts import Stream, mac, ping, port

PORTS = 1000
VMS = (1, 2, 3)
UPGRADED = "99.0.0"


@pytest.fixture(scope="module")
def host() -> Iterator[VmHost]:
    """Return a host with 1,000 ports: three have VMs, the others taps that nobody uses."""
    with vm_host() as made:
        made.visord.start()
        for number in VMS:
            made.vm(number)
        taps(made, "add", (one for one in range(1, PORTS + 1) if one not in VMS))
        made.load(
            {
                "host/net/vm_networking": {"enabled": True},
                **{f"host/net/ports/vm{one}": web(one) for one in range(1, PORTS + 1)},
            }
        )
        until_all_wired(made)
        yield made


def taps(host: VmHost, what: str, numbers: Iterable[int]) -> None:
    """Add or delete taps, all at once."""
    host.namespace.batch(f"tuntap {what} dev tap{one} mode tap" for one in numbers)


def until_all_wired(host: VmHost) -> None:
    def probe() -> bool:
        now = host.client.get("/v1/net/status")
        return bool(now["wired"] == now["ports"] == PORTS and not now["problem"])

    until("all ports are wired", probe)
    host.until_same()


def upgraded(base: Path) -> Path:
    """Return the Python of a later release of this package, whose worlds differ."""
    new, here = base / "upgraded", Path(chronovisor.__file__).parent
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", new], check=True)
    (packages,) = new.glob("lib/python*/site-packages")
    others = [one for one in sys.path if one.endswith("-packages")]
    (packages / "others.pth").write_text("\n".join(others))
    copy = packages / "chronovisor"
    shutil.copytree(here, copy, ignore=shutil.ignore_patterns("__pycache__"))
    changes = {
        "__init__.py": (f'"{chronovisor.__version__}"', f'"{UPGRADED}"'),
        "net/dhcp/place.py": ("MOST_LEASES}", "MOST_LEASES + 1}"),
    }
    for name, (old, now) in changes.items():
        text = (copy / name).read_text()
        assert old in text
        (copy / name).write_text(text.replace(old, now))
    return new / "bin/python"


class Traffic:
    """Datagrams and echo requests between two VMs, by both families."""

    def __init__(self, host: VmHost) -> None:
        first, second = host.site.vms[1], host.site.vms[2]
        four, six = port(2)["addresses"]
        self.datagrams = Datagrams(first, second, four, 7000)
        self.streams: list[Stream] = [host.site.stream(first, one) for one in (four, six)]

    def stop(self) -> None:
        """End it; nothing was lost."""
        results = [self.datagrams.stop(), *(one.stop() for one in self.streams)]
        assert all(sent > 100 for sent, _ in results)
        assert [lost for _, lost in results] == [[], [], []]


def test_a_thousand_ports_are_served_as_one_is(host: VmHost) -> None:
    first, four = host.site.vms[1], port(2)["addresses"][0]
    assert reaches(first, four)
    third = host.site.vms[3]
    for family in ("-4", "-6"):
        third.run("ip", family, "address", "flush", "dev", "eth0", "scope", "global")
    guest = Guest(third.name, "eth0", mac(3))
    assert str(guest.lease().address) == port(3)["addresses"][0]
    assert [str(one) for one in guest.lease6().addresses] == [port(3)["addresses"][1]]
    assert guest.advertisement()
    said = curl(first, "http://169.254.169.254/latest/meta-data/instance-id")
    assert said == "vm1"
    assert host.health() == ""
    assert len(json.loads(host.do("net", "port", "list", "--format", "json"))) == PORTS
    metrics = host.do("host", "metrics").splitlines()
    assert f'chronovisor_net_ports{{condition="wired"}} {PORTS:.1f}' in metrics
    assert "chronovisor_net_dhcp_leases 1.0" in metrics
    assert len([one for one in metrics if one.startswith("chronovisor_net")]) < 50


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL], ids=["stopped", "killed"])
def test_the_next_visord_takes_over_without_a_lost_packet(
    host: VmHost, number: signal.Signals
) -> None:
    worlds = host.worlds()
    assert reaches(host.site.vms[1], port(2)["addresses"][0])
    traffic = Traffic(host)
    host.visord.stop(number)
    host.visord.start()
    until_all_wired(host)
    traffic.stop()
    assert host.worlds() == worlds
    assert host.health() == ""


def test_taps_that_come_and_go_quickly_end_as_they_should(host: VmHost) -> None:
    traffic = Traffic(host)
    moving, gone = range(101, 121), range(121, 126)
    for number in range(4):
        taps(host, "del", (*moving, *gone))
        taps(host, "add", moving if number % 2 else (*moving, *gone))
        taps(host, "del", moving)
        taps(host, "add", (*moving, *gone) if number % 2 else moving)
    taps(host, "del", gone)

    def settled() -> bool:
        rows = {one["id"]: one["wired"] for one in host.client.get("/v1/net/ports")}
        return {name for name, wired in rows.items() if not wired} == {f"vm{one}" for one in gone}

    until("only ports without a tap are not wired", settled)
    host.until_same()
    taps(host, "add", gone)
    until_all_wired(host)
    traffic.stop()
    assert host.health() == ""


def test_an_upgrade_costs_no_packet(host: VmHost) -> None:
    """Comes last: from here on the host's visord is the other package's."""
    before = host.worlds()
    traffic = Traffic(host)
    host.visord.stop()
    host.visord.python = str(upgraded(host.visord.log.parent))
    host.visord.start()
    assert host.client.get("/v1/health")["version"] == UPGRADED
    until_all_wired(host)

    def replaced() -> bool:
        now = host.worlds()
        return now.keys() == before.keys() and not before.items() & now.items()

    until("all worlds are those of the other release", replaced)
    traffic.stop()
    programs = {name: program(pid) for name, pid in host.worlds().items()}
    ours = host.visord.python
    assert programs == {"net-dhcp": "dnsmasq", "net-ipv6": ours, "net-metadata": ours}
    guest = Guest(host.site.vms[3].name, "eth0", mac(3))
    assert str(guest.lease().address) == port(3)["addresses"][0]
    assert ping(host.site.vms[2], port(1)["addresses"][1]) == []
    assert host.health() == ""


def program(pid: int) -> str:
    """Return the name that a process was started by."""
    return Path(f"/proc/{pid}/cmdline").read_text().split("\0")[0]
