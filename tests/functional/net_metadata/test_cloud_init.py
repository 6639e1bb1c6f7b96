"""cloud-init itself, as it is in real images, reads metadata in a VM.

Runs where a Python interpreter has cloud-init: Debian's `python3` with the package cloud-init, or
the one that CHRONOVISOR_CLOUD_INIT_PYTHON names (with PYTHONPATH set as it needs). The package is
not installed by the set-up on purpose: at the next boot it would take the machine for a new VM.
"""

import json
import os
import subprocess
from typing import Any

import pytest

from metadata_guests import KEY, port
from metadata_sites import Site

PYTHON = os.environ.get("CHRONOVISOR_CLOUD_INIT_PYTHON", "/usr/bin/python3")

EC2 = """
from cloudinit.sources import DataSourceEc2 as ec2
source = ec2.DataSourceEc2({}, None, helpers.Paths({"cloud_dir": "/nonexistent"}))
source._platform_type = "ec2"
source.ds_cfg = {"metadata_urls": ["http://169.254.169.254"]}  # no name server in this VM
source.wait_for_metadata_service()
found = source.crawl_metadata()
version = found.pop("_metadata_api_version")
network = ec2.convert_ec2_metadata_network_config(
    found["meta-data"]["network"], {MAC: "eth0"}, fallback_nic="eth0")
show({"version": version, "found": found, "network": network,
      "keys": sources.normalize_pubkey_data(found["meta-data"]["public-keys"])})
"""

OPENSTACK = """
from cloudinit.sources.helpers import openstack
from cloudinit.sources import DataSourceOpenStack
found = DataSourceOpenStack.read_metadata_service("http://169.254.169.254", timeout=5)
network = openstack.convert_net_json(found["networkdata"], {MAC: "eth0"})
seed = len(found["metadata"].pop("random_seed"))
show({"found": found, "network": network, "seed": seed,
      "vendor": sources.convert_vendordata(found["vendordata"]),
      "keys": sources.normalize_pubkey_data(found["metadata"]["public_keys"])})
"""

NOCLOUD = """
from cloudinit.net import network_state
md, ud, vd = util.read_seeded("http://169.254.169.254/nocloud/", timeout=5)
text = url_helper.readurl("http://169.254.169.254/nocloud/network-config").contents
config = util.load_yaml(text)
state = network_state.parse_net_config_data(config)
macs = [one["mac_address"] for one in state.iter_interfaces()]
show({"md": md, "ud": ud, "vd": vd, "interfaces": macs})
"""

TOKEN = """
from cloudinit.sources import DataSourceEc2 as ec2
source = ec2.DataSourceEc2({}, None, helpers.Paths({"cloud_dir": "/nonexistent"}))
ec2.DataSourceEc2.cloud_name = ec2.CloudNames.AWS
source.ds_cfg = {"metadata_urls": ["http://169.254.169.254"]}  # no name server in this VM
source.wait_for_metadata_service()
found = source.crawl_metadata()
show({"token": source._api_token, "id": found["meta-data"]["instance-id"]})
"""

PROLOGUE = f"""
import json
from cloudinit import helpers, sources, url_helper, util
util._DNS_REDIRECT_IP = set()  # it would ask name servers first, and this VM has none
MAC = "02:00:00:00:00:0a"
def show(document):
    print(json.dumps(document, default=lambda it: it.decode()))
KEY = {KEY!r}
"""


def _has_cloud_init() -> bool:
    words = [PYTHON, "-c", "import cloudinit.sources.DataSourceOpenStack"]
    try:
        return subprocess.run(words, capture_output=True, check=False).returncode == 0
    except OSError:
        return False


pytestmark = pytest.mark.skipif(not _has_cloud_init(), reason="cloud-init is not installed")


@pytest.fixture
def vm(site: Site) -> Site:
    instance = {"user_data": "#cloud-config\n{}", "vendor_data": "#cloud-config\npackages: [x]"}
    site.want(port(10, instance={"id": "i-0010", "ssh_keys": [KEY], **instance}))
    return site


def run(vm: Site, script: str) -> Any:
    words = ["ip", "netns", "exec", vm.vm(10), PYTHON, "-c", PROLOGUE + script]
    done = subprocess.run(words, capture_output=True, text=True, check=False, timeout=60, cwd="/")
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def test_ec2(vm: Site) -> None:
    said = run(vm, EC2)
    assert said["version"] == "2021-03-23"
    assert said["found"]["user-data"] == "#cloud-config\n{}"
    data = said["found"]["meta-data"]
    assert (data["instance-id"], data["local-hostname"]) == ("i-0010", "vm10.example.org")
    assert said["keys"] == [KEY]
    ethernet = said["network"]["ethernets"]["eth0"]
    assert (ethernet["dhcp4"], ethernet["dhcp6"]) == (True, True)
    assert ethernet["match"] == {"macaddress": "02:00:00:00:00:0a"}


def test_ec2_with_a_token(vm: Site) -> None:
    said = run(vm, TOKEN)
    assert said["token"]
    assert said["id"] == "i-0010"


def test_openstack(vm: Site) -> None:
    said = run(vm, OPENSTACK)
    data = said["found"]["metadata"]
    assert (data["instance-id"], data["local-hostname"]) == ("i-0010", "vm10.example.org")
    assert said["found"]["version"] == 2
    assert said["found"]["userdata"] == "#cloud-config\n{}"
    assert said["vendor"] == "#cloud-config\npackages: [x]"
    assert said["keys"] == [KEY]
    assert said["seed"] == 512
    assert said["found"]["ec2-metadata"]["instance-id"] == "i-0010"
    physical, *servers = said["network"]["config"]
    assert (physical["name"], physical["mtu"]) == ("eth0", 1450)
    assert [one["type"] for one in physical["subnets"]] == ["dhcp4", "ipv6_dhcpv6-stateful"]
    assert [one["address"] for one in servers] == ["10.1.0.1", "9.9.9.9", "2001:db8::53"]


def test_nocloud(vm: Site) -> None:
    said = run(vm, NOCLOUD)
    assert said["md"]["instance-id"] == "i-0010"
    assert said["md"]["public-keys"] == [KEY]
    assert (said["ud"], said["vd"]) == ("#cloud-config\n{}", "#cloud-config\npackages: [x]")
    assert said["interfaces"] == ["02:00:00:00:00:0a"]
