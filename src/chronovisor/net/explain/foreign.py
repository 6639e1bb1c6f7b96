"""Judges what other people's nftables tables do to the packets that are asked about."""

from collections.abc import Iterator

from chronovisor.net.explain.concern import Concern
from chronovisor.net.explain.findings import Finding, broken, ok, unknown
from chronovisor.net.explain.observed import Observed, Way
from chronovisor.net.explain.packet import (
    FORWARD,
    HOOK_NAMES,
    INGRESS,
    INPUT,
    OUTPUT,
    POSTROUTING,
    PREROUTING,
    Packet,
    judge,
)
from chronovisor.net.explain.question import Path, flow
from chronovisor.net.firewall.flows import Flow
from chronovisor.net.settings import Address

_LINK = "other rulesets"
_TRACE = "`visorctl net trace` shows which rule drops a packet"


def finding(path: Path, concerned: tuple[Concern, ...], seen: Observed) -> Finding:
    """Return whether a chain that is not ours drops the first packet of the flow."""
    rules = seen.ruleset
    if rules.problem:
        return unknown(_LINK, "", f"not read: {rules.problem}")
    doubts: list[str] = []
    for hook, packet in _packets(path, concerned, seen):
        for chain in rules.foreign:
            if not chain.sees(packet, hook):
                continue
            found = judge(chain, packet)
            where = f"at hook {HOOK_NAMES[hook]}"
            if found.surely("drop"):
                text = f"chain {chain} drops it {where}: {found.where}"
                return broken(
                    _LINK, "", text, f"`nft -a list table {_table(str(chain))}`; {_TRACE}"
                )
            if possible := found.possibly("drop"):
                doubts.append(f"chain {chain} may drop it {where}: {possible}")
    if rules.legacy:
        doubts.append(f"iptables-legacy has tables: {', '.join(rules.legacy)}")
    if not path.source and (closed := _closed_to_others(path, concerned, seen)):
        doubts.append(closed)
    if doubts:
        return unknown(_LINK, "", "; ".join(doubts), _TRACE)
    count = len(rules.foreign)
    return ok(_LINK, "", f"none of {count} base chains drops it" if count else "there are none")


def _table(chain: str) -> str:
    return " ".join(chain.split()[:2])


def _packets(
    path: Path, concerned: tuple[Concern, ...], seen: Observed
) -> Iterator[tuple[int, Packet]]:
    """Yield the packet at each hook that it passes."""
    taps = {one.end.role: one.device for one in concerned}
    asked = _flow(path, seen)
    if asked is None:
        return
    into, out = taps.get("source"), taps.get("target")
    if path.source is None:
        yield OUTPUT, Packet(asked, "", out)
        yield POSTROUTING, Packet(asked, "", out)
        return
    if into is not None:
        yield INGRESS, Packet(asked, into, "")
    yield PREROUTING, Packet(asked, into, "")
    if path.target.on_host:
        yield INPUT, Packet(asked, into, "")
        return
    if out is None and asked.target is not None:
        found = seen.lookups.get(Way(asked.target, asked.source if into else None, into or ""))
        out = found.device if found and found.device else None
    yield FORWARD, Packet(asked, into, out)
    yield POSTROUTING, Packet(asked, into, out)


def _flow(path: Path, seen: Observed) -> Flow | None:
    """Return the flow that is asked about; of protocol 0 where none was named."""
    target = path.target.address
    source = path.source.address if path.source else _own(target, seen)
    if target is None or source is None:
        return None
    return flow(source, target, path.service) if path.service else Flow(source, target, 0)


def _own(target: Address | None, seen: Observed) -> Address | None:
    """Return the address from which this host would send."""
    if target is None:
        return None
    found = seen.lookups.get(Way(target))
    return found.source if found and found.source else target


def _closed_to_others(path: Path, concerned: tuple[Concern, ...], seen: Observed) -> str:
    """Return where packets that come from beyond this host would be dropped; empty for nowhere."""
    asked = _flow(path, seen)
    if asked is None or not concerned:
        return ""
    packet = Packet(asked, None, concerned[-1].device)
    for chain in seen.ruleset.foreign:
        if chain.sees(packet, FORWARD) and judge(chain, packet).surely("drop"):
            return f"chain {chain} drops what this host forwards; ask with --from"
    return ""
