"""Settings of PTP that need a page of their own: roles, profiles, unicast masters."""

import re
from enum import StrEnum
from ipaddress import AddressValueError, IPv4Address, IPv6Address
from typing import Annotated

from pydantic import Field, model_validator

from chronovisor.config.settings import Settings

_MAC = re.compile(r"[0-9a-fA-F]{2}(?::[0-9a-fA-F]{2}){5}")


class PtpRole(StrEnum):
    """Whom this host's PTP clock serves.

    A `client` only follows. A `boundary` clock follows on one port and hands the time on through
    the others (IEEE 1588-2019 clause 6.5.3).
    """

    CLIENT = "client"
    BOUNDARY = "boundary"


class ProfileName(StrEnum):
    """PTP profiles; what each says is in `clock/profiles/data`."""

    DEFAULT_E2E = "default-e2e"
    DEFAULT_P2P = "default-p2p"
    G_8275_1 = "G.8275.1"
    G_8275_2 = "G.8275.2"
    G_8265_1 = "G.8265.1"
    IEEE_802_1AS = "802.1AS"
    AES67 = "AES67"
    ST_2059_2 = "ST2059-2"
    C37_238 = "C37.238"


def transport_of(address: str) -> str:
    """Return the transport that an address belongs to, empty where it is none of a host.

    Names are those of `Transport`: `UDPv4`, `UDPv6`, and `L2` for a MAC address.
    """
    if _MAC.fullmatch(address):
        return "" if int(address[:2], 16) & 1 else "L2"  # the lowest bit says multicast
    try:
        return "" if _serves_many(IPv4Address(address)) else "UDPv4"
    except AddressValueError:
        pass
    try:  # ptp4l reads no scope (inet_pton(3))
        return "" if "%" in address or _serves_many(IPv6Address(address)) else "UDPv6"
    except AddressValueError:
        return ""


def _serves_many(address: IPv4Address | IPv6Address) -> bool:
    return address.is_multicast or address.is_unspecified


class UnicastMasterTable(Settings):
    """The masters that a port asks for messages (IEEE 1588-2019 clause 16.1 and 17.4)."""

    masters: Annotated[
        tuple[str, ...],
        Field(
            min_length=1,
            max_length=64,
            description="Addresses, all of the port's network_transport: IPv4, IPv6 or MAC",
        ),
    ]
    log_query_interval: Annotated[
        int,
        Field(
            ge=-6,
            le=16,
            description="log2 of the seconds between requests to a master that does not answer",
        ),
    ] = 0
    peer_address: Annotated[
        str,
        Field(description="The next PTP device, asked by unicast; only with delay_mechanism P2P"),
    ] = ""
    table_id: Annotated[
        int | None,
        Field(
            ge=1,
            le=2**31 - 1,
            description="Number of the table in ptp4l's file, unique; by default index + 1",
        ),
    ] = None

    @model_validator(mode="after")
    def _addresses_are_distinct(self) -> "UnicastMasterTable":
        folded = [address.lower() for address in self.masters]
        twice = sorted({address for address in folded if folded.count(address) > 1})
        if twice:
            raise ValueError(f"unicast master {', '.join(twice)} is there more than once")
        for address in (*self.masters, *([self.peer_address] if self.peer_address else ())):
            if not transport_of(address):
                raise ValueError(
                    f"{address[:80]!r} is not the IPv4, IPv6 or MAC address of one device"
                )
        return self
