"""What things of ours are called inside nftables: tables, sets, chains.

Names of ports and groups stand behind a prefix that no chain of the static part begins with, so
that what belongs to whom can be read from a listing. Names have at most 256 bytes in the kernel
(NFT_NAME_MAXLEN), ids at most 64.
"""

from chronovisor.net.marks import TABLE as TABLE  # both of our tables have this name
from chronovisor.net.settings import Direction

INET = 1
"""NFPROTO_INET (linux/netfilter.h): our table for IPv4 and IPv6."""

ARP = 3
"""NFPROTO_ARP: our table for ARP, which no inet chain sees."""

FAMILIES = {INET: "inet", ARP: "arp"}

IFNAME, MAC, IPV4, IPV6 = "ifname", "ether_addr", "ipv4_addr", "ipv6_addr"
"""Field types of set keys, as nftables writes them."""

TARGET = "@th,64,128"
"""The target of a neighbour advertisement: nftables 1.0.6 has no name for it, so a number."""

SETS: dict[tuple[int, str], tuple[str, ...]] = {
    (INET, "claimed"): (IFNAME,),
    (INET, "unguarded"): (IFNAME,),
    (INET, "stateless"): (IFNAME,),
    (INET, "macs"): (IFNAME, MAC),
    (INET, "guard4"): (IFNAME, MAC, IPV4),
    (INET, "guard6"): (IFNAME, MAC, IPV6),
    (INET, "targets"): (IFNAME, TARGET),
    (INET, "dns4"): (IFNAME, IPV4),
    (INET, "dns6"): (IFNAME, IPV6),
    (INET, "from_vm"): (IFNAME,),
    (INET, "to_vm"): (IFNAME,),
    (INET, "extra"): (IFNAME,),
    (ARP, "claimed"): (IFNAME,),
    (ARP, "unguarded"): (IFNAME,),
    (ARP, "guard"): (IFNAME, MAC, IPV4),
    (ARP, "extra"): (IFNAME,),
}
"""Sets and maps of the static part, with the fields of their keys; see `static.nft`."""

MEMBERS = {4: "members4-", 6: "members6-"}
"""Prefixes of the sets with the addresses of a group's ports."""

PORT_PREFIXES = ("from-", "to-", "guard-")
GROUP_PREFIXES = ("group-from-", "group-to-")
OWNED_PREFIXES = (*PORT_PREFIXES, *GROUP_PREFIXES)
"""Prefixes of the chains that belong to a port or a group."""

STATIC_MARK = "static-"
"""Prefix of the empty chain whose name says which static part is loaded."""


def fields(family: int, name: str) -> tuple[str, ...] | None:
    """Return the field types of a set's key; None when the set is none that we fill."""
    for version, prefix in MEMBERS.items():
        if family == INET and name.startswith(prefix):
            return (IPV4,) if version == 4 else (IPV6,)
    return SETS.get((family, name))


def members(version: int, group: str) -> str:
    """Return the name of the set of a group's addresses of one IP version."""
    return MEMBERS[version] + group


def group_chain(direction: Direction, group: str) -> str:
    """Return the name of a group's chain: `from` a VM or `to` it."""
    return f"group-{_way(direction)}-{group}"


def port_chain(direction: Direction, port: str) -> str:
    """Return the name of a port's chain: `from` a VM or `to` it."""
    return f"{_way(direction)}-{port}"


def guard_chain(port: str) -> str:
    """Return the name of the chain with the prefixes that a port may send from."""
    return f"guard-{port}"


def _way(direction: Direction) -> str:
    return "from" if direction is Direction.EGRESS else "to"
