"""What other people's nftables rules do to a packet: pure, from the kernel's own expressions.

Only expressions whose meaning for a new connection is known from the packet alone are judged;
where a set, a limit or an extension of iptables has a say, a rule may match or not, and so may the
whole chain drop or not. Numbers: linux/netfilter/nf_tables.h.
"""

import struct
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field

from chronovisor.errors import ProtocolError
from chronovisor.net.firewall.bytecode import comment_of
from chronovisor.net.firewall.flows import Flow
from chronovisor.net.firewall.messages import attributes, text

INGRESS, PREROUTING, INPUT, FORWARD, OUTPUT, POSTROUTING = -1, 0, 1, 2, 3, 4
"""Hooks (NF_INET_*), and that of a device (NF_NETDEV_INGRESS) as a number of our own."""

HOOK_NAMES = {
    INGRESS: "ingress",
    PREROUTING: "prerouting",
    INPUT: "input",
    FORWARD: "forward",
    OUTPUT: "output",
    POSTROUTING: "postrouting",
}
_INET, _IPV4, _NETDEV, _IPV6 = 1, 2, 5, 10  # NFPROTO_*
FAMILY_NAMES = {_INET: "inet", _IPV4: "ip", _NETDEV: "netdev", _IPV6: "ip6"}

_DEEPEST = 16  # NFT_JUMP_STACK_SIZE
_DROP, _ACCEPT, _JUMP, _GOTO, _RETURN = 0, 1, -3, -4, -5
_META_PROTOCOL, _META_IIFNAME, _META_OIFNAME, _META_NFPROTO, _META_L4PROTO = 1, 6, 7, 15, 16
_NETWORK, _TRANSPORT = 1, 2
_NEW = struct.pack("=I", 8)  # NF_CT_STATE_BIT(IP_CT_NEW)
_WITHOUT_EFFECT = frozenset({"counter", "log", "last", "notrack"})

Registers = dict[int, bytes | None]


@dataclass(frozen=True, slots=True)
class Packet:
    """The first packet of a flow at one hook; a device's name is None where it is not known.

    A flow of protocol 0 is one whose protocol is not known.
    """

    flow: Flow
    iif: str | None = ""
    oif: str | None = ""

    @property
    def version(self) -> int:
        """Return the IP version."""
        return self.flow.target.version


@dataclass(frozen=True, slots=True)
class ForeignRule:
    """A rule: its handle, comment and expressions as (name, data)."""

    handle: int
    comment: str = ""
    expressions: tuple[tuple[str, bytes], ...] = ()

    @classmethod
    def unpack(cls, body: bytes) -> "ForeignRule":
        """Return the rule of an NFT_MSG_NEWRULE's attributes. Raises `ProtocolError`."""
        found = dict(attributes(body))
        expressions = []
        for _, element in attributes(found.get(4, b"")):
            one = dict(attributes(element))
            expressions.append((text(one.get(1, b"")), one.get(2, b"")))
        handle = int.from_bytes(found.get(3, b""), "big")
        return cls(handle, comment_of(found.get(7, b"")), tuple(expressions))


@dataclass(frozen=True, slots=True)
class BaseChain:
    """A chain at a hook, with the rules of all chains of its table by name."""

    family: int
    table: str
    name: str
    hook: int
    priority: int = 0
    drops: bool = False
    """Its policy."""
    devices: tuple[str, ...] = ()
    """Those that a chain of family netdev is for."""
    chains: Mapping[str, tuple[ForeignRule, ...]] = field(default_factory=dict, compare=False)

    def __str__(self) -> str:
        """Return its name as nftables writes it."""
        return f"{FAMILY_NAMES.get(self.family, self.family)} {self.table} {self.name}"

    def sees(self, packet: Packet, hook: int) -> bool:
        """Return whether a packet passes this chain at a hook."""
        if self.hook != hook or (self.devices and packet.iif not in self.devices):
            return False
        return self.family not in (_IPV4, _IPV6) or packet.version == _VERSIONS[self.family]


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a chain does: `accept`, `drop` or nothing (it ends); `maybe` it did so before that."""

    verdict: str = ""
    where: str = ""
    maybe: tuple[tuple[str, str], ...] = ()

    def surely(self, verdict: str) -> bool:
        """Return whether it comes to this verdict whatever is not known."""
        return self.verdict == verdict and all(one == verdict for one, _ in self.maybe)

    def possibly(self, verdict: str) -> str:
        """Return where it may come to a verdict; empty when it cannot."""
        for one, where in self.maybe:
            if one == verdict:
                return where
        return self.where if self.verdict == verdict else ""


def judge(chain: BaseChain, packet: Packet) -> Outcome:
    """Return what a base chain does to a packet, its policy included."""
    found = _walk(chain, chain.name, packet, 0)
    if found.verdict in ("accept", "drop"):
        return found
    policy = "drop" if chain.drops else "accept"
    return Outcome(policy, f"policy of chain {chain}", found.maybe)


def _walk(chain: BaseChain, name: str, packet: Packet, depth: int) -> Outcome:
    """Walk the rules of one chain, and of those that it calls."""
    maybe: list[tuple[str, str]] = []
    if depth > _DEEPEST:
        return Outcome()
    for rule in chain.chains.get(name, ()):
        matches, verdict, target = _apply(rule, packet)
        if matches is False or not verdict:
            continue
        where = f"rule {rule.handle} of chain {_renamed(chain, name)}"
        found = Outcome(verdict, where)
        if verdict in ("jump", "goto"):
            found = _walk(chain, target, packet, depth + 1)
            maybe += found.maybe
            if not found.verdict and verdict == "goto":
                found = Outcome("return")
        if not found.verdict:
            continue
        if matches is None:
            maybe.append((found.verdict, found.where or where))
            continue
        ended = "" if found.verdict == "return" else found.verdict
        return Outcome(ended, found.where, tuple(maybe))
    return Outcome("", "", tuple(maybe))


def _renamed(chain: BaseChain, name: str) -> str:
    return f"{FAMILY_NAMES.get(chain.family, chain.family)} {chain.table} {name}"


def _apply(rule: ForeignRule, packet: Packet) -> tuple[bool | None, str, str]:
    """Return whether a rule matches (None: not known), its verdict, and the chain it calls."""
    registers: Registers = {}
    sure = True
    for name, data in rule.expressions:
        try:
            found = dict(attributes(data))
        except ProtocolError:
            return None, "drop", ""
        if name == "immediate" and _number(found.get(1, b"")) == 0:
            verdict, target = _verdict(found.get(2, b""))
            return (True if sure else None), verdict, target
        if name == "reject":
            return (True if sure else None), "drop", ""
        matches = _evaluate(name, found, packet, registers)
        if matches is False:
            return False, "", ""
        sure = sure and matches is True
        if name == "target" or (name == "lookup" and 3 in found):  # it may come to any verdict
            return None, "drop", ""
    return (True if sure else None), "", ""


def _evaluate(
    name: str, found: Mapping[int, bytes], packet: Packet, registers: Registers
) -> bool | None:
    if name in _WITHOUT_EFFECT:
        return True
    handler = _HANDLERS.get(name)
    return handler(found, packet, registers) if handler else None


def _meta(found: Mapping[int, bytes], packet: Packet, registers: Registers) -> bool | None:
    if 1 not in found:
        return True  # it sets something
    key = _number(found.get(2, b""))
    value: bytes | None = None
    if key == _META_IIFNAME and packet.iif is not None:
        value = packet.iif.encode().ljust(16, b"\0")
    elif key == _META_OIFNAME and packet.oif is not None:
        value = packet.oif.encode().ljust(16, b"\0")
    elif key == _META_NFPROTO:
        value = bytes((_IPV4 if packet.version == 4 else _IPV6,))
    elif key == _META_L4PROTO and packet.flow.protocol:
        value = bytes((packet.flow.protocol,))
    elif key == _META_PROTOCOL:
        value = b"\x08\x00" if packet.version == 4 else b"\x86\xdd"
    registers[_number(found[1])] = value
    return True


def _payload(found: Mapping[int, bytes], packet: Packet, registers: Registers) -> bool | None:
    if 1 not in found:
        return True
    base, offset, length = (_number(found.get(one, b"")) for one in (2, 3, 4))
    value = None
    for where, start, known in _known(packet):
        if where == base and start <= offset and offset + length <= start + len(known):
            value = known[offset - start : offset - start + length]
    registers[_number(found[1])] = value
    return True


def _known(packet: Packet) -> Iterator[tuple[int, int, bytes]]:
    """Yield parts of the headers that are known: which header, offset, bytes."""
    flow = packet.flow
    addresses = flow.source.packed + flow.target.packed
    yield _NETWORK, (12 if packet.version == 4 else 8), addresses
    if not flow.protocol:
        return
    yield _NETWORK, (9 if packet.version == 4 else 6), bytes((flow.protocol,))
    if flow.target_port:
        yield _TRANSPORT, 2, struct.pack(">H", flow.target_port)
    else:
        yield _TRANSPORT, 0, bytes((flow.icmp_type, flow.icmp_code))


def _compare(found: Mapping[int, bytes], _: Packet, registers: Registers) -> bool | None:
    value = registers.get(_number(found.get(1, b"")))
    wanted = _data(found.get(3, b""))
    if value is None or len(value) < len(wanted):
        return None
    value = value[: len(wanted)]
    answers: dict[int, bool] = {
        0: value == wanted,
        1: value != wanted,
        2: value < wanted,
        3: value <= wanted,
        4: value > wanted,
        5: value >= wanted,
    }
    return answers.get(_number(found.get(2, b"")))


def _range(found: Mapping[int, bytes], _: Packet, registers: Registers) -> bool | None:
    value = registers.get(_number(found.get(1, b"")))
    low, high = _data(found.get(3, b"")), _data(found.get(4, b""))
    if value is None or len(low) != len(high):
        return None
    inside = low <= value[: len(low)] <= high
    return inside == (_number(found.get(2, b"")) == 0)


def _bitwise(found: Mapping[int, bytes], _: Packet, registers: Registers) -> bool | None:
    value = registers.get(_number(found.get(1, b"")))
    mask, flip = _data(found.get(4, b"")), _data(found.get(5, b""))
    target = _number(found.get(2, b""))
    if value is None or not len(value) >= len(mask) == len(flip) > 0:
        registers[target] = None
    else:
        registers[target] = bytes(
            (one & two) ^ three for one, two, three in zip(value, mask, flip, strict=False)
        )
    return True


def _connection(found: Mapping[int, bytes], _: Packet, registers: Registers) -> bool | None:
    """Load what conntrack knows: of a new connection only its state is known."""
    if 1 in found:
        is_state = _number(found.get(2, b"")) == 0  # NFT_CT_STATE
        registers[_number(found[1])] = _NEW if is_state else None
    return True


def _immediate(found: Mapping[int, bytes], _: Packet, registers: Registers) -> bool | None:
    registers[_number(found.get(1, b""))] = _data(found.get(2, b""))
    return True


_Handler = Callable[[Mapping[int, bytes], Packet, Registers], bool | None]
_HANDLERS: dict[str, _Handler] = {
    "meta": _meta,
    "payload": _payload,
    "cmp": _compare,
    "range": _range,
    "bitwise": _bitwise,
    "ct": _connection,
    "immediate": _immediate,
}
_VERSIONS = {_IPV4: 4, _IPV6: 6}
_WORDS = {_DROP: "drop", _ACCEPT: "accept", _JUMP: "jump", _GOTO: "goto", _RETURN: "return"}


def _verdict(data: bytes) -> tuple[str, str]:
    """Return the word of a verdict and the chain that it names; a queue may do anything."""
    found = dict(attributes(dict(attributes(data)).get(2, b"")))
    code = int.from_bytes(found.get(1, b"")[:4], "big", signed=True)
    return _WORDS.get(code, "accept"), text(found.get(2, b""))


def _data(payload: bytes) -> bytes:
    return dict(attributes(payload)).get(1, b"")  # NFTA_DATA_VALUE


def _number(payload: bytes) -> int:
    return int.from_bytes(payload[:4], "big")
