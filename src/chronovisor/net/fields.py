"""Fields that settings of the net plane share, and what all of its models have in common."""

from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from typing import Annotated

from pydantic import AfterValidator, Field

Address = IPv4Address | IPv6Address
Prefix = IPv4Network | IPv6Network


def _unicast_mac(text: str) -> str:
    mac = text.lower()
    if int(mac[:2], 16) & 1:
        raise ValueError(f"{mac} is a group address; a VM's interface has an individual one")
    if mac == "00:00:00:00:00:00":
        raise ValueError("an interface cannot have the MAC address 00:00:00:00:00:00")
    return mac


Mac = Annotated[
    str,
    Field(pattern=r"^([0-9A-Fa-f]{2}:){5}[0-9A-Fa-f]{2}$", description="MAC address, aa:bb:…"),
    AfterValidator(_unicast_mac),
]

Identifier = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$")]
"""Id of a network, port or group: what stands in the key's instance."""

DeviceName = Annotated[str, Field(pattern=r"^[A-Za-z0-9_.-]{1,15}$")]  # IFNAMSIZ - 1

Hostname = Annotated[
    str, Field(pattern=r"^[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?$")  # RFC 1123 section 2.1
]

Domain = Annotated[
    str,
    Field(
        max_length=253,
        pattern=r"^[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
        r"(\.[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?)*$",
    ),
]
