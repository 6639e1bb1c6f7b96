"""What visord tells the metadata proxy, as dataclasses and as the JSON of its files.

``Guest.from_json(guest.to_json()) == guest``. Only the standard library is imported: the proxy
reads these files and has no use for pydantic.
"""

import base64
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from chronovisor.errors import ProtocolError

SERVICE_FILE, PORTS, STATUS_SOCKET = "service.json", "ports", "status.sock"
"""What the proxy's directory holds: a `Service`, `Guest`s, and where the proxy tells of itself."""


@dataclass(frozen=True, slots=True)
class HostRoute:
    """A route that a VM is told of: prefix and next hop as text."""

    destination: str
    next_hop: str


@dataclass(frozen=True, slots=True)
class Assignment:
    """An address of an interface and what goes with it.

    `kind` is OpenStack's word for how the VM gets it: `ipv4`, `ipv4_dhcp`, `ipv6`, `ipv6_slaac`,
    `ipv6_dhcpv6-stateful` or `ipv6_dhcpv6-stateless`. `prefix` is the subnet, as 10.0.0.0/16.
    """

    address: str
    prefix: str
    gateway: str
    kind: str
    dns_servers: tuple[str, ...] = ()
    routes: tuple[HostRoute, ...] = ()

    @property
    def version(self) -> int:
        """Return 4 or 6."""
        return 6 if ":" in self.address else 4

    @property
    def length(self) -> int:
        """Return the prefix length of the subnet."""
        return int(self.prefix.partition("/")[2])


@dataclass(frozen=True, slots=True)
class Interface:
    """One interface of a VM; `port` is its port's id."""

    port: str
    network: str
    mac: str
    mtu: int
    assignments: tuple[Assignment, ...] = ()
    security_groups: tuple[str, ...] = ()

    def is_static_alone(self, assignment: Assignment) -> bool:
        """Whether a VM has to set an address, and its routes, with no DHCP or RA to help."""
        first = next(one for one in self.assignments if one.version == assignment.version)
        return assignment == first and assignment.kind in ("ipv4", "ipv6")

    def addresses(self, version: int) -> tuple[str, ...]:
        """Return the addresses of one family."""
        return tuple(one.address for one in self.assignments if one.version == version)


@dataclass(frozen=True, slots=True)
class Guest:
    """What is known of the VM behind one port's tap.

    `sources` are the addresses it may ask from (any link-local IPv6 address too: only this VM is
    on that link). `interfaces` are all of the VM's, in the order of their ports' ids.
    `instance_id` is the port's id where the port names no instance; `named` tells the two apart.
    """

    port: str
    device: str
    sources: tuple[str, ...]
    instance_id: str
    named: bool
    hostname: str
    interfaces: tuple[Interface, ...]
    domain: str | None = None
    project_id: str | None = None
    name: str | None = None
    user_data: bytes | None = field(default=None, repr=False)
    vendor_data: str | None = field(default=None, repr=False)
    ssh_keys: tuple[str, ...] = ()
    tags: Mapping[str, str] = field(default_factory=dict)
    availability_zone: str | None = None

    @property
    def full_name(self) -> str:
        """Return the host name with the domain, if there is one."""
        return f"{self.hostname}.{self.domain}" if self.domain else self.hostname

    def to_json(self) -> str:
        """Return the text of this guest's file."""
        document = asdict(self)
        if self.user_data is not None:
            document["user_data"] = base64.b64encode(self.user_data).decode()
        return _text(document)

    @classmethod
    def from_json(cls, text: str | bytes) -> "Guest":
        """Return the guest that `to_json` made `text` of; raise `ProtocolError` if none did."""
        try:
            document = json.loads(text)
            interfaces = tuple(_interface(one) for one in document.pop("interfaces"))
            user_data = document.pop("user_data")
            return cls(
                **_tuples(document),
                interfaces=interfaces,
                user_data=None if user_data is None else base64.b64decode(user_data),
            )
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
            raise ProtocolError(f"not a guest's description: {error!r}") from None


@dataclass(frozen=True, slots=True)
class Nova:
    """Nova's metadata API. `url` has scheme, host and port; `timeout_s` bounds a whole request."""

    url: str
    shared_secret: str = field(repr=False)
    timeout_s: float
    ca_file: str | None = None


@dataclass(frozen=True, slots=True)
class Service:
    """Where answers come from: Nova, or this host itself where `nova` is None."""

    nova: Nova | None = None

    def to_json(self) -> str:
        """Return the text of service.json."""
        return _text(asdict(self))

    @classmethod
    def from_json(cls, text: str | bytes) -> "Service":
        """Return the service that `to_json` made `text` of; raise `ProtocolError` if none did."""
        try:
            nova = json.loads(text)["nova"]
            return cls(None if nova is None else Nova(**nova))
        except (ValueError, TypeError, KeyError, RecursionError) as error:
            raise ProtocolError(f"not a description of the service: {error!r}") from None


@dataclass(frozen=True, slots=True)
class State:
    """All that the proxy has to know; `guests` by port id."""

    service: Service = Service()
    guests: Mapping[str, Guest] = field(default_factory=dict)


def _text(document: object) -> str:
    return json.dumps(document, separators=(",", ":"), sort_keys=True)


def _tuples(document: dict[str, Any]) -> dict[str, Any]:
    return {key: tuple(it) if isinstance(it, list) else it for key, it in document.items()}


def _interface(document: dict[str, Any]) -> Interface:
    assignments = tuple(_assignment(one) for one in document.pop("assignments"))
    return Interface(**_tuples(document), assignments=assignments)


def _assignment(document: dict[str, Any]) -> Assignment:
    routes = tuple(HostRoute(**one) for one in document.pop("routes"))
    return Assignment(**_tuples(document), routes=routes)
