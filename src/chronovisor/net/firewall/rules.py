"""Rules as values: what a packet must match and what becomes of it; as text for people and nft.

`bytecode` says the same to the kernel. A rule carries a comment with a digest, so that a chain
read back from the kernel tells whether it is what it should be. Tuples, since there are many.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from ipaddress import IPv4Network, IPv6Network
from typing import NamedTuple

from chronovisor.net.firewall.names import ARP, FAMILIES, INET, TABLE

IP_WORD = {4: "ip", 6: "ip6"}
PROTOCOL_WORDS = {1: "icmp", 6: "tcp", 17: "udp", 58: "ipv6-icmp", 132: "sctp"}


@dataclass(frozen=True, slots=True)
class MatchVersion:
    """The packet is of an IP version."""

    version: int

    def __str__(self) -> str:
        return f"meta nfproto ipv{self.version}"


@dataclass(frozen=True, slots=True)
class MatchAddress:
    """The packet's `saddr` or `daddr` lies in a prefix."""

    side: str
    prefix: IPv4Network | IPv6Network

    def __str__(self) -> str:
        return f"{IP_WORD[self.prefix.version]} {self.side} {_prefix(self.prefix)}"


@dataclass(frozen=True, slots=True)
class MatchMembers:
    """The packet's `saddr` or `daddr` is in a set of addresses."""

    side: str
    version: int
    set_name: str

    def __str__(self) -> str:
        return f"{IP_WORD[self.version]} {self.side} @{self.set_name}"


@dataclass(frozen=True, slots=True)
class MatchProtocol:
    """The packet is of a transport protocol (IANA number)."""

    number: int

    def __str__(self) -> str:
        return f"meta l4proto {PROTOCOL_WORDS[self.number]}"


@dataclass(frozen=True, slots=True)
class MatchPort:
    """The destination port lies in a range, both ends included; after `MatchProtocol`."""

    first: int
    last: int

    def __str__(self) -> str:
        ports = f"{self.first}" if self.first == self.last else f"{self.first}-{self.last}"
        return f"th dport {ports}"


@dataclass(frozen=True, slots=True)
class MatchIcmp:
    """The type, or (`code`) the code, of an ICMP message; after `MatchProtocol`."""

    version: int
    value: int
    code: bool = False

    def __str__(self) -> str:
        word = "icmp" if self.version == 4 else "icmpv6"
        return f"{word} {'code' if self.code else 'type'} {self.value}"


@dataclass(frozen=True, slots=True)
class MatchMac:
    """The frame's source, or (`arp`) the sender that an ARP message names."""

    mac: str
    arp: bool = False

    def __str__(self) -> str:
        return f"{'arp' if self.arp else 'ether'} saddr {'ether ' if self.arp else ''}{self.mac}"


@dataclass(frozen=True, slots=True)
class MatchArpAddress:
    """The sender's IPv4 address in an ARP message lies in a prefix."""

    prefix: IPv4Network

    def __str__(self) -> str:
        return f"arp saddr ip {_prefix(self.prefix)}"


Match = (
    MatchVersion
    | MatchAddress
    | MatchMembers
    | MatchProtocol
    | MatchPort
    | MatchIcmp
    | MatchMac
    | MatchArpAddress
)


class Verdict(NamedTuple):
    """What becomes of a packet: `accept`, `drop`, or `jump` to a chain."""

    word: str
    chain: str = ""

    def __str__(self) -> str:
        return f"{self.word} {self.chain}".strip()


ACCEPT = Verdict("accept")
DROP = Verdict("drop")


class Rule(NamedTuple):
    """One rule of a chain; made by `bytecode.rule`.

    `comment` has what it comes from (`web.3`, `vm1`) and a digest of its bytecode; the kernel
    shows it of a rule that is as it should be. At most 128 bytes (NFTNL_UDATA_COMMENT_MAXLEN).
    """

    matches: tuple[Match, ...]
    verdict: Verdict
    comment: str

    @property
    def body(self) -> str:
        """Return the rule as nftables writes it, without its comment."""
        return " ".join([*map(str, self.matches), str(self.verdict)])

    def __str__(self) -> str:
        return f'{self.body} comment "{self.comment}"'


class Chain(NamedTuple):
    """A chain of ours: NFPROTO family and name."""

    family: int
    name: str

    def __str__(self) -> str:
        return f"{FAMILIES[self.family]} {TABLE} {self.name}"


class SetName(NamedTuple):
    """A set or map of ours: NFPROTO family and name."""

    family: int
    name: str

    def __str__(self) -> str:
        return f"{FAMILIES[self.family]} {TABLE} {self.name}"


class Element(NamedTuple):
    """One element of a set, or with a verdict of a map; `key` as the kernel has it."""

    where: SetName
    key: bytes
    verdict: Verdict | None = None


@dataclass(frozen=True, slots=True)
class Part:
    """What one port or one group has in the firewall."""

    chains: Mapping[Chain, tuple[Rule, ...]] = field(default_factory=dict)
    elements: frozenset[Element] = frozenset()
    sets: frozenset[SetName] = frozenset()


@lru_cache(maxsize=4096)
def inet(name: str) -> SetName:
    """Return a set of our table for IPv4 and IPv6."""
    return SetName(INET, name)


@lru_cache(maxsize=4096)
def arp(name: str) -> SetName:
    """Return a set of our table for ARP."""
    return SetName(ARP, name)


def _prefix(prefix: IPv4Network | IPv6Network) -> str:
    """Return a prefix as nftables writes it: one address without a length."""
    whole = prefix.prefixlen == prefix.max_prefixlen
    return str(prefix.network_address) if whole else str(prefix)
