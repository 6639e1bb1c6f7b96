"""Guests for the tests of the metadata proxy."""

from typing import Any

from chronovisor.net.intent import Intent, build
from chronovisor.net.metadata.plan import state_of
from chronovisor.net.metadata.state import Guest
from chronovisor.net.settings import Metadata

KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIPb1 alice@desk"

NETWORK: dict[str, Any] = {
    "subnets": [
        {
            "prefix": "10.1.0.0/16",
            "gateway": "10.1.0.1",
            "dns_servers": ["10.1.0.1", "9.9.9.9"],
            "host_routes": [{"destination": "192.0.2.0/24", "next_hop": "10.1.0.9"}],
        },
        {"prefix": "2001:db8:1::/64", "gateway": "fe80::1", "dns_servers": ["2001:db8::53"]},
    ],
    "mtu": 1450,
    "domain": "example.org",
}


def port(number: int, **changes: object) -> dict[str, object]:
    """Return the settings of port `vm<number>` on the device `tap<number>`."""
    return {
        "device": f"tap{number}",
        "mac": f"02:00:00:00:00:{number:02x}",
        "network": "blue",
        "addresses": [f"10.1.0.{number}", f"2001:db8:1::{number:x}"],
        "hostname": f"vm{number}",
        "instance": {
            "id": f"i-{number:04d}",
            "project_id": f"project{number}",
            "user_data": f"#cloud-config\nhostname: vm{number}\n",
            "ssh_keys": [KEY],
        },
    } | changes


def intent(*ports: dict[str, object], **networks: object) -> Intent:
    """Return the intent of ports; `port(10)` has the id `vm10`, whatever was changed."""
    values: dict[str, object] = {"host/net/networks/blue": NETWORK}
    values |= {f"host/net/networks/{name}": network for name, network in networks.items()}
    for one in ports:
        values[f"host/net/ports/vm{int(str(one['mac'])[-2:], 16)}"] = one
    found = build(values)
    assert not found.refused, found.refused
    return found


def guest(**changes: object) -> Guest:
    """Return the guest of `port(10)` with changes."""
    state = state_of(intent(port(10, **changes)), Metadata())
    assert state is not None
    return state.guests["vm10"]
