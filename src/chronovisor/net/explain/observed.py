"""What was seen of one path, at one moment: only what concerns the ports that are asked about."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from chronovisor.net.dhcp.leases import Lease
from chronovisor.net.explain.packet import BaseChain
from chronovisor.net.firewall.rules import Chain, Element
from chronovisor.net.settings import Address
from chronovisor.net.wiring.netlink.address import DeviceAddress
from chronovisor.net.wiring.netlink.link import Link
from chronovisor.net.wiring.netlink.neighbour import Neighbour
from chronovisor.net.wiring.netlink.route import Route
from chronovisor.worlds import State, World


@dataclass(frozen=True, slots=True)
class Device:
    """A port's device. `link` is None where there is none in the host's network namespace.

    `carrier`: somebody holds the other end. `elsewhere`: namespaces that have a device of this
    name; looked for only where the host has none. `routes` to single addresses in table main.
    """

    link: Link | None = None
    carrier: bool = False
    master: str = ""
    elsewhere: tuple[str, ...] = ()
    addresses: tuple[DeviceAddress, ...] = ()
    neighbours: tuple[Neighbour, ...] = ()
    routes: tuple[Route, ...] = ()


@dataclass(frozen=True, slots=True)
class Answers:
    """Who answered on a tap: `mac` for the address that was asked, `others` for any at all."""

    mac: str = ""
    others: frozenset[str] = frozenset()
    waited_s: float = 0.0
    problem: str = ""


class Way(NamedTuple):
    """A packet: where to, where from (None: from this host), over which device it came in."""

    target: Address
    source: Address | None = None
    device: str = ""


@dataclass(frozen=True, slots=True)
class Lookup:
    """What the kernel does with a packet: the table's entry it follows, or why it refuses.

    `device` and `source` (the address it would send from) are those of its decision.
    """

    entry: Route | None = None
    device: str = ""
    source: Address | None = None
    refusal: str = ""


@dataclass(frozen=True, slots=True)
class Process:
    """A world with the letter of its process's state (proc(5): `T` is stopped), empty for none."""

    world: World
    letter: str = ""

    @property
    def serves(self) -> bool:
        """Whether it runs and is not frozen."""
        return self.world.state is State.RUNNING and self.letter not in ("", "T", "t", "Z", "X")


@dataclass(frozen=True, slots=True)
class Ruleset:
    """What nftables has of ours for the ports, and all that others have at the same hooks.

    `tables`: NFPROTO families of our tables that are there; `static`: rules of each base chain;
    `chains`: comments of rules; `foreign`: base chains of others with what they call.
    """

    tables: frozenset[int] = frozenset()
    static: Mapping[tuple[str, str], int] = field(default_factory=dict)
    chains: Mapping[Chain, tuple[str, ...]] = field(default_factory=dict)
    elements: frozenset[Element] = frozenset()
    foreign: tuple[BaseChain, ...] = ()
    legacy: tuple[str, ...] = ()
    """Tables of iptables' old interface (/proc/net/ip_tables_names), which nobody here reads."""
    problem: str = ""


@dataclass(frozen=True, slots=True)
class Observed:
    """The snapshot. `devices` by name; `lookups` by the packet."""

    enabled: bool = True
    plane_problem: str = ""
    devices: Mapping[str, Device] = field(default_factory=dict)
    names: Mapping[int, str] = field(default_factory=dict)
    """Names of devices that routes lead to, by number."""
    policies: tuple[str, ...] = ()
    """Policy rules of routing (ip-rule(8)) that are not the kernel's own three."""
    covering: Mapping[Address, tuple[Route, ...]] = field(default_factory=dict)
    """All entries of table main that cover an address; where a lookup was not as expected."""
    switches: Mapping[str, str] = field(default_factory=dict)
    answers: Mapping[Address, Answers] = field(default_factory=dict)
    lookups: Mapping[Way, Lookup] = field(default_factory=dict)
    ruleset: Ruleset = field(default_factory=Ruleset)
    processes: Mapping[str, Process] = field(default_factory=dict)
    files: Mapping[Path, str] = field(default_factory=dict)
    leases: tuple[Lease, ...] = ()
    metadata: Mapping[str, Any] | None = None
    """What the metadata proxy says of itself; None where it was not asked."""
    metadata_problem: str = ""
    now_s: float = 0.0
    """Unix time, which leases are written in."""
