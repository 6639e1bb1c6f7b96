"""Which nodes a lab has, where they are, and the commands for ip(8) that wire them. Pure.

The fabric is one bridge. Peer delay messages stay on their cable (IEEE 1588-2019 clause 11.4): for
each host there is a port of a switch that answers them, and a filter keeps them from all others.
"""

import re
from dataclasses import dataclass
from enum import StrEnum
from ipaddress import IPv4Interface, IPv6Interface

from chronovisor.lab.spec import LabSpec

INTERFACE = "eth0"
"""The interface of every node that has a namespace of its own."""

BRIDGE = "br0"

_PEER_DELAY_MACS = (  # IEEE 1588-2019 annexes C, D and E: 224.0.0.107, ff02::6b, and Ethernet
    "01:00:5e:00:00:6b",
    "33:33:00:00:00:6b",
    "01:80:c2:00:00:0e",
)

# A bridge swallows frames to 01:80:C2:00:00:0X; bit 14 lets those to ...:0E pass, the address of
# PTP's peer delay messages (IEEE 1588-2019 annex E.3; ip-link(8), group_fwd_mask)
_FORWARDED_GROUPS = 1 << 14

_FABRIC = "fabric"
_NODE = re.compile(r"(?:fabric|gm[0-9]+|host[0-9]+)\Z")


class Kind(StrEnum):
    """What a node is."""

    GRANDMASTER = "grandmaster"
    SWITCH_PORT = "switch port"
    HOST = "host"


@dataclass(frozen=True, slots=True)
class Node:
    """A node: its name, number among its kind, namespace, device and addresses."""

    name: str
    kind: Kind
    number: int
    namespace: str
    interface: str
    mac: str
    ipv4: IPv4Interface
    ipv6: IPv6Interface
    link_local: IPv6Interface

    @property
    def port(self) -> str:
        """Return the name of the other end of its cable, in the fabric."""
        return f"sw{self.number}" if self.kind is Kind.SWITCH_PORT else self.name


def namespace(lab: str, node: str) -> str:
    """Return the name of a node's network namespace."""
    return f"cv-{lab}-{node}"


def fabric(lab: str) -> str:
    """Return the name of the network namespace of a lab's fabric."""
    return namespace(lab, _FABRIC)


def belongs_to(lab: str, name: str) -> bool:
    """Return whether a network namespace of this name is of this lab.

    The part after the last `-` is the node, so the lab `a` never takes those of the lab `a-b`.
    """
    head, _, node = name.rpartition("-")
    return head == f"cv-{lab}" and _NODE.match(node) is not None


def nodes(spec: LabSpec) -> tuple[Node, ...]:
    """Return every node of a lab: grandmasters, switch ports, hosts."""
    hosts = range(1, spec.hosts + 1)
    return (
        *(_node(spec, Kind.GRANDMASTER, "gm", 1 + index) for index in range(spec.grandmasters)),
        *(_node(spec, Kind.SWITCH_PORT, "switch", number) for number in hosts),
        *(_node(spec, Kind.HOST, "host", number) for number in hosts),
    )


def namespaces(spec: LabSpec) -> tuple[str, ...]:
    """Return the names of all network namespaces of a lab."""
    places = (fabric(spec.name), *(node.namespace for node in nodes(spec)))
    return tuple(dict.fromkeys(places))


def _node(spec: LabSpec, kind: Kind, prefix: str, number: int) -> Node:
    # The same numbers in every lab, so that clock identities in examples are what one sees.
    segment = {Kind.GRANDMASTER: 0, Kind.HOST: 1, Kind.SWITCH_PORT: 2}[kind]
    in_fabric = kind is Kind.SWITCH_PORT
    name = f"{prefix}{number}"
    home = _FABRIC if in_fabric else name
    return Node(
        name=name,
        kind=kind,
        number=number,
        namespace=namespace(spec.name, home),
        interface=f"ptp{number}" if in_fabric else INTERFACE,
        mac=f"02:c5:00:00:{segment:02x}:{number:02x}",  # 02: locally administered
        ipv4=IPv4Interface(f"10.0.{segment}.{number}/16"),
        ipv6=IPv6Interface(f"fd43:6872:6f6e::{segment:x}:{number:x}/64"),  # RFC 4193
        link_local=IPv6Interface(f"fe80::{segment:x}:{number:x}/64"),
    )


def fabric_commands(spec: LabSpec) -> list[str]:
    """Return the lines for `ip -batch` in the fabric's namespace; the others exist already."""
    lines = [
        "link set lo up",
        f"link add {BRIDGE} type bridge stp_state 0 forward_delay 0 mcast_snooping 0 "
        f"group_fwd_mask {_FORWARDED_GROUPS:#x}",
        f"link set {BRIDGE} addrgenmode none up",
    ]
    for node in nodes(spec):
        where = "" if node.kind is Kind.SWITCH_PORT else f" netns {node.namespace}"
        lines += [
            f"link add {node.port} type veth peer name {node.interface} address {node.mac}{where}",
            f"link set {node.port} master {BRIDGE} addrgenmode none up",
        ]
    return lines


def fabric_rules(spec: LabSpec) -> str:
    """Return the filter of the fabric, for `nft -f`: peer delay messages stay on their cable."""
    ports = {node.name: node.port for node in nodes(spec)}
    cables = [(f"host{number}", ports[f"switch{number}"]) for number in range(1, spec.hosts + 1)]
    ends = [f'"{a}" . "{b}", "{b}" . "{a}"' for a, b in cables]
    elements = f"elements = {{ {', '.join(ends)} }}" if ends else ""
    return f"""\
table bridge lab {{
  set cables {{
    type ifname . ifname
    {elements}
  }}
  chain forward {{
    type filter hook forward priority 0; policy accept;
    ether daddr {{ {", ".join(_PEER_DELAY_MACS)} }} iifname . oifname != @cables drop
  }}
}}
"""


def node_commands(node: Node) -> list[str]:
    """Return the lines for `ip -batch` in a node's namespace, once its device is there.

    `nodad`: an address must be usable at once, not after duplicate address detection.
    """
    device = node.interface
    return [
        "link set lo up",
        f"link set {device} addrgenmode none up",
        f"address add {node.ipv4} dev {device}",
        f"address add {node.link_local} dev {device} nodad",
        f"address add {node.ipv6} dev {device} nodad",
    ]
