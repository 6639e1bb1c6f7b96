"""The metadata tree of EC2: what cloud-init's DataSourceEc2 and its like read.

A directory is listed one name a line, a trailing slash marking what is a directory itself; only
`public-keys/` lists `0=name` for the directory `0` (AWS, "Instance metadata and user data").
"""

import json
from collections.abc import Callable

from chronovisor.net.metadata.state import Guest, Interface

VERSIONS = (
    "1.0",
    "2007-01-19",
    "2007-03-01",
    "2007-08-29",
    "2007-10-10",
    "2007-12-15",
    "2008-02-01",
    "2008-09-01",
    "2009-04-04",
    "2016-09-02",
    "2018-09-24",
    "2021-03-23",
    "latest",
)
"""Versions that are answered, all alike: those of Nova, and the later ones that cloud-init tries.

The later ones brought `ipv6s` and `tags`, which the tree has.
"""

Tree = dict[str, "Node"]
Node = Tree | Callable[[], Tree] | str | bytes
"""A leaf, a directory, or one that is made when somebody looks into it."""


def find(guest: Guest, segments: tuple[str, ...]) -> bytes | None:
    """Return the document at a path below a version (`("meta-data", "mac")`); None if none is."""
    node: Node | None = _tree(guest)
    for segment in segments:
        node = node.get(segment) if isinstance(node, dict) else None
        if callable(node):
            node = node()
    if isinstance(node, dict):
        return _listing(node, keys=segments == ("meta-data", "public-keys")).encode()
    return node.encode() if isinstance(node, str) else node if isinstance(node, bytes) else None


def _listing(tree: Tree, *, keys: bool) -> str:
    if keys:
        return "\n".join(f"{number}={key_name(_key(tree, number))}" for number in tree)
    leaves = (str, bytes)
    return "\n".join(name if isinstance(it, leaves) else f"{name}/" for name, it in tree.items())


def _key(tree: Tree, number: str) -> str:
    entry = tree[number]
    assert isinstance(entry, dict)
    key = entry["openssh-key"]
    assert isinstance(key, str)
    return key


def key_name(key: str) -> str:
    """Return the comment of an authorized_keys line, or a name for a key without one."""
    parts = key.split(" ", 2)
    return parts[2].strip() if len(parts) > 2 and parts[2].strip() else "key"


def _tree(guest: Guest) -> Tree:
    identity: Tree = {"document": _identity(guest)}
    tree: Tree = {"dynamic": {"instance-identity": identity}, "meta-data": _meta_data(guest)}
    if guest.user_data is not None:
        tree["user-data"] = guest.user_data
    return tree


def _identity(guest: Guest) -> str:
    """Return the identity document (AWS, "Instance identity documents"), which nobody has signed.

    cloud-init retries for 5 s where there is none, each time that it wants the instance's id.
    """
    document = {"instanceId": guest.instance_id}
    if guest.availability_zone is not None:
        document["availabilityZone"] = guest.availability_zone
    if ipv4 := guest.interfaces[0].addresses(4):
        document["privateIp"] = ipv4[0]
    return json.dumps(document, indent=1)


def _meta_data(guest: Guest) -> Tree:
    first = guest.interfaces[0]
    ipv4, ipv6 = first.addresses(4), first.addresses(6)
    tree: Tree = {
        "ami-launch-index": "0",
        "hostname": guest.full_name,
        "instance-action": "none",
        "instance-id": guest.instance_id,
    }
    if ipv6:
        tree["ipv6"] = ipv6[0]
    tree["local-hostname"] = guest.full_name
    if ipv4:
        tree["local-ipv4"] = ipv4[0]
    tree["mac"] = first.mac
    tree["network"] = lambda: {"interfaces": {"macs": _macs(guest)}}
    if guest.availability_zone is not None:
        tree["placement"] = {"availability-zone": guest.availability_zone}
    if guest.ssh_keys:
        tree["public-keys"] = {
            str(number): {"openssh-key": key} for number, key in enumerate(guest.ssh_keys)
        }
    if first.security_groups:
        tree["security-groups"] = "\n".join(first.security_groups)
    if guest.tags:
        tree["tags"] = {"instance": dict(guest.tags)}
    return tree


def _macs(guest: Guest) -> Tree:
    return {one.mac: _interface(guest, number, one) for number, one in enumerate(guest.interfaces)}


def _interface(guest: Guest, number: int, interface: Interface) -> Tree:
    tree: Tree = {
        "device-number": str(number),
        "interface-id": interface.port,
        "local-hostname": guest.full_name,
        "mac": interface.mac,
    }
    for version, addresses, blocks in (
        (4, "local-ipv4s", "subnet-ipv4-cidr-block"),
        (6, "ipv6s", "subnet-ipv6-cidr-blocks"),
    ):
        if found := interface.addresses(version):
            tree[addresses] = "\n".join(found)
            prefixes = (one.prefix for one in interface.assignments if one.version == version)
            tree[blocks] = next(prefixes)
    if interface.security_groups:
        tree["security-groups"] = "\n".join(interface.security_groups)
    # Without it cloud-init takes the VM for one of EC2-Classic, whose MAC addresses change: it does
    # DHCP again at every boot, on an interface that has its address already.
    tree["vpc-id"] = interface.network
    return tree
