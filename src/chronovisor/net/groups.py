"""Security groups: which traffic of a port is let through."""

from enum import StrEnum
from typing import Annotated

from pydantic import Field, model_validator

from chronovisor.config.settings import Settings
from chronovisor.net.fields import Identifier, Prefix


class Direction(StrEnum):
    """Seen from the VM: `ingress` comes to it, `egress` leaves it."""

    INGRESS = "ingress"
    EGRESS = "egress"


class Family(StrEnum):
    """Address family of a rule."""

    IPV4 = "ipv4"
    IPV6 = "ipv6"


class IpProtocol(StrEnum):
    """Protocol of a rule; `icmp` means ICMPv6 in a rule of family ipv6."""

    TCP = "tcp"
    UDP = "udp"
    SCTP = "sctp"
    ICMP = "icmp"


class Rule(Settings):
    """Traffic that a security group allows; what no rule allows is dropped.

    Without `protocol` all protocols match. Ports are for tcp, udp and sctp; `icmp_type` and
    `icmp_code` for icmp. The far end is `remote_prefix`, or the members of `remote_group`, or
    anybody.
    """

    direction: Direction
    """`ingress` comes to the VM, `egress` leaves it."""
    family: Family = Family.IPV4
    """Address family of the traffic."""
    protocol: IpProtocol | None = None
    """Protocol of the traffic; all when none is given."""
    port_min: Annotated[int, Field(ge=1, le=65535)] | None = None
    """First destination port."""
    port_max: Annotated[int, Field(ge=1, le=65535)] | None = None
    """Last destination port."""
    icmp_type: Annotated[int, Field(ge=0, le=255)] | None = None
    """ICMP type; all when none is given."""
    icmp_code: Annotated[int, Field(ge=0, le=255)] | None = None
    """ICMP code; all when none is given."""
    remote_prefix: Prefix | None = None
    """Where the far end is."""
    remote_group: Identifier | None = None
    """Security group whose ports are the far end."""

    @model_validator(mode="after")
    def _makes_sense(self) -> "Rule":
        ports = self.port_min is not None or self.port_max is not None
        if ports and self.protocol not in (IpProtocol.TCP, IpProtocol.UDP, IpProtocol.SCTP):
            raise ValueError("ports need protocol tcp, udp or sctp")
        if (self.port_min is None) != (self.port_max is None):
            raise ValueError("port_min and port_max go together")
        if (
            self.port_min is not None
            and self.port_max is not None
            and self.port_min > self.port_max
        ):
            raise ValueError(f"port_min {self.port_min} is above port_max {self.port_max}")
        if self.icmp_type is not None and self.protocol is not IpProtocol.ICMP:
            raise ValueError("icmp_type needs protocol icmp")
        if self.icmp_code is not None and self.icmp_type is None:
            raise ValueError("icmp_code needs icmp_type")
        if self.remote_prefix is not None and self.remote_group is not None:
            raise ValueError("remote_prefix and remote_group exclude each other")
        version = 4 if self.family is Family.IPV4 else 6
        if self.remote_prefix is not None and self.remote_prefix.version != version:
            raise ValueError(f"{self.remote_prefix} is not of family {self.family.value}")
        return self


class SecurityGroup(Settings):
    """Rules that ports share: `host/net/security_groups/<id>`.

    A `remote_group` means the addresses of that group's ports on this host, and `members`:
    addresses of its ports elsewhere.
    """

    rules: tuple[Rule, ...] = ()
    """What is let through."""
    members: tuple[Prefix, ...] = ()
    """Addresses of its ports on other hosts."""
    stateful: bool = True
    """Whether answers to allowed traffic pass by themselves."""
