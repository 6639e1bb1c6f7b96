"""Messages of nf_tables: what we ask of the kernel, and what it answers; no I/O.

Sources: linux/netlink.h, linux/netfilter/nfnetlink.h, linux/netfilter/nf_tables.h.
"""

import struct
from collections.abc import Iterable, Iterator
from itertools import islice

from chronovisor.errors import ProtocolError
from chronovisor.net.firewall.bytecode import (
    attribute,
    comment_of,
    expressions,
    nested,
    number,
    string,
    user_data,
    verdict_data,
    verdict_of,
)
from chronovisor.net.firewall.names import IPV4, TABLE, fields
from chronovisor.net.firewall.rules import Chain, Element, Rule, SetName, Verdict

SUBSYSTEM = 10  # NFNL_SUBSYS_NFTABLES
REQUEST, ACK, DUMP, APPEND, CREATE = 0x1, 0x4, 0x300, 0x800, 0x400  # NLM_F_*
BATCH_BEGIN, BATCH_END = 0x10, 0x11  # NFNL_MSG_BATCH_*
GET_TABLE = 1  # NFT_MSG_*
NEW_CHAIN, GET_CHAIN, DELETE_CHAIN = 3, 4, 5
NEW_RULE, GET_RULE, DELETE_RULE = 6, 7, 8
NEW_SET, GET_SET, DELETE_SET = 9, 10, 11
NEW_ELEMENT, GET_ELEMENT, DELETE_ELEMENT = 12, 13, 14
NEW_GENERATION, GET_GENERATION = 15, 16
GET_OBJECT = 19

ELEMENTS_A_MESSAGE = 400
"""An attribute's length has 16 bits, and an element with a chain's name up to 160 bytes."""

_HEADER = struct.Struct("=IHHII")  # struct nlmsghdr
_SEQUENCE = struct.Struct("=I")
_FAMILY = struct.Struct(">BBH")  # struct nfgenmsg
_TYPE_NUMBERS = {
    IPV4: 7,
    "ipv6_addr": 8,
}  # enum datatypes of nft; the kernel only keeps them


def message(kind: int, flags: int, family: int, body: bytes = b"", sequence: int = 0) -> bytes:
    """Return a message of nf_tables; `sequence` numbers it for the answer."""
    return _message(SUBSYSTEM << 8 | kind, flags, family, 0, body, sequence)


def batch(changes: Iterable[bytes]) -> tuple[bytearray, int]:
    """Return a transaction of messages, numbered from 1, and their number.

    The last is acknowledged. A full load has tens of megabytes, so they are copied only once.
    """
    packed = bytearray(_message(BATCH_BEGIN, REQUEST, 0, SUBSYSTEM, b"", 0))
    count = last = 0
    for count, one in enumerate(changes, 1):
        last = len(packed)
        packed += one
        _SEQUENCE.pack_into(packed, last + 8, count)
    if count:
        packed[last + 6] |= ACK
    packed += _message(BATCH_END, REQUEST, 0, SUBSYSTEM, b"", count + 1)
    return packed, count


def new_chain(chain: Chain) -> bytes:
    """Return what adds a chain, or leaves the one that is there."""
    body = string(1, TABLE) + string(3, chain.name)
    return message(NEW_CHAIN, REQUEST | CREATE, chain.family, body)


def delete_chain(chain: Chain) -> bytes:
    """Return what deletes an empty chain."""
    return message(DELETE_CHAIN, REQUEST, chain.family, string(1, TABLE) + string(3, chain.name))


def flush_chain(chain: Chain) -> bytes:
    """Return what deletes all rules of a chain."""
    return message(DELETE_RULE, REQUEST, chain.family, string(1, TABLE) + string(2, chain.name))


def new_rules(chain: Chain, rules: Iterable[Rule]) -> Iterator[bytes]:
    """Yield what appends rules to a chain."""
    place = string(1, TABLE) + string(2, chain.name)
    for rule in rules:
        body = (
            place + expressions(rule.matches, rule.verdict) + attribute(7, user_data(rule.comment))
        )
        yield message(NEW_RULE, REQUEST | CREATE | APPEND, chain.family, body)


def new_set(where: SetName) -> bytes:
    """Return what adds a set of addresses."""
    types = fields(where.family, where.name)
    kind = IPV4 if types == (IPV4,) else "ipv6_addr"
    names = string(1, TABLE) + string(2, where.name)
    key = number(4, _TYPE_NUMBERS[kind]) + number(5, 4 if kind == IPV4 else 16)
    # NFTA_SET_ID must be there; sets are only named here, so one number does for all.
    body = names + number(3, 0) + key + number(10, 1)
    return message(NEW_SET, REQUEST | CREATE, where.family, body)


def delete_set(where: SetName) -> bytes:
    """Return what deletes a set that no rule uses."""
    return message(DELETE_SET, REQUEST, where.family, string(1, TABLE) + string(2, where.name))


def elements(kind: int, where: SetName, which: Iterable[Element]) -> Iterator[bytes]:
    """Yield what adds (NEW_ELEMENT) or deletes (DELETE_ELEMENT) elements of one set."""
    place = string(1, TABLE) + string(2, where.name)
    flags = REQUEST | CREATE if kind == NEW_ELEMENT else REQUEST
    rest = iter(which)
    while some := list(islice(rest, ELEMENTS_A_MESSAGE)):
        body = place + nested(3, *(_element(one) for one in some))
        yield message(kind, flags, where.family, body)


def table_dump(kind: int, family: int) -> bytes:
    """Return what asks for all chains, rules or sets of our table of a family."""
    return message(kind, REQUEST | DUMP, family, string(1, TABLE))


def table_query(family: int) -> bytes:
    """Return what asks for our table of a family itself."""
    return message(GET_TABLE, REQUEST, family, string(1, TABLE))


def element_dump(where: SetName) -> bytes:
    """Return what asks for all elements of a set."""
    body = string(1, TABLE) + string(2, where.name)
    return message(GET_ELEMENT, REQUEST | DUMP, where.family, body)


def counter_dump(family: int) -> bytes:
    """Return what asks for all named counters of our table of a family."""
    body = string(1, TABLE) + number(3, 1)  # NFTA_OBJ_TYPE, NFT_OBJECT_COUNTER
    return message(GET_OBJECT, REQUEST | DUMP, family, body)


def attributes(body: bytes) -> Iterator[tuple[int, bytes]]:
    """Yield kind and payload of attributes.

    Raises:
        ProtocolError: a length that leads out of the body.
    """
    place = 0
    while place + 4 <= len(body):
        length, kind = struct.unpack_from("=HH", body, place)
        if length < 4 or place + length > len(body):
            raise ProtocolError(f"netlink: an attribute of {length} bytes at {place}")
        yield kind & 0x3FFF, body[place + 4 : place + length]  # NLA_TYPE_MASK
        place += length + -length % 4


def text(payload: bytes) -> str:
    """Return a text attribute."""
    return payload.rstrip(b"\0").decode("utf-8", "replace")


def read_name(body: bytes) -> tuple[str, str]:
    """Return table and name of a set (NFTA_SET_TABLE, NFTA_SET_NAME)."""
    found = dict(attributes(body))
    return text(found.get(1, b"")), text(found.get(2, b""))


def read_chain(body: bytes) -> tuple[str, str]:
    """Return table and name of a chain."""
    found = dict(attributes(body))
    return text(found.get(1, b"")), text(found.get(3, b""))


def read_counter(body: bytes) -> tuple[str, str, int]:
    """Return table, name and packets of a counter (NFTA_OBJ_*, NFTA_COUNTER_PACKETS)."""
    found = dict(attributes(body))
    packets = dict(attributes(found.get(4, b""))).get(2, bytes(8))
    return text(found.get(1, b"")), text(found.get(2, b"")), int.from_bytes(packets, "big")


def read_rule(body: bytes) -> tuple[str, str, str]:
    """Return table, chain and comment of a rule."""
    found = dict(attributes(body))
    return text(found.get(1, b"")), text(found.get(2, b"")), comment_of(found.get(7, b""))


def read_elements(where: SetName, body: bytes) -> list[Element]:
    """Return the elements in an answer to `element_dump`."""
    read: list[Element] = []
    for kind, listed in attributes(body):
        if kind != 3:
            continue
        for _, one in attributes(listed):
            found = dict(attributes(one))
            key = dict(attributes(found.get(1, b""))).get(1, b"")
            read.append(Element(where, key, _read_verdict(found[2]) if 2 in found else None))
    return read


def _read_verdict(data: bytes) -> Verdict:
    found = dict(attributes(dict(attributes(data)).get(2, b"")))
    code = struct.unpack(">i", found.get(1, b"\0\0\0\0"))[0]
    return verdict_of(code, text(found.get(2, b"")))


def _element(one: Element) -> bytes:
    key = nested(1, attribute(1, one.key))
    return nested(1, key + (verdict_data(2, one.verdict) if one.verdict else b""))


def _message(
    kind: int, flags: int, family: int, resource: int, body: bytes, sequence: int
) -> bytes:
    length = _HEADER.size + _FAMILY.size + len(body)
    header = _HEADER.pack(length, kind, flags, sequence, 0)
    return header + _FAMILY.pack(family, 0, resource) + body
