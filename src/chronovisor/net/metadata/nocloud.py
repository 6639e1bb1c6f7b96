"""cloud-init's NoCloud: what `ds=nocloud;s=http://169.254.169.254/nocloud/` makes it read.

Before 24.1 cloud-init takes a seed from the network only as `ds=nocloud-net;…`.

The documents are YAML; JSON is YAML too (YAML 1.2 section 1.3), which spares the proxy a library.
"""

import json
from typing import Any

from chronovisor.net.metadata.state import Assignment, Guest, Interface

NAMES = ("meta-data", "user-data", "vendor-data", "network-config")


def find(guest: Guest, name: str) -> bytes | None:
    """Return a document of the seed; None if there is none of that name.

    `meta-data` and `user-data` are always there: without either a seed does not count.
    """
    match name:
        case "meta-data":
            return _json(_meta_data(guest))
        case "user-data":
            return guest.user_data or b""
        case "vendor-data":
            return (guest.vendor_data or "").encode()
        case "network-config":
            return _json(network_config(guest))
    return None


def _json(document: object) -> bytes:
    return json.dumps(document, indent=1).encode() + b"\n"


def _meta_data(guest: Guest) -> dict[str, Any]:
    document: dict[str, Any] = {
        "instance-id": guest.instance_id,
        "local-hostname": guest.full_name,
    }
    if guest.ssh_keys:
        document["public-keys"] = list(guest.ssh_keys)
    if guest.availability_zone is not None:
        document["availability-zone"] = guest.availability_zone
    return document


def network_config(guest: Guest) -> dict[str, Any]:
    """Return a network configuration of version 2 (the form of netplan)."""
    return {
        "version": 2,
        "ethernets": {
            f"interface{number}": _ethernet(guest, interface)
            for number, interface in enumerate(guest.interfaces)
        },
    }


def _ethernet(guest: Guest, interface: Interface) -> dict[str, Any]:
    kinds = {one.kind for one in interface.assignments}
    document: dict[str, Any] = {
        "match": {"macaddress": interface.mac},
        "mtu": interface.mtu,
        "dhcp4": "ipv4_dhcp" in kinds,
        "dhcp6": bool(kinds & {"ipv6_dhcpv6-stateful", "ipv6_dhcpv6-stateless"}),
        "accept-ra": any(kind.startswith("ipv6_") for kind in kinds),
    }
    static = [one for one in interface.assignments if one.kind in ("ipv4", "ipv6")]
    if static:
        document["addresses"] = [f"{one.address}/{one.length}" for one in static]
    alone = [one for one in static if interface.is_static_alone(one)]
    if alone:
        document["routes"] = [route for one in alone for route in _routes(one)]
        servers = {server: None for one in alone for server in one.dns_servers}
        if servers:
            search = [guest.domain] if guest.domain else []
            document["nameservers"] = {"addresses": [*servers], "search": search}
    return document


def _routes(assignment: Assignment) -> list[dict[str, str]]:
    default = "::/0" if assignment.version == 6 else "0.0.0.0/0"
    return [{"to": default, "via": assignment.gateway}] + [
        {"to": one.destination, "via": one.next_hop} for one in assignment.routes
    ]
