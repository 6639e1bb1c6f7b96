"""Settings of the net plane: the Config Store keys below `host/net`.

- `host/net/networks/<id>`: what VMs believe they are connected to (one subnet per family);
- `host/net/security_groups/<id>`: which traffic a port's group lets through;
- `host/net/ports/<id>`: one VM interface: its tap, its addresses, its network and groups;
- `host/net/metadata`: where VMs' metadata come from;
- `host/net/vm_networking`: whether this host does any of it.

Security groups are in `groups`, what all models share in `fields`; both are named here too.
Nothing here knows of OpenStack or of routers beyond the host: both use these models.
"""

import base64
import binascii
from enum import StrEnum
from typing import Annotated
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field, model_validator

from chronovisor.config.secret import Secret
from chronovisor.config.settings import Settings
from chronovisor.net.fields import Address as Address
from chronovisor.net.fields import DeviceName, Domain, Hostname, Identifier, Mac
from chronovisor.net.fields import Prefix as Prefix
from chronovisor.net.groups import Direction as Direction
from chronovisor.net.groups import Family as Family
from chronovisor.net.groups import IpProtocol as IpProtocol
from chronovisor.net.groups import Rule as Rule
from chronovisor.net.groups import SecurityGroup as SecurityGroup

NETWORKS = "host/net/networks"
SECURITY_GROUPS = "host/net/security_groups"
PORTS = "host/net/ports"
METADATA = "host/net/metadata"
VM_NETWORKING = "host/net/vm_networking"

MOST_USER_DATA = 65535
"""Bytes of user data (and of vendor data) that a VM can be given; Nova has the same bound."""


class RaMode(StrEnum):
    """How VMs get IPv6 addresses (RFC 4861 section 4.2, flags of a router advertisement)."""

    DHCPV6_STATEFUL = "dhcpv6_stateful"  # managed
    DHCPV6_STATELESS = "dhcpv6_stateless"  # other configuration
    SLAAC = "slaac"
    NONE = "none"


class HostRoute(Settings):
    """A route that VMs are told of (DHCP option 121, RFC 3442)."""

    destination: Prefix
    """Where the route leads."""
    next_hop: Address
    """The router to it, an address on the VM's link."""

    @model_validator(mode="after")
    def _one_family(self) -> "HostRoute":
        if self.destination.version != self.next_hop.version:
            raise ValueError(f"{self.destination} and {self.next_hop} are of different families")
        return self


class Subnet(Settings):
    """What VMs of a network believe is on their link, for one address family."""

    prefix: Prefix
    """What the VM believes to be its link."""
    gateway: Address
    """Its router; this host answers for it."""
    dns_servers: tuple[Address, ...] = ()
    """Name servers that VMs are told of."""
    ntp_servers: tuple[Address, ...] = ()
    """Time servers that VMs are told of."""
    host_routes: tuple[HostRoute, ...] = ()
    """More routes that VMs are told of."""
    dhcp: bool = True
    """Whether VMs are given leases."""
    ra_mode: RaMode = RaMode.DHCPV6_STATEFUL
    """How VMs get IPv6 addresses."""

    @model_validator(mode="after")
    def _fits_together(self) -> "Subnet":
        version = self.prefix.version
        link_local = self.gateway.version == 6 and self.gateway.is_link_local
        if self.gateway.version != version or (self.gateway not in self.prefix and not link_local):
            raise ValueError(f"gateway {self.gateway} is not an address of {self.prefix}")
        for address in (*self.dns_servers, *self.ntp_servers):
            if address.version != version:
                raise ValueError(f"{address} is not of the family of {self.prefix}")
        for route in self.host_routes:
            if route.destination.version != version:
                raise ValueError(
                    f"route to {route.destination} is not of the family of {self.prefix}"
                )
        return self


class Network(Settings):
    """A network as VMs see it: `host/net/networks/<id>`. Not one of its frames leaves a tap."""

    subnets: Annotated[tuple[Subnet, ...], Field(min_length=1, max_length=2)]
    """One subnet for each address family."""
    mtu: Annotated[int, Field(ge=1280, le=65520)] = 1500  # RFC 8200 section 5: at least 1280
    """Largest packet of a VM, in bytes."""
    domain: Domain | None = None
    """Domain name that VMs are told of."""
    lease_time_s: Annotated[int, Field(ge=120, le=31_536_000)] = 3600
    """How long a lease holds, in seconds."""

    @model_validator(mode="after")
    def _one_subnet_a_family(self) -> "Network":
        if len({subnet.prefix.version for subnet in self.subnets}) != len(self.subnets):
            raise ValueError("a network has one subnet for each address family")
        return self


class AddressPair(Settings):
    """An address, beside its own, that a VM may send from; with the port's MAC by default."""

    prefix: Prefix
    """Addresses that the VM may send from."""
    mac: Mac | None = None
    """MAC address it does so with; its own when none is given."""


class Announce(StrEnum):
    """Whether a port's addresses are told to the fabric."""

    ALWAYS = "always"
    WHEN_WIRED = "when_wired"
    NEVER = "never"


class RateLimit(Settings):
    """Bounds of a port's traffic, by token bucket (tc-tbf(8)); seen from the VM."""

    ingress_kbit_s: Annotated[int, Field(ge=8, le=400_000_000)] | None = None
    """Most traffic to the VM, in kbit/s."""
    egress_kbit_s: Annotated[int, Field(ge=8, le=400_000_000)] | None = None
    """Most traffic from the VM, in kbit/s."""
    burst_kbyte: Annotated[int, Field(ge=2, le=1_000_000)] = 128
    """How much may come at once, in kbyte."""


def _at_most_user_data(text: str) -> str:
    if (size := len(text.encode())) > MOST_USER_DATA:
        raise ValueError(f"has {size} bytes; at most {MOST_USER_DATA} are possible")
    return text


def _base64(text: str) -> str:
    try:
        size = len(base64.b64decode(text, validate=True))
    except (binascii.Error, ValueError) as error:
        raise ValueError(f"is not base64: {error}") from None
    if size > MOST_USER_DATA:
        raise ValueError(f"holds {size} bytes; at most {MOST_USER_DATA} are possible")
    return text


def _header_text(text: str) -> str:
    if not text.isascii() or not text.isprintable():
        raise ValueError("may hold printable ASCII characters only")
    return text


UserText = Annotated[str, AfterValidator(_at_most_user_data)]

SshKey = Annotated[
    str,
    Field(
        max_length=16384,
        pattern=r"^[a-z0-9@.-]+ [A-Za-z0-9+/]+={0,2}( [^\x00-\x1f]*)?$",
        description="one line of authorized_keys: type, base64, comment (sshd(8))",
    ),
]


class Instance(Settings):
    """The VM that a port belongs to, as it is told of itself (cloud-init's datasources).

    Ports with one `id` are interfaces of one VM and appear together in its network metadata; what
    else it is told is that of the port it asks through. With Nova's metadata API only `id` and
    `project_id` are used.
    """

    id: Identifier
    """Id of the VM."""
    project_id: Identifier | None = None
    """Id of the project it belongs to."""
    name: Annotated[str, Field(max_length=255, pattern=r"^[^\x00-\x1f]+$")] | None = None
    """Its name."""
    user_data: UserText | None = None
    """User data as text."""
    user_data_base64: Annotated[str, AfterValidator(_base64)] | None = None
    """User data in base64, for bytes."""
    vendor_data: UserText | None = None
    """Vendor data as text."""
    ssh_keys: tuple[SshKey, ...] = ()
    """Public keys of its users."""
    tags: dict[
        Annotated[str, Field(pattern=r"^[A-Za-z0-9_.:@+=-]{1,128}$")],
        Annotated[str, Field(max_length=255)],
    ] = Field(default_factory=dict)
    """Words about it, by name."""
    availability_zone: Identifier | None = None
    """Where it runs."""

    @model_validator(mode="after")
    def _user_data_once(self) -> "Instance":
        if self.user_data is not None and self.user_data_base64 is not None:
            raise ValueError("user_data and user_data_base64 exclude each other")
        return self


def _http_url(text: str) -> str:
    try:
        url = urlsplit(text)
        port = url.port
    except ValueError as error:
        raise ValueError(f"{text!r} is not a URL: {error}") from None
    if url.scheme not in ("http", "https") or not url.hostname or port == 0:
        raise ValueError(f"{text!r} is not a URL such as http://controller:8775")
    if url.query or url.fragment or url.username or url.path not in ("", "/"):
        raise ValueError(f"{text!r}: only scheme, host and port can be given")
    if not text.isascii() or not text.isprintable() or " " in text:
        raise ValueError(f"{text!r} holds characters that no URL has")
    return text


_TAP_PATTERN = r"^([A-Za-z0-9_.-]{1,15}|[A-Za-z0-9_.-]{1,14}\*)$"  # IFNAMSIZ - 1


def _no_loopback(pattern: str) -> str:
    if pattern in ("lo", "lo*", "l*"):
        raise ValueError(f"{pattern} is the host's own loopback device, which must stay open")
    return pattern


class VmNetworking(Settings):
    """Routed VM networking of this host: `host/net/vm_networking`.

    Not enabled, Chronovisor leaves taps, routes, firewall and DHCP alone: nothing is added, and
    what was wired stays as it is. Enabled, every device whose name matches `tap_patterns` (`*` at
    the end stands for any ending) is closed until a port claims it.
    """

    enabled: bool = False
    """Whether this host connects VMs."""
    tap_patterns: Annotated[
        tuple[Annotated[str, Field(pattern=_TAP_PATTERN), AfterValidator(_no_loopback)], ...],
        Field(min_length=1),
    ] = ("tap*",)
    """Names of VMs' devices; closed until a port claims them."""
    dns: bool = Field(default=False, description="Answer VMs' DNS on this host.")


class NovaMetadata(Settings):
    """Nova's metadata API; `shared_secret` is Nova's `metadata_proxy_shared_secret`."""

    url: Annotated[str, AfterValidator(_http_url)]
    """Where Nova answers, such as http://controller:8775."""
    shared_secret: Annotated[Secret, Field(min_length=1), AfterValidator(_header_text)]
    """Nova's metadata_proxy_shared_secret."""
    timeout_s: Annotated[float, Field(gt=0, le=60)] = 10.0
    """How long Nova may take, in seconds."""
    ca_file: str | None = None
    """Certificates to trust instead of the system's."""


class Metadata(Settings):
    """Metadata for VMs: `host/net/metadata`. Without `nova` this host answers by itself."""

    enabled: bool = True
    """Whether VMs get metadata."""
    nova: NovaMetadata | None = None
    """Nova's metadata API; this host answers by itself when none is given."""


class Port(Settings):
    """One interface of a VM: `host/net/ports/<id>`. It may be wanted before its tap exists."""

    device: DeviceName
    """Name of the VM's tap on this host."""
    mac: Mac
    """MAC address of the VM's interface."""
    network: Identifier
    """Id of its network."""
    addresses: tuple[Address, ...] = ()
    """Its addresses, several of each family."""
    hostname: Hostname | None = None
    """Host name that the VM is told."""
    security_groups: tuple[Identifier, ...] = ()
    """Ids of its security groups."""
    allowed_address_pairs: tuple[AddressPair, ...] = ()
    """More addresses that it may send from."""
    port_security: bool = True
    """Whether senders and traffic are checked at all."""
    announce: Announce = Announce.WHEN_WIRED
    """Whether its addresses are told to the fabric."""
    rate_limit: RateLimit = RateLimit()
    """Bounds of its traffic."""
    instance: Instance | None = None
    """The VM it belongs to, for metadata."""
    enabled: bool = True
    """Whether it is served; its claims hold either way."""

    @model_validator(mode="after")
    def _addresses_are_usable(self) -> "Port":
        if len(set(self.addresses)) != len(self.addresses):
            raise ValueError("an address is given twice")
        for address in self.addresses:
            if address.is_multicast or address.is_unspecified or address.is_loopback:
                raise ValueError(f"{address} is not an address that a VM can have")
        return self
