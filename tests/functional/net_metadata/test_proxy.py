"""The proxy on real devices: who is who, what changes while it runs, what it may do."""

import os
import signal
import socket
import subprocess
from pathlib import Path

import pytest

from chronovisor.net.metadata.plan import SERVICE_UID
from metadata_guests import port
from metadata_sites import HOST6, Site, ask, ip, sysctl, until

ID = "/latest/meta-data/instance-id"


def test_each_vm_reads_its_own(site: Site) -> None:
    assert site.get(10, ID) == (200, "i-0010")
    assert site.get(20, ID) == (200, "i-0020")
    assert site.get(20, "/latest/user-data") == (200, "#cloud-config\nhostname: vm20\n")


def test_ipv6_by_link_local_address(site: Site) -> None:
    for number in (10, 20):
        with site.socket_in(site.vm(number), socket.AF_INET6) as client:
            client.connect((HOST6, 80, 0, _index(site.vm(number), "eth0")))
            assert ask(client, ID) == (200, f"i-00{number}")


def test_ipv6_by_the_vms_own_address(site: Site) -> None:
    name = site.vm(10)
    ip("-n", name, "address", "add", "2001:db8:1::a/128", "dev", "eth0", "nodad")
    ip("-n", name, "address", "add", "2001:db8:1::14/128", "dev", "eth0", "nodad")
    for source, status in (("2001:db8:1::a", 200), ("2001:db8:1::14", 403)):
        ip("-n", site.name, "route", "add", f"{source}/128", "dev", "tap10")
        with site.socket_in(name, socket.AF_INET6) as client:
            client.bind((source, 0))
            client.connect((HOST6, 80, 0, _index(name, "eth0")))
            assert ask(client, ID)[0] == status


def test_forged_source_reads_nothing(site: Site) -> None:
    """VM 10 takes VM 20's address, with every guard of the kernel off: see the source check."""
    ip("-n", site.vm(10), "address", "add", "10.1.0.20/32", "dev", "eth0")
    for name in ("all", "tap10"):
        sysctl(site.name, f"net.ipv4.conf.{name}.rp_filter", 0)
    status, text = site.get(10, ID, source="10.1.0.20")
    assert status == 403
    assert "i-00" not in text
    assert site.get(10, ID) == (200, "i-0010")
    assert site.get(20, ID) == (200, "i-0020")


def test_forged_source_where_the_kernel_filters(site: Site) -> None:
    ip("-n", site.vm(10), "address", "add", "10.1.0.20/32", "dev", "eth0")
    sysctl(site.name, "net.ipv4.conf.tap10.rp_filter", 1)
    with site.socket_in(site.vm(10)) as client:
        client.settimeout(1.0)
        client.bind(("10.1.0.20", 0))
        with pytest.raises(TimeoutError):
            client.connect(("169.254.169.254", 80))
    assert site.get(20, ID) == (200, "i-0020")


def test_what_a_vm_says_of_itself_counts_for_nothing(site: Site) -> None:
    lies = {"X_Instance_ID": "i-0020", "X_Forwarded_For": "10.1.0.20", "Forwarded": "for=10.1.0.20"}
    assert site.get(10, ID, **lies) == (200, "i-0010")


def test_changes_are_served_at_once_and_others_keep_their_connections(site: Site) -> None:
    with site.connect(20) as client:
        assert ask(client, ID) == (200, "i-0020")
        site.want(port(10, instance={"id": "i-new"}), port(20))
        until(lambda: site.get(10, ID) == (200, "i-new"), "the new id is served")
        assert ask(client, ID) == (200, "i-0020")


def test_port_that_goes_is_served_no_more(site: Site) -> None:
    with site.connect(10) as client:
        assert ask(client, ID) == (200, "i-0010")
        site.want(port(20))
        until(lambda: not site.listens(10), "tap10 is served no more")
        with pytest.raises(ConnectionError):
            ask(client, ID)
    with pytest.raises(ConnectionRefusedError):
        site.connect(10)
    assert site.get(20, ID) == (200, "i-0020")


def test_tap_that_comes_later_goes_and_comes_again(site: Site) -> None:
    site.want(port(10), port(20), port(30))
    for _ in range(2):
        site.add_vm(30)
        site.until_listens(30)
        assert site.get(30, ID) == (200, "i-0030")
        ip("-n", site.name, "link", "delete", "tap30")
        until(lambda: not site.listens(30), "tap30 is gone")
        site.remove_namespace(site.vm(30))


def test_tap_that_is_renamed(site: Site) -> None:
    ip("-n", site.name, "link", "set", "tap10", "down")
    ip("-n", site.name, "link", "set", "tap10", "name", "other")
    until(lambda: not site.listens(10), "the renamed device is not tap10")
    ip("-n", site.name, "link", "set", "other", "name", "tap10")
    site.wire(10)
    site.until_listens(10)
    assert site.get(10, ID) == (200, "i-0010")


def test_ports_that_swap_their_taps(site: Site) -> None:
    site.want(port(10, device="tap20"), port(20, device="tap10", addresses=["10.1.0.20"]))
    until(lambda: site.get(10, ID)[0] == 403, "tap10 is vm20's, whose address is another")
    assert site.get(20, ID)[0] == 403


def test_broken_files_change_nothing(site: Site) -> None:
    for name in ("ports/vm10.json", "service.json"):
        site.directory.write(name, '{"half":')
    site.directory.write("ports/nobody.json", "[]")
    site.want(port(20, instance={"id": "i-seen"}))  # read after the others
    until(lambda: site.get(20, ID) == (200, "i-seen"), "the later file is read")
    assert site.process is not None
    assert site.process.poll() is None


def test_killed_and_started_again(site: Site) -> None:
    site.stop(signal.SIGKILL)
    with pytest.raises(ConnectionRefusedError):
        site.connect(10)
    site.start()
    assert site.get(10, ID) == (200, "i-0010")
    assert site.stop() == 0


def test_port_80_that_somebody_else_has(site: Site) -> None:
    site.stop()
    with site.socket_in(site.name) as other:
        other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        other.bind(("0.0.0.0", 80))
        other.listen()
        site.start()
        status = site.status()
        assert status is not None
        assert status["ports"]["vm10"]["faults"] == {"ipv4": "Address already in use"}
    until(lambda: not (site.status() or {})["ports"]["vm10"]["faults"], "it is tried again")
    assert site.get(10, ID) == (200, "i-0010")


def test_proxy_has_no_privileges_left(site: Site) -> None:
    status = site.status()
    assert status is not None
    lines = Path(f"/proc/{status['pid']}/status").read_text().splitlines()
    words = dict(line.split(":\t", 1) for line in lines)
    assert {words["Uid"], words["Gid"]} == {"\t".join([str(SERVICE_UID)] * 4)}
    assert words["CapEff"] == words["CapPrm"] == f"{1 << 10:016x}"  # CAP_NET_BIND_SERVICE
    assert words["NoNewPrivs"] == "1"
    for path in (site.directory.path, *site.directory.path.rglob("*.json")):
        held = path.stat()
        assert (held.st_uid, held.st_gid) == (os.getuid(), SERVICE_UID)
        assert held.st_mode & 0o027 == 0


def test_status_names_what_happened(site: Site) -> None:
    site.get(10, "/latest/nothing")
    status = site.status()
    assert status is not None
    assert status["backend"] == "embedded"
    mine, other = status["ports"]["vm10"], status["ports"]["vm20"]
    assert (mine["requests"], mine["last_target"], mine["refused"]) == (1, "/latest/nothing", 0)
    assert (other["requests"], other["connections"]) == (0, 0)


def test_directory_that_is_not_there(site: Site, tmp_path: Path) -> None:
    assert site.process is not None
    argv = [*site.argv()[:-1], str(tmp_path / "nothing")]
    done = subprocess.run(argv, capture_output=True, text=True, check=False, timeout=20)
    assert done.returncode == 1
    assert done.stderr.startswith(f"cannot serve {tmp_path}/nothing: [Errno 2]")


def _index(namespace: str, device: str) -> int:
    words = ["ip", "netns", "exec", namespace, "cat", f"/sys/class/net/{device}/ifindex"]
    return int(subprocess.run(words, check=True, capture_output=True).stdout)
