"""cloud-init at the first boot of a real VM: Debian 12 under systemd, behind a tap, no seed image.

The packages are those that Debian's cloud images are made of. The VM is told nothing but, in its
DMI tables, which datasource to look for; the rest comes by DHCP and from the metadata service.
"""

import json
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import pytest

from qemu import Machine, Nic, debian_kernel
from qemu.debian import debian_root
from visords import until
from vm_hosts import vm_host, web
from wired_hosts import mac

pytestmark = pytest.mark.long

PACKAGES = (
    *("systemd-sysv", "systemd-resolved", "dbus", "udev", "kmod", "iproute2", "iputils-ping"),
    *("cloud-init", "netplan.io", "isc-dhcp-client", "openssh-client"),
    "python3-cffi-backend",  # debootstrap cannot see that it provides what cryptography needs
)
# Nobody logs in; the control shell is there long before cloud-init has ended
QUICK = "systemd.mask=serial-getty@ttyS0.service systemd.mask=getty.target"
KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIGdHGtCcCQmwV9XfY1v5rRzMmyfFvYDZr3Y7gkLJjRfq operator"
USER_DATA = """#cloud-config
locale: C.UTF-8  # cloud-init's own choice would have to be generated first
write_files: [{path: /etc/from-user-data, content: as asked}]
"""
VENDOR_DATA = "#cloud-config\nruncmd: [[touch, /etc/from-vendor-data]]\n"
DATASOURCES = {
    "openstack": "product=OpenStack Nova",
    "nocloud": "serial=ds=nocloud-net;s=http://169.254.169.254/nocloud/",
    "ec2": "serial=ec2f00d0-0000-4000-8000-000000000001,uuid=ec2f00d0-0000-4000-8000-000000000001",
}
"""What QEMU's `-smbios type=1` says for each datasource, as docs/howto/vm-networking.md has it.

`nocloud-net` because this cloud-init is older than 24.1.
"""

Boot = Callable[[str], AbstractContextManager[Machine]]


@pytest.fixture(scope="module")
def boot() -> Iterator[Boot]:
    """Return what boots a VM, new from its image each time, of this datasource."""
    with vm_host() as host:
        host.start()

        @contextmanager
        def booted(datasource: str) -> Iterator[Machine]:
            number = list(DATASOURCES).index(datasource) + 1
            instance: dict[str, Any] = {"id": f"i-{datasource}", "ssh_keys": [KEY]}
            texts = {"user_data": USER_DATA, "vendor_data": VENDOR_DATA}
            value = web(number) | {"hostname": datasource, "instance": instance | texts}
            host.load({f"host/net/ports/vm{number}": value})
            machine = Machine(
                debian_kernel(),
                root=debian_root(PACKAGES),
                init="/sbin/init",
                nics=[Nic(f"tap{number}", mac(number))],
                qemu=("-smbios", f"type=1,{DATASOURCES[datasource]}"),
                append=QUICK,
                boot_deadline_s=240,
                prefix=host.namespace.argv(),
            )
            with machine:
                host.until_wired(f"vm{number}")
                yield machine

        yield booted


@pytest.mark.parametrize("datasource", DATASOURCES)
def test_first_boot(boot: Boot, datasource: str) -> None:
    with boot(datasource) as vm:
        until(
            "cloud-init has ended",
            lambda: vm.run("test", "-e", "/run/cloud-init/result.json").code == 0,
            deadline_s=400,
        )
        result = json.loads(vm.check("cat", "/run/cloud-init/result.json").text)["v1"]
        assert result["errors"] == []
        assert datasource in result["datasource"].lower()
        said = json.loads(vm.check("cat", "/run/cloud-init/instance-data.json").text)["v1"]
        assert said["instance_id"] == f"i-{datasource}"
        assert vm.check("hostname").text.strip() == datasource
        assert vm.check("cat", "/etc/from-user-data").text == "as asked"
        vendor = vm.run("test", "-e", "/etc/from-vendor-data").code == 0
        assert vendor == (datasource != "ec2")  # whose format has none
        assert KEY in vm.check("cat", "/home/debian/.ssh/authorized_keys").text
        # By the network configuration that cloud-init has written
        number = list(DATASOURCES).index(datasource) + 1
        addresses = json.loads(vm.check("ip", "-json", "address").text)
        (own,) = [one for one in addresses if one.get("address") == mac(number)]
        assert f"10.5.0.{number + 1}" in [one["local"] for one in own["addr_info"]]
