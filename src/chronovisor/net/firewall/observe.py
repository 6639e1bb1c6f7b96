"""What is really in nftables now, read from the kernel; our memory has no say in it."""

import struct
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import TypeVar

from chronovisor.net.firewall import messages
from chronovisor.net.firewall.names import (
    FAMILIES,
    OWNED_PREFIXES,
    STATIC_MARK,
    TABLE,
    fields,
)
from chronovisor.net.firewall.netfilter import NetfilterSocket, Refused
from chronovisor.net.firewall.rules import Chain, Element, SetName

_NO_SUCH_TABLE = 2  # ENOENT

_Answer = TypeVar("_Answer")


@dataclass(frozen=True, slots=True)
class Observed:
    """What our tables hold.

    `chains` are those of ports and groups with their rules' comments, `static` the number of rules
    of the others by family and chain. `generation` is the kernel's number of the ruleset, which
    every change of anybody raises.
    """

    generation: int = 0
    marks: frozenset[str] = frozenset()
    static: Mapping[tuple[str, str], int] = field(default_factory=dict)
    chains: Mapping[Chain, tuple[str, ...]] = field(default_factory=dict)
    sets: frozenset[SetName] = frozenset()
    elements: frozenset[Element] = frozenset()


def observe(netfilter: NetfilterSocket) -> Observed:
    """Return what our tables hold; empty where there are none.

    Raises:
        ToolFailed: the kernel does not let us read it.
        Unavailable: it changes faster than it can be read.
    """
    before = generation(netfilter)
    found: dict[Chain, list[str]] = {}
    sets: set[SetName] = set()
    for family in FAMILIES:
        request = messages.table_dump(messages.GET_CHAIN, family)
        for table, name in _dump(netfilter, request, messages.read_chain):
            if table == TABLE:
                found[Chain(family, name)] = []
        request = messages.table_dump(messages.GET_RULE, family)
        for table, name, comment in _dump(netfilter, request, messages.read_rule):
            if table == TABLE:
                found.setdefault(Chain(family, name), []).append(comment)
        request = messages.table_dump(messages.GET_SET, family)
        for table, name in _dump(netfilter, request, messages.read_name):
            if table == TABLE and fields(family, name):
                sets.add(SetName(family, name))
    return Observed(
        generation=before,
        marks=frozenset(one.name for one in found if one.name.startswith(STATIC_MARK)),
        static={
            (FAMILIES[one.family], one.name): len(rules)
            for one, rules in found.items()
            if not one.name.startswith(OWNED_PREFIXES)
        },
        chains={
            one: tuple(rules) for one, rules in found.items() if one.name.startswith(OWNED_PREFIXES)
        },
        sets=frozenset(sets),
        elements=_elements(netfilter, sets),
    )


def generation(netfilter: NetfilterSocket) -> int:
    """Return the number of the ruleset; it differs when anybody changed anything."""
    request = messages.message(messages.GET_GENERATION, messages.REQUEST, 0)
    (found,) = netfilter.ask(request, lambda body: dict(messages.attributes(body)))
    return int(struct.unpack(">I", found[1])[0])  # NFTA_GEN_ID


def dropped(netfilter: NetfilterSocket) -> Counter[str]:
    """Return how many packets our tables dropped, by reason; the names are those of static.nft.

    Raises:
        ToolFailed, Unavailable: they cannot be read.
    """
    found: Counter[str] = Counter()
    for family in FAMILIES:
        request = messages.counter_dump(family)
        for table, name, packets in _dump(netfilter, request, messages.read_counter):
            if table == TABLE:
                found[name] += packets
    return found


def _elements(netfilter: NetfilterSocket, sets: set[SetName]) -> frozenset[Element]:
    return frozenset(
        element
        for where in sets
        for some in _dump(
            netfilter,
            messages.element_dump(where),
            partial(messages.read_elements, where),
        )
        for element in some
    )


def _dump(
    netfilter: NetfilterSocket, request: bytes, read: Callable[[bytes], _Answer]
) -> list[_Answer]:
    try:
        return netfilter.ask(request, read)
    except Refused as refusal:
        if refusal.code == _NO_SUCH_TABLE:
            return []
        raise
