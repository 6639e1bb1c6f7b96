"""What guests read: EC2, OpenStack, NoCloud; by the sequences in which cloud-init 22.4 asks."""

import json
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from chronovisor.net.metadata.plan import state_of
from chronovisor.net.metadata.replies import Reply, Request, answer, path_of
from chronovisor.net.metadata.state import Guest
from chronovisor.net.settings import Metadata
from metadata_guests import KEY, NETWORK, guest, intent, port


def get(one: Guest, target: str) -> Reply:
    return answer(one, Request("GET", target))


def text(one: Guest, target: str) -> str:
    reply = get(one, target)
    assert reply.status == 200, target
    return reply.body.decode()


def document(one: Guest, target: str) -> Any:
    return json.loads(text(one, target))


def crawl(one: Guest, base: str) -> dict[str, str]:
    """Return all leaves below a directory as cloud-init's MetadataMaterializer reads them."""
    found: dict[str, str] = {}
    for line in text(one, base).splitlines():
        if line.endswith("/"):
            found |= crawl(one, f"{base}{line}")
        elif "=" in line:
            found[base + line] = text(one, f"{base}{line.partition('=')[0]}/openssh-key")
        else:
            found[base + line] = text(one, base + line)
    return found


def test_ec2_tree_as_cloud_init_crawls_it() -> None:
    instance = {
        "id": "i-0010",
        "ssh_keys": [KEY, "ssh-rsa AAAA"],
        "availability_zone": "rack1",
        "tags": {"role": "db"},
    }
    base = "/2021-03-23/meta-data/"
    mac = base + "network/interfaces/macs/02:00:00:00:00:0a/"
    assert crawl(guest(instance=instance), base) == {
        base + "ami-launch-index": "0",
        base + "hostname": "vm10.example.org",
        base + "instance-action": "none",
        base + "instance-id": "i-0010",
        base + "ipv6": "2001:db8:1::a",
        base + "local-hostname": "vm10.example.org",
        base + "local-ipv4": "10.1.0.10",
        base + "mac": "02:00:00:00:00:0a",
        mac + "device-number": "0",
        mac + "interface-id": "vm10",
        mac + "ipv6s": "2001:db8:1::a",
        mac + "local-hostname": "vm10.example.org",
        mac + "local-ipv4s": "10.1.0.10",
        mac + "mac": "02:00:00:00:00:0a",
        mac + "subnet-ipv4-cidr-block": "10.1.0.0/16",
        mac + "subnet-ipv6-cidr-blocks": "2001:db8:1::/64",
        mac + "vpc-id": "blue",
        base + "placement/availability-zone": "rack1",
        base + "public-keys/0=alice@desk": KEY,
        base + "public-keys/1=key": "ssh-rsa AAAA",
        base + "tags/instance/role": "db",
    }


def test_identity_document() -> None:
    base = "/2021-03-23/dynamic/instance-identity"
    assert text(guest(), base) == "document"
    known = {"instanceId": "i-0010", "privateIp": "10.1.0.10"}
    assert json.loads(text(guest(), f"{base}/document")) == known
    there = json.loads(
        text(
            guest(instance={"id": "i-0010", "availability_zone": "rack1"}),
            f"{base}/document",
        )
    )
    assert there == known | {"availabilityZone": "rack1"}
    assert get(guest(), f"{base}/signature").status == 404


@pytest.mark.parametrize(
    "target",
    [
        "/latest/meta-data/instance-id",
        "/latest/meta-data/instance-id/",
        "//latest//meta-data/instance-id",
        "/latest/meta-data/instance-id?x=1",
        "/2009-04-04/meta-data/instance%2Did",
        "http://169.254.169.254/latest/meta-data/instance-id",
    ],
)
def test_one_document_by_many_names(target: str) -> None:
    assert text(guest(), target) == "i-0010"


@pytest.mark.parametrize(
    "target",
    [
        "/latest/meta-data/iam/security-credentials/",
        "/latest/meta-data/public-keys/7/openssh-key",
        "/latest/meta-data/instance-id/more",
        "/latest/user-data/more",
        "/latest/../latest/meta-data/mac",
        "/3000-01-01/meta-data/instance-id",
        "/openstack/3000-01-01/meta_data.json",
        "/openstack/latest/password",
        "/openstack/latest/meta_data.json/more",
        "/nocloud/secret",
        "/nocloud/meta-data/more",
    ],
)
def test_what_is_not_there(target: str) -> None:
    assert get(guest(), target).status == 404


def test_user_data_everywhere_and_nowhere() -> None:
    expected = b"#cloud-config\nhostname: vm10\n"
    for target in ("/latest/user-data", "/openstack/latest/user_data", "/nocloud/user-data"):
        assert get(guest(), target).body == expected
    without = guest(instance=None)
    assert get(without, "/latest/user-data").status == 404
    assert get(without, "/openstack/latest/user_data").status == 404
    assert get(without, "/nocloud/user-data") == Reply(200, b"")  # a seed needs it


def test_openstack_meta_data() -> None:
    keys = [KEY, "ssh-rsa BBBB alice@desk"]
    found = document(
        guest(instance={"id": "i-1", "name": "db 1", "ssh_keys": keys, "tags": {"a": "b"}}),
        "/openstack/2018-08-27/meta_data.json",
    )
    assert len(found.pop("random_seed")) > 512
    assert found == {
        "uuid": "i-1",
        "name": "db 1",
        "hostname": "vm10.example.org",
        "launch_index": 0,
        "meta": {"a": "b"},
        "public_keys": {"alice@desk": keys[0], "alice@desk-2": keys[1]},
        "keys": [
            {"name": "alice@desk", "type": "ssh", "data": keys[0]},
            {"name": "alice@desk-2", "type": "ssh", "data": keys[1]},
        ],
    }


def test_openstack_network_data_by_dhcp() -> None:
    assert document(guest(), "/openstack/latest/network_data.json") == {
        "links": [
            {
                "id": "interface0",
                "type": "phy",
                "ethernet_mac_address": "02:00:00:00:00:0a",
                "mtu": 1450,
                "vif_id": "vm10",
            }
        ],
        "networks": [
            {"id": "network0", "link": "interface0", "network_id": "blue", "type": "ipv4_dhcp"},
            {
                "id": "network1",
                "link": "interface0",
                "network_id": "blue",
                "type": "ipv6_dhcpv6-stateful",
                "ip_address": "2001:db8:1::a",
                "netmask": "ffff:ffff:ffff:ffff::",
                "routes": [],
            },
        ],
        "services": [
            {"type": "dns", "address": one} for one in ("10.1.0.1", "9.9.9.9", "2001:db8::53")
        ],
    }


def _static() -> Guest:
    subnets = [dict(one) for one in NETWORK["subnets"]]
    subnets[0] |= {"dhcp": False}
    subnets[1] |= {"ra_mode": "none"}
    addresses = ["10.1.0.10", "10.1.0.11", "2001:db8:1::a"]
    still = intent(
        port(10, network="still", addresses=addresses), still=NETWORK | {"subnets": subnets}
    )
    # Two networks of one prefix are fine as long as no address is there twice.
    state = state_of(still, Metadata())
    assert state is not None
    return state.guests["vm10"]


def test_openstack_network_data_without_dhcp() -> None:
    first, second, third = document(_static(), "/openstack/latest/network_data.json")["networks"]
    assert (first["type"], first["ip_address"], first["netmask"]) == (
        "ipv4",
        "10.1.0.10",
        "255.255.0.0",
    )
    assert first["routes"] == [
        {"network": "0.0.0.0", "netmask": "0.0.0.0", "gateway": "10.1.0.1"},
        {"network": "192.0.2.0", "netmask": "255.255.255.0", "gateway": "10.1.0.9"},
    ]
    assert (second["ip_address"], second["routes"]) == ("10.1.0.11", [])
    assert third["routes"] == [{"network": "::", "netmask": "::", "gateway": "fe80::1"}]


def test_nocloud_seed() -> None:
    one = guest()
    assert yaml.safe_load(text(one, "/nocloud/meta-data")) == {
        "instance-id": "i-0010",
        "local-hostname": "vm10.example.org",
        "public-keys": [KEY],
    }
    assert yaml.safe_load(text(one, "/nocloud/network-config")) == {
        "version": 2,
        "ethernets": {
            "interface0": {
                "match": {"macaddress": "02:00:00:00:00:0a"},
                "mtu": 1450,
                "dhcp4": True,
                "dhcp6": True,
                "accept-ra": True,
            }
        },
    }
    assert text(one, "/nocloud/vendor-data") == ""


def test_nocloud_network_without_dhcp() -> None:
    found = yaml.safe_load(text(_static(), "/nocloud/network-config"))["ethernets"]["interface0"]
    assert (found["dhcp4"], found["dhcp6"], found["accept-ra"]) == (False, False, False)
    assert found["addresses"] == ["10.1.0.10/16", "10.1.0.11/16", "2001:db8:1::a/64"]
    assert found["routes"] == [
        {"to": "0.0.0.0/0", "via": "10.1.0.1"},
        {"to": "192.0.2.0/24", "via": "10.1.0.9"},
        {"to": "::/0", "via": "fe80::1"},
    ]
    assert found["nameservers"]["search"] == ["example.org"]


def test_vendor_data() -> None:
    one = guest(instance={"id": "i", "vendor_data": "#cloud-config\n{}"})
    assert document(one, "/openstack/latest/vendor_data.json") == {
        "cloud-init": "#cloud-config\n{}"
    }
    assert text(one, "/nocloud/vendor-data") == "#cloud-config\n{}"
    assert document(guest(), "/openstack/latest/vendor_data2.json") == {}


@pytest.mark.parametrize(
    ("method", "ttl", "status"),
    [
        ("PUT", "21600", 200),
        ("PUT", "1", 200),
        ("PUT", "0", 400),
        ("PUT", "21601", 400),
        ("PUT", "", 400),
        ("PUT", "³", 400),
        ("PUT", "9" * 5000, 400),
        ("GET", "60", 405),
    ],
)
def test_imdsv2_token(method: str, ttl: str, status: int) -> None:
    header = "x-aws-ec2-metadata-token-ttl-seconds"
    reply = answer(guest(), Request(method, "/latest/api/token", {header: ttl}))
    assert reply.status == status
    if status == 200:
        assert reply.headers == ((header, ttl),)


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS", "FOO"])
def test_other_methods(method: str) -> None:
    assert answer(guest(), Request(method, "/latest/meta-data/")).status == 405


WORDS = ["latest", "2009-04-04", "meta-data", "public-keys", "0", "network", "interfaces", "macs"]
WORDS += ["openstack", "nocloud", "", "..", "%2e", "%ff", "?", "http:"]


@given(st.text(max_size=200) | st.lists(st.sampled_from(WORDS)).map("/".join))
def test_any_target_is_answered(target: str) -> None:
    assert get(guest(), target).status in (200, 404, 405)
    assert path_of(target).startswith("/")
