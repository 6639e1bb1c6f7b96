"""What the responder knows of a port: one small JSON file each, written by the plan."""

import json
from dataclasses import dataclass
from ipaddress import IPv6Address, IPv6Network
from typing import Any


@dataclass(frozen=True, slots=True)
class Record:
    """A port as its VM sees IPv6.

    `advertise` False: no router is announced. `autonomous`: the VM makes its own address (SLAAC).
    `managed`: it asks for `addresses`; `other`: it asks for the rest only (RFC 4861 section 4.2).
    `mac` is the VM's; `router` the source of all it hears, `router_mac` the MAC address that goes
    with it.
    """

    device: str
    mac: bytes
    router: IPv6Address
    router_mac: str
    prefix: IPv6Network
    addresses: tuple[IPv6Address, ...]
    lifetime_s: int
    mtu: int
    advertise: bool
    managed: bool
    other: bool
    autonomous: bool
    dns_servers: tuple[IPv6Address, ...] = ()
    ntp_servers: tuple[IPv6Address, ...] = ()
    routes: tuple[IPv6Network, ...] = ()
    domain: str = ""
    hostname: str = ""


def to_text(record: Record) -> str:
    """Return a record as the text of its file."""
    found = {field: _plain(getattr(record, field)) for field in Record.__slots__}
    return json.dumps(found, indent=1) + "\n"


def _plain(value: object) -> object:
    if isinstance(value, tuple):
        return [str(one) for one in value]
    if isinstance(value, bytes):
        return value.hex(":")
    return value if isinstance(value, int | str) else str(value)


def from_text(text: str) -> Record:
    """Return the record of a file. Raises ValueError (or a kind of it) for any other text."""
    try:
        found: dict[str, Any] = json.loads(text)
        given = found | {
            "mac": bytes.fromhex(found["mac"].replace(":", "")),
            "router": IPv6Address(found["router"]),
            "prefix": IPv6Network(found["prefix"]),
            "routes": tuple(map(IPv6Network, found["routes"])),
        }
        for key in ("addresses", "dns_servers", "ntp_servers"):
            given[key] = tuple(map(IPv6Address, found[key]))
        return Record(**given)
    except (KeyError, TypeError) as error:
        raise ValueError(f"not the record of a port: {error!r}") from error
