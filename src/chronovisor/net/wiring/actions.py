"""The steps of wiring, each small enough to be refused or repeated on its own.

`port` says whose step it is, empty where it is the host's or nobody's.
"""

from dataclasses import dataclass

from chronovisor.net.settings import RateLimit
from chronovisor.net.wiring.netlink.address import DeviceAddress
from chronovisor.net.wiring.netlink.link import LinkChange
from chronovisor.net.wiring.netlink.neighbour import Neighbour
from chronovisor.net.wiring.netlink.route import Route


@dataclass(frozen=True, slots=True)
class SetSwitch:
    """Write a value below /proc/sys/net."""

    path: str
    value: str
    reason: str
    port: str = ""

    def __str__(self) -> str:
        """Return the action as a line for people."""
        return f"set net/{self.path} to {self.value}"


@dataclass(frozen=True, slots=True)
class ChangeLink:
    """Set properties of a device."""

    device: str
    change: LinkChange
    reason: str
    port: str = ""

    def __str__(self) -> str:
        """Return the action as a line for people."""
        change = self.change
        parts = [
            f"mtu {change.mtu}" if change.mtu is not None else "",
            f"address {change.mac}" if change.mac is not None else "",
            f"{len(change.ipv4)} IPv4 settings" if change.ipv4 else "",
            "no automatic IPv6 address" if change.ipv6_mode is not None else "",
            {True: "up", False: "down", None: ""}[change.up],
        ]
        return f"set {self.device}: {', '.join(filter(None, parts))}"


@dataclass(frozen=True, slots=True)
class AddAddress:
    """Give a device an address, or change its flags."""

    device: str
    address: DeviceAddress
    reason: str
    port: str = ""

    def __str__(self) -> str:
        """Return the action as a line for people."""
        return f"add {self.address.address}/{self.address.prefix_length} to {self.device}"


@dataclass(frozen=True, slots=True)
class RemoveAddress:
    """Take an address of ours, or one that the kernel made up, from a device."""

    device: str
    address: DeviceAddress
    reason: str
    port: str = ""

    def __str__(self) -> str:
        """Return the action as a line for people."""
        return f"remove {self.address.address}/{self.address.prefix_length} from {self.device}"


@dataclass(frozen=True, slots=True)
class AddRoute:
    """Lead an address to a device; `replace` is for a route of ours alone."""

    device: str
    route: Route
    reason: str
    port: str = ""
    replace: bool = False

    def __str__(self) -> str:
        """Return the action as a line for people."""
        return f"route {self.route.destination}/{self.route.prefix_length} to {self.device}"


@dataclass(frozen=True, slots=True)
class RemoveRoute:
    """Remove a route of ours."""

    device: str
    route: Route
    reason: str
    port: str = ""

    def __str__(self) -> str:
        """Return the action as a line for people."""
        route = f"{self.route.destination}/{self.route.prefix_length}"
        return f"remove the route of {route} to {self.device}"


@dataclass(frozen=True, slots=True)
class SetNeighbour:
    """Say which MAC address an address has."""

    device: str
    neighbour: Neighbour
    reason: str
    port: str = ""

    def __str__(self) -> str:
        """Return the action as a line for people."""
        return f"neighbour {self.neighbour.address} on {self.device} is {self.neighbour.mac}"


@dataclass(frozen=True, slots=True)
class RemoveNeighbour:
    """Forget a neighbour of ours."""

    device: str
    neighbour: Neighbour
    reason: str
    port: str = ""

    def __str__(self) -> str:
        """Return the action as a line for people."""
        return f"forget neighbour {self.neighbour.address} on {self.device}"


@dataclass(frozen=True, slots=True)
class LimitToVm:
    """Bound what goes to the VM; without a rate the bound is removed."""

    device: str
    index: int
    rate: RateLimit
    reason: str
    port: str = ""

    def __str__(self) -> str:
        """Return the action as a line for people."""
        rate = self.rate.ingress_kbit_s
        return f"limit {self.device} to the VM: " + (f"{rate} kbit/s" if rate else "none")


@dataclass(frozen=True, slots=True)
class LimitFromVm:
    """Bound what comes from the VM; without a rate the bound is removed."""

    device: str
    index: int
    rate: RateLimit
    reason: str
    port: str = ""

    def __str__(self) -> str:
        """Return the action as a line for people."""
        rate = self.rate.egress_kbit_s
        return f"limit {self.device} from the VM: " + (f"{rate} kbit/s" if rate else "none")


Action = (
    SetSwitch
    | ChangeLink
    | AddAddress
    | RemoveAddress
    | AddRoute
    | RemoveRoute
    | SetNeighbour
    | RemoveNeighbour
    | LimitToVm
    | LimitFromVm
)
