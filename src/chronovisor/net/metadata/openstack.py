"""OpenStack's metadata: what cloud-init's DataSourceOpenStack reads below /openstack.

Shapes as Nova gives them (nova/doc/source/user/metadata.rst; the schema of network_data.json is
in nova/doc/api_schemas).
"""

import base64
import os
from collections.abc import Callable
from ipaddress import ip_network
from typing import Any

from chronovisor.net.metadata.ec2 import key_name
from chronovisor.net.metadata.state import Assignment, Guest, Interface

VERSIONS = (
    "2012-08-10",
    "2013-04-04",
    "2013-10-17",
    "2015-10-15",
    "2016-06-30",
    "2016-10-06",
    "2017-02-22",
    "2018-08-27",
    "latest",
)
"""Nova's versions from Folsom to Rocky, the newest there is; all are answered alike."""

_SEED_BYTES = 512  # as Nova gives: enough to fill a guest's entropy pool


def find(
    guest: Guest, name: str, entropy: Callable[[int], bytes] = os.urandom
) -> bytes | dict[str, Any] | None:
    """Return a document of a version: bytes, or what becomes JSON; None if there is none."""
    match name:
        case "meta_data.json":
            return meta_data(guest, entropy)
        case "network_data.json":
            return network_data(guest)
        case "user_data":
            return guest.user_data
        case "vendor_data.json":
            # cloud-init takes what stands under its own name (convert_vendordata).
            return {} if guest.vendor_data is None else {"cloud-init": guest.vendor_data}
        case "vendor_data2.json":
            return {}
    return None


def listing(guest: Guest) -> bytes:
    """Return the names of a version's documents."""
    names = ["meta_data.json", "network_data.json", "vendor_data.json", "vendor_data2.json"]
    return "\n".join(names + (["user_data"] if guest.user_data is not None else [])).encode()


def meta_data(guest: Guest, entropy: Callable[[int], bytes] = os.urandom) -> dict[str, Any]:
    """Return meta_data.json."""
    document: dict[str, Any] = {
        "uuid": guest.instance_id,
        "name": guest.name or guest.hostname,
        "hostname": guest.full_name,
        "launch_index": 0,
        "meta": dict(guest.tags),
        "random_seed": base64.b64encode(entropy(_SEED_BYTES)).decode(),
    }
    if guest.availability_zone is not None:
        document["availability_zone"] = guest.availability_zone
    if guest.project_id is not None:
        document["project_id"] = guest.project_id
    if guest.ssh_keys:
        names = _unique([key_name(key) for key in guest.ssh_keys])
        pairs = list(zip(names, guest.ssh_keys, strict=True))
        document["public_keys"] = dict(pairs)
        document["keys"] = [{"name": name, "type": "ssh", "data": key} for name, key in pairs]
    return document


def _unique(names: list[str]) -> list[str]:
    """Return names of which none is there twice; a key must not hide behind another's comment."""
    taken = set(names)
    found: list[str] = []
    for name in names:
        candidate, number = name, 2
        while candidate in found or (candidate != name and candidate in taken):
            candidate, number = f"{name}-{number}", number + 1
        found.append(candidate)
    return found


def network_data(guest: Guest) -> dict[str, Any]:
    """Return network_data.json."""
    links: list[dict[str, Any]] = []
    networks: list[dict[str, Any]] = []
    servers: dict[str, None] = {}
    for number, interface in enumerate(guest.interfaces):
        link = f"interface{number}"
        links.append(
            {
                "id": link,
                "type": "phy",
                "ethernet_mac_address": interface.mac,
                "mtu": interface.mtu,
                "vif_id": interface.port,
            }
        )
        for assignment in interface.assignments:
            head = {"id": f"network{len(networks)}", "link": link, "network_id": interface.network}
            networks.append(head | _network(interface, assignment))
            servers |= dict.fromkeys(assignment.dns_servers)
    services = [{"type": "dns", "address": server} for server in servers]
    return {"links": links, "networks": networks, "services": services}


def _network(interface: Interface, assignment: Assignment) -> dict[str, Any]:
    if assignment.kind == "ipv4_dhcp":
        return {"type": assignment.kind}
    return {
        "type": assignment.kind,
        "ip_address": assignment.address,
        "netmask": str(ip_network(assignment.prefix).netmask),
        "routes": _routes(assignment) if interface.is_static_alone(assignment) else [],
    }


def _routes(assignment: Assignment) -> list[dict[str, str]]:
    pairs = [("::/0" if assignment.version == 6 else "0.0.0.0/0", assignment.gateway)]
    pairs += [(one.destination, one.next_hop) for one in assignment.routes]
    return [
        {
            "network": str(ip_network(destination).network_address),
            "netmask": str(ip_network(destination).netmask),
            "gateway": next_hop,
        }
        for destination, next_hop in pairs
    ]
