"""Rules of others, judged from the kernel's expressions; and bytes that no kernel sent."""

import struct
from ipaddress import ip_address, ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chronovisor.errors import ProtocolError
from chronovisor.net.explain.packet import BaseChain, ForeignRule, Outcome, Packet, judge
from chronovisor.net.explain.probe import answered
from chronovisor.net.firewall.bytecode import attribute, expressions, nested, number
from chronovisor.net.firewall.flows import Flow
from chronovisor.net.firewall.rules import (
    Match,
    MatchAddress,
    MatchMembers,
    MatchPort,
    MatchProtocol,
    MatchVersion,
    Verdict,
)
from chronovisor.net.settings import Prefix

ONE, OTHER = ip_address("10.0.0.1"), ip_address("10.0.0.2")
TCP = Packet(Flow(ONE, OTHER, 6, 50000, 443), "tap1", "tap2")
ANY = Packet(Flow(ONE, OTHER, 0), "tap1", "tap2")


def rule(*matches: Match, verdict: str = "drop", target: str = "") -> ForeignRule:
    """Return a rule as the kernel would tell of it."""
    packed = attribute(3, struct.pack(">Q", 7)) + expressions(matches, Verdict(verdict, target))
    return ForeignRule.unpack(packed)


def expression(name: str, *parts: bytes) -> tuple[str, bytes]:
    """Return one expression of a rule."""
    return name, b"".join(parts)


def chain(*rules: ForeignRule, drops: bool = False, **others: tuple[ForeignRule, ...]) -> BaseChain:
    """Return a base chain at the forward hook."""
    return BaseChain(1, "t", "c", 2, drops=drops, chains={"c": rules, **others})


def prefix(text: str) -> Prefix:
    return ip_network(text)


DROP = rule()
CASES: dict[str, tuple[BaseChain, Packet, str, str]] = {
    # what it is, chain, packet, what it surely does, what it possibly does besides
    "nothing in it": (chain(), TCP, "accept", ""),
    "policy": (chain(drops=True), TCP, "drop", "drop"),
    "a rule for all": (chain(DROP), TCP, "drop", "drop"),
    "its address": (chain(rule(MatchAddress("daddr", prefix("10.0.0.2/32")))), TCP, "drop", "drop"),
    "its prefix": (chain(rule(MatchAddress("saddr", prefix("10.0.0.0/8")))), TCP, "drop", "drop"),
    "another address": (chain(rule(MatchAddress("daddr", prefix("10.9.0.0/16")))), TCP,
                        "accept", ""),
    "its port": (chain(rule(MatchProtocol(6), MatchPort(443, 443))), TCP, "drop", "drop"),
    "ports around it": (chain(rule(MatchProtocol(6), MatchPort(1, 1000))), TCP, "drop", "drop"),
    "another port": (chain(rule(MatchProtocol(6), MatchPort(22, 22))), TCP, "accept", ""),
    "another protocol": (chain(rule(MatchProtocol(17))), TCP, "accept", ""),
    "a port of an unknown protocol": (chain(rule(MatchProtocol(6))), ANY, "", "drop"),
    "another version": (chain(rule(MatchVersion(6))), TCP, "accept", ""),
    "a set": (chain(rule(MatchMembers("daddr", 4, "s"))), TCP, "", "drop"),
    "a set that accepts, then drop": (
        chain(rule(MatchMembers("daddr", 4, "s"), verdict="accept"), DROP), TCP, "", "drop"),
    "accepted before": (chain(rule(verdict="accept"), DROP), TCP, "accept", ""),
    "in a chain that is called": (
        chain(rule(verdict="jump", target="d"), d=(DROP,)), TCP, "drop", "drop"),
    "back from a chain that is called": (
        chain(rule(verdict="jump", target="d"), DROP, d=()), TCP, "drop", "drop"),
    "a chain that calls itself": (
        chain(rule(verdict="jump", target="c"), rule(verdict="accept")), TCP, "accept", ""),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_what_a_chain_does(name: str) -> None:
    base, packet, surely, possibly = CASES[name]
    found = judge(base, packet)
    assert [one for one in ("accept", "drop") if found.surely(one)] == ([surely] if surely else [])
    assert bool(found.possibly("drop")) is bool(possibly)


def test_a_reject_drops_and_an_unknown_expression_may() -> None:
    refuse = ForeignRule(1, "", (expression("counter"), expression("reject")))
    assert judge(chain(refuse), TCP).surely("drop")
    target = ForeignRule(1, "", (expression("match"), expression("target")))
    assert judge(chain(target), TCP) == Outcome(
        "accept", "policy of chain inet t c", (("drop", "rule 1 of chain inet t c"),)
    )


def test_a_new_connection_is_new() -> None:
    load = expression("ct", number(1, 1), number(2, 0))
    for state, drops in ((8, True), (2, False)):  # new; established
        mask = nested(4, attribute(1, struct.pack("=I", state)))
        bits = (number(1, 1), number(2, 1), number(3, 4), mask, nested(5, attribute(1, bytes(4))))
        is_set = (number(1, 1), number(2, 1), nested(3, attribute(1, bytes(4))))
        drop = expression("reject")
        one = ForeignRule(
            1, "", (load, ("bitwise", b"".join(bits)), ("cmp", b"".join(is_set)), drop)
        )
        assert judge(chain(one), TCP).surely("drop") is drops


@given(st.binary(max_size=200))
def test_hostile_bytes_are_no_error_of_pythons(data: bytes) -> None:
    answered(data, ONE)
    answered(data, ip_address("::1"))
    try:
        found = ForeignRule.unpack(data)
    except ProtocolError:
        return
    judge(chain(found), TCP)


@given(st.data())
def test_damaged_rules_are_judged_or_a_protocol_error(data: st.DataObject) -> None:
    matches = (MatchProtocol(6), MatchPort(22, 30), MatchAddress("saddr", prefix("10.0.0.0/9")))
    packed = bytearray(expressions(matches, Verdict("drop")))
    for _ in range(data.draw(st.integers(1, 4))):
        packed[data.draw(st.integers(0, len(packed) - 1))] = data.draw(st.integers(0, 255))
    try:
        judge(chain(ForeignRule.unpack(bytes(packed))), TCP)
    except ProtocolError:
        return


def test_an_arp_answer_is_read() -> None:
    head = bytes.fromhex("026376000001") + bytes.fromhex("020000000009") + b"\x08\x06"
    body = struct.pack(">HHBBH", 1, 0x0800, 6, 4, 2) + bytes.fromhex("020000000009") + ONE.packed
    frame = head + body + bytes(10)
    assert answered(frame, ONE) == "02:00:00:00:00:09"
    assert answered(frame, OTHER) == ""
    assert answered(frame[:30], ONE) == ""
