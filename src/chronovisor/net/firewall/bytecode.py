"""Rules as the kernel takes them: attributes of nfnetlink, expressions of nf_tables.

Layouts and numbers: linux/netlink.h, linux/netfilter/nfnetlink.h, linux/netfilter/nf_tables.h.
Attributes of nf_tables are in network byte order. The expressions are those that `nft` makes of
the same text, so `nft list ruleset` shows them as a person would have written them.
"""

import struct
from functools import lru_cache
from hashlib import sha256

from chronovisor.net.firewall.rules import (
    Match,
    MatchAddress,
    MatchArpAddress,
    MatchIcmp,
    MatchMac,
    MatchMembers,
    MatchPort,
    MatchProtocol,
    MatchVersion,
    Rule,
    Verdict,
)

_NESTED = 0x8000  # NLA_F_NESTED
_ATTRIBUTE = struct.Struct("=HH")  # struct nlattr
_PADDING = (b"", b"\0", b"\0\0", b"\0\0\0")
_REGISTER = 1  # NFT_REG_1
_LINK, _NETWORK, _TRANSPORT = 0, 1, 2  # enum nft_payload_bases
_EQ, _LTE, _GTE = 0, 3, 5  # enum nft_cmp_ops
_META_IIFTYPE, _META_NFPROTO, _META_L4PROTO = 8, 15, 16  # enum nft_meta_keys
_NFPROTO = {4: 2, 6: 10}
_ARPHRD_ETHER = 1
_VERDICTS = {"drop": 0, "accept": 1, "jump": -3}  # NF_DROP, NF_ACCEPT, NFT_JUMP
_WORDS = {number: word for word, number in _VERDICTS.items()}
_ADDRESSES = {  # offset of an address in its header, RFC 791 section 3.1, RFC 8200 section 3
    (4, "saddr"): 12,
    (4, "daddr"): 16,
    (6, "saddr"): 8,
    (6, "daddr"): 24,
}


def attribute(kind: int, payload: bytes) -> bytes:
    """Return a netlink attribute, padded."""
    length = 4 + len(payload)
    return _ATTRIBUTE.pack(length, kind) + payload + _PADDING[-length % 4]


def nested(kind: int, *attributes: bytes) -> bytes:
    """Return an attribute that holds others."""
    return attribute(kind | _NESTED, b"".join(attributes))


def number(kind: int, value: int) -> bytes:
    """Return an attribute with a 32-bit number in network byte order."""
    return attribute(kind, struct.pack(">I", value & 0xFFFFFFFF))


def string(kind: int, value: str) -> bytes:
    """Return an attribute with a text that ends in a zero byte."""
    return attribute(kind, value.encode() + b"\0")


def rule(matches: tuple[Match, ...], verdict: Verdict, origin: str) -> Rule:
    """Return a rule whose comment says what it comes from and which bytecode it has."""
    digest = sha256(expressions(matches, verdict)).hexdigest()[:8]
    return Rule(matches, verdict, f"{origin} {digest}")


def expressions(matches: tuple[Match, ...], verdict: Verdict) -> bytes:
    """Return NFTA_RULE_EXPRESSIONS of a rule."""
    body = b"".join(map(_packed, matches))
    return nested(4, body, _immediate(verdict))


def user_data(comment: str) -> bytes:
    """Return a comment as `nft` stores it: type 0, length, text, zero byte (libnftnl/udata.h)."""
    text = comment.encode() + b"\0"
    return bytes((0, len(text))) + text


def comment_of(user: bytes) -> str:
    """Return the comment in a rule's user data; empty when there is none."""
    while len(user) >= 2:
        kind, length = user[0], user[1]
        if kind == 0:
            return user[2 : 2 + length].rstrip(b"\0").decode("utf-8", "replace")
        user = user[2 + length :]
    return ""


def verdict_data(kind: int, verdict: Verdict) -> bytes:
    """Return a data attribute with a verdict (NFTA_DATA_VERDICT)."""
    parts = [number(1, _VERDICTS[verdict.word])]
    if verdict.chain:
        parts.append(string(2, verdict.chain))
    return nested(kind, nested(2, *parts))


def verdict_of(code: int, chain: str) -> Verdict:
    """Return a verdict read from the kernel; `code` as a signed number."""
    return Verdict(_WORDS.get(code, f"verdict {code}"), chain)


@lru_cache(maxsize=65536)
def _packed(match: Match) -> bytes:
    """Return the expressions of one match."""
    found: bytes
    match match:
        case MatchVersion(version):
            found = _nfproto(version)
        case MatchAddress(side, prefix):
            value, mask = prefix.network_address.packed, prefix.netmask.packed
            offset = _ADDRESSES[prefix.version, side]
            found = _nfproto(prefix.version) + _masked(_NETWORK, offset, value, mask)
        case MatchMembers(side, version, set_name):
            size = 4 if version == 4 else 16
            load = _payload(_NETWORK, _ADDRESSES[version, side], size)
            found = _nfproto(version) + load + _lookup(set_name)
        case MatchProtocol(protocol):
            found = _meta(_META_L4PROTO) + _compare(_EQ, bytes((protocol,)))
        case MatchPort(first, last):
            found = _payload(_TRANSPORT, 2, 2) + _range(first, last)
        case MatchIcmp(_, value, code):
            found = _payload(_TRANSPORT, int(code), 1) + _compare(_EQ, bytes((value,)))
        case MatchMac(mac, arp):
            found = _mac(bytes.fromhex(mac.replace(":", "")), arp)
        case MatchArpAddress(prefix):
            value, mask = prefix.network_address.packed, prefix.netmask.packed
            found = _masked(_NETWORK, 14, value, mask)  # RFC 826: ar$spa
    return found


def _mac(mac: bytes, arp: bool) -> bytes:
    if arp:
        return _payload(_NETWORK, 8, 6) + _compare(_EQ, mac)  # RFC 826: ar$sha
    is_ethernet = _meta(_META_IIFTYPE) + _compare(_EQ, struct.pack("=H", _ARPHRD_ETHER))
    return is_ethernet + _payload(_LINK, 6, 6) + _compare(_EQ, mac)


def _nfproto(version: int) -> bytes:
    return _meta(_META_NFPROTO) + _compare(_EQ, bytes((_NFPROTO[version],)))


def _masked(base: int, offset: int, value: bytes, mask: bytes) -> bytes:
    load = _payload(base, offset, len(value))
    if mask == b"\xff" * len(mask):
        return load + _compare(_EQ, value)
    return load + _bitwise(mask) + _compare(_EQ, value)


def _range(first: int, last: int) -> bytes:
    if first == last:
        return _compare(_EQ, struct.pack(">H", first))
    return _compare(_GTE, struct.pack(">H", first)) + _compare(_LTE, struct.pack(">H", last))


def _expression(name: str, *attributes: bytes) -> bytes:
    """Return an NFTA_LIST_ELEM with NFTA_EXPR_NAME and NFTA_EXPR_DATA."""
    return nested(1, string(1, name), nested(2, *attributes))


def _meta(key: int) -> bytes:
    return _expression("meta", number(2, key), number(1, _REGISTER))


def _compare(operation: int, value: bytes) -> bytes:
    data = nested(3, attribute(1, value))
    return _expression("cmp", number(1, _REGISTER), number(2, operation), data)


def _payload(base: int, offset: int, length: int) -> bytes:
    where = (number(2, base), number(3, offset), number(4, length))
    return _expression("payload", number(1, _REGISTER), *where)


def _bitwise(mask: bytes) -> bytes:
    registers = (number(1, _REGISTER), number(2, _REGISTER), number(3, len(mask)))
    zero = attribute(1, bytes(len(mask)))
    return _expression("bitwise", *registers, nested(4, attribute(1, mask)), nested(5, zero))


def _lookup(set_name: str) -> bytes:
    return _expression("lookup", string(1, set_name), number(2, _REGISTER))


@lru_cache(maxsize=65536)
def _immediate(verdict: Verdict) -> bytes:
    return _expression("immediate", number(1, 0), verdict_data(2, verdict))
