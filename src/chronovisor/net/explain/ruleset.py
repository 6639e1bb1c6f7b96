"""Reads from nftables what concerns a few ports, and the base chains of others.

With 3,000 ports our table has 6,000 chains: they are asked for by name, elements by key, and what
lists everything passes over ours by its first bytes.
"""

import contextlib
import struct
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TypeVar

from chronovisor.errors import ChronovisorError
from chronovisor.net.explain.observed import Ruleset
from chronovisor.net.explain.packet import INGRESS, BaseChain, ForeignRule
from chronovisor.net.firewall import messages, static
from chronovisor.net.firewall.bytecode import attribute, nested, string
from chronovisor.net.firewall.messages import DUMP, REQUEST, attributes, text
from chronovisor.net.firewall.names import FAMILIES, TABLE
from chronovisor.net.firewall.netfilter import NetfilterSocket, Refused
from chronovisor.net.firewall.rules import Chain, Element

_Answer = TypeVar("_Answer")

_OURS = string(1, TABLE)
_LEGACY = ("/proc/thread-self/net/ip_tables_names", "/proc/thread-self/net/ip6_tables_names")
_DEVICE_FAMILY = 5  # NFPROTO_NETDEV
_JUDGED = (1, 2, 5, 10)  # NFPROTO_INET, _IPV4, _NETDEV, _IPV6
_ABSENT = 2  # ENOENT
_HOOK, _POLICY = 4, 5  # NFTA_CHAIN_*


def read(chains: Iterable[Chain], elements: Iterable[Element]) -> Ruleset:
    """Return which of our chains and elements are there, and what others have.

    What cannot be read is in `problem`.
    """
    try:
        with NetfilterSocket() as netfilter:
            return _read(netfilter, chains, elements)
    except ChronovisorError as error:
        return Ruleset(problem=error.message)


def _read(
    netfilter: NetfilterSocket, chains: Iterable[Chain], elements: Iterable[Element]
) -> Ruleset:
    ours = frozenset(one for one in FAMILIES if _is_there(netfilter, messages.table_query(one)))
    numbers = {name: number for number, name in FAMILIES.items()}
    return Ruleset(
        tables=ours,
        static={
            (family, name): len(_rules(netfilter, numbers[family], TABLE, name))
            for family, name in static.rule_counts()
            if numbers[family] in ours
        },
        chains={
            chain: tuple(one.comment for one in _rules(netfilter, chain.family, TABLE, chain.name))
            for chain in chains
            if chain.family in ours and _is_there(netfilter, _chain_query(chain))
        },
        elements=frozenset(
            one for one in elements if one.where.family in ours and _has_element(netfilter, one)
        ),
        foreign=tuple(_foreign(netfilter)),
        legacy=_legacy(),
    )


def _is_there(netfilter: NetfilterSocket, request: bytes) -> bool:
    try:
        return bool(netfilter.ask(request, bytes))
    except Refused as refusal:
        if refusal.code == _ABSENT:
            return False
        raise


def _chain_query(chain: Chain) -> bytes:
    body = string(1, TABLE) + string(3, chain.name)
    return messages.message(messages.GET_CHAIN, REQUEST, chain.family, body)


def _has_element(netfilter: NetfilterSocket, one: Element) -> bool:
    """Return whether a set has an element, with the same verdict where it is a map."""
    where = one.where
    key = nested(1, nested(1, attribute(1, one.key)))
    body = string(1, TABLE) + string(2, where.name) + nested(3, key)
    request = messages.message(messages.GET_ELEMENT, REQUEST, where.family, body)
    try:
        answers = netfilter.ask(request, lambda body: messages.read_elements(where, body))
    except Refused as refusal:
        if refusal.code == _ABSENT:
            return False
        raise
    return any(one in some for some in answers)


def _rules(netfilter: NetfilterSocket, family: int, table: str, chain: str) -> list[ForeignRule]:
    body = string(1, table) + (string(2, chain) if chain else b"")
    request = messages.message(messages.GET_RULE, REQUEST | DUMP, family, body)
    return netfilter.ask(request, ForeignRule.unpack)


def _foreign(netfilter: NetfilterSocket) -> Iterator[BaseChain]:
    """Yield the base chains of tables that are not ours."""
    for family in _JUDGED:
        tables = set(_dump(netfilter, messages.GET_TABLE, family, messages.read_name))
        if not {name for name, _ in tables} - {TABLE}:
            continue
        rules: dict[str, dict[str, tuple[ForeignRule, ...]]] = {}
        for found in _dump(netfilter, messages.GET_CHAIN, family, _foreign_chain):
            if found is None or _HOOK not in found:
                continue
            table = text(found.get(1, b""))
            if table not in rules:
                rules[table] = _rules_by_chain(netfilter, family, table)
            hook = dict(attributes(found[_HOOK]))
            yield BaseChain(
                family=family,
                table=table,
                name=text(found.get(3, b"")),
                hook=INGRESS if family == _DEVICE_FAMILY else _number(hook, 1),
                priority=struct.unpack(">i", hook.get(2, bytes(4)))[0],
                drops=_POLICY in found and _number(found, _POLICY) == 0,
                devices=tuple(_devices(hook)),
                chains=rules[table],
            )


def _devices(hook: dict[int, bytes]) -> Iterator[str]:
    """Yield the devices of a hook: NFTA_HOOK_DEV, or the list of NFTA_HOOK_DEVS."""
    if 3 in hook:
        yield text(hook[3])
    for _, name in attributes(hook.get(4, b"")):
        yield text(name)


def _foreign_chain(body: bytes) -> dict[int, bytes] | None:
    """Return the attributes of a chain; None for one of ours, of which there are thousands."""
    return None if body.startswith(_OURS) else dict(attributes(body))


def _rules_by_chain(
    netfilter: NetfilterSocket, family: int, table: str
) -> dict[str, tuple[ForeignRule, ...]]:
    found: dict[str, list[ForeignRule]] = {}
    body = string(1, table)
    request = messages.message(messages.GET_RULE, REQUEST | DUMP, family, body)
    for chain, rule in netfilter.ask(
        request, lambda one: (_chain_of(one), ForeignRule.unpack(one))
    ):
        found.setdefault(chain, []).append(rule)
    return {chain: tuple(rules) for chain, rules in found.items()}


def _chain_of(body: bytes) -> str:
    return text(dict(attributes(body)).get(2, b""))


def _dump(
    netfilter: NetfilterSocket, kind: int, family: int, read: Callable[[bytes], _Answer]
) -> list[_Answer]:
    return netfilter.ask(messages.message(kind, REQUEST | DUMP, family), read)


def _number(found: dict[int, bytes], kind: int) -> int:
    return int.from_bytes(found.get(kind, b"")[:4], "big")


def _legacy() -> tuple[str, ...]:
    found: set[str] = set()
    for path in _LEGACY:
        with contextlib.suppress(OSError):
            found |= set(Path(path).read_text(encoding="ascii", errors="replace").split())
    return tuple(sorted(found))
