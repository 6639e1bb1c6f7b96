"""Judges our firewall for a path: what stands in the kernel, and the rule that decides."""

from collections.abc import Iterator

from chronovisor.net.explain.concern import Concern
from chronovisor.net.explain.findings import Finding, judged, unknown
from chronovisor.net.explain.observed import Observed, Ruleset
from chronovisor.net.explain.question import Path, Service, flow
from chronovisor.net.explain.services import asks_for_metadata
from chronovisor.net.firewall import static
from chronovisor.net.firewall.flows import Flow, Judge, matches_service
from chronovisor.net.firewall.keys import key_text
from chronovisor.net.firewall.names import FAMILIES, TABLE, fields
from chronovisor.net.firewall.rules import Element
from chronovisor.net.intent import Intent
from chronovisor.net.settings import Address, Direction, Family, IpProtocol, Rule

Fault = tuple[str, str]

_MENDED = "visord puts it back within 10 s; who takes it away may do so again"
_MOST_SHOWN = 2
_DNS = 53


def of_port(one: Concern, path: Path, intent: Intent, seen: Observed) -> Finding:
    """Return whether the firewall lets an end's packets pass, and by which rule."""
    rules = seen.ruleset
    if rules.problem:
        return unknown("firewall", one.identifier, f"not read: {rules.problem}")
    faults = [*_tables(rules), *_part(one, rules)]
    verdict, fine = _verdict(one, path, intent)
    return judged("firewall", one.identifier, [*faults, *verdict], fine)


def _tables(rules: Ruleset) -> Iterator[Fault]:
    for number, word in FAMILIES.items():
        if number not in rules.tables:
            yield (
                f"there is no table {word} {TABLE}: somebody flushed the ruleset",
                "visord loads it within half a second while it runs",
            )
            return
    for (family, chain), count in static.rule_counts().items():
        found = rules.static.get((family, chain), 0)
        if found < count:
            yield f"chain {family} {TABLE} {chain} has {found} rules, not {count}", _MENDED


def _part(one: Concern, rules: Ruleset) -> Iterator[Fault]:
    """Yield what a port or its groups lack in our tables."""
    missing = sorted(one.part.elements - rules.elements)
    if missing:
        shown = "; ".join(map(_element_text, missing[:_MOST_SHOWN]))
        more = f" and {len(missing) - _MOST_SHOWN} more" if len(missing) > _MOST_SHOWN else ""
        yield f"the firewall lacks {shown}{more}", _MENDED
    for chain, wanted in one.part.chains.items():
        found = rules.chains.get(chain)
        if found is None:
            yield f"there is no chain {chain}", _MENDED
        elif found != tuple(rule.comment for rule in wanted):
            yield f"chain {chain} has {len(found)} rules, other than its {len(wanted)}", _MENDED


def _element_text(one: Element) -> str:
    types = fields(one.where.family, one.where.name) or ()
    verdict = f" : {one.verdict}" if one.verdict else ""
    return f"{key_text(one.key, types)}{verdict} in set {one.where}"


def _verdict(one: Concern, path: Path, intent: Intent) -> tuple[list[Fault], str]:
    """Return why the rules refuse what is asked, or in words what lets it pass."""
    is_source = one.end.role == "source"
    if is_source and path.target.on_host:
        return _to_host(one, path, intent)
    if not one.port.port_security:
        return [], "port_security is off: everything passes"
    direction = Direction.EGRESS if is_source else Direction.INGRESS
    asked = path.flow()
    if asked is not None:
        return _group_rule(one, direction, asked, intent)
    return _any_rule(one, direction, path, intent)


def _group_rule(
    one: Concern, direction: Direction, asked: Flow, intent: Intent
) -> tuple[list[Fault], str]:
    side = asked.source if direction is Direction.EGRESS else asked.target
    judge = Judge(intent)
    reasons = [r for r in judge.reasons(asked) if r.port == one.identifier]
    if not reasons:
        return [], f"{side} is not judged by groups"
    found = reasons[0 if direction is Direction.EGRESS else -1]
    if found.allowed:
        what = f"rule {found.rule} of security group {found.group}" if found.group else found.words
        return [], f"{direction.value}: {what} lets it pass"
    groups = ", ".join(one.port.security_groups) or "none"
    text = f"{direction.value}: {found.words} (groups: {groups}); it is dropped"
    return [(text, _add_rule(one, direction))], ""


def _any_rule(
    one: Concern, direction: Direction, path: Path, intent: Intent
) -> tuple[list[Fault], str]:
    """Judge without a far end: who may come at all."""
    service = path.service
    far: list[str] = []
    for address in one.end.addresses[:1]:
        for name, number, rule in _rules(one, direction, address, intent):
            if service is not None and not matches_service(rule, _sample(address, service)):
                continue
            if service is None or (rule.remote_prefix is None and rule.remote_group is None):
                whom = "anybody" if service else "some; ask with --tcp, --udp or --icmp"
                return [], f"{direction.value}: rule {number} of group {name} is for {whom}"
            far.append(f"{rule.remote_prefix or f'group {rule.remote_group}'}")
    if far:
        return [], f"{direction.value}: open for {', '.join(far)} only; ask with --from"
    if service is None and path.source is None:
        return [], f"no {direction.value} rule: only answers to what the VM begins pass"
    what = f"for {service}" if service else "at all"
    groups = ", ".join(one.port.security_groups) or "none"
    text = f"no {direction.value} rule of its groups ({groups}) {what}: new connections are dropped"
    return [(text, _add_rule(one, direction))], ""


def _rules(
    one: Concern, direction: Direction, address: Address, intent: Intent
) -> Iterator[tuple[str, int, Rule]]:
    family = Family.IPV4 if address.version == 4 else Family.IPV6
    for name in dict.fromkeys(one.port.security_groups):
        for number, rule in enumerate(intent.groups[name].rules):
            if rule.direction is direction and rule.family is family:
                yield name, number, rule


def _sample(address: Address, service: Service) -> Flow:
    return flow(address, address, service)


def _add_rule(one: Concern, direction: Direction) -> str:
    groups = one.port.security_groups
    if not groups:
        return f"give the port a group: `visorctl net port set {one.identifier} security_groups=…`"
    return f"add a rule for {direction.value} to one of its groups ({', '.join(groups)})"


def _to_host(one: Concern, path: Path, intent: Intent) -> tuple[list[Fault], str]:
    """Judge what a VM asks of the host itself (chain to_host of the static part)."""
    service, target = path.service, path.target.address
    what = f"{service} to this host"
    if service is None:
        return [], "a VM reaches of the host DHCP, metadata, ping; DNS if asked"
    if service.protocol is IpProtocol.ICMP:
        return [], f"{what} is let in from every VM"
    metadata = asks_for_metadata(path)
    if metadata and service.protocol is IpProtocol.TCP and service.port == 80:
        return [], "metadata are open for every VM"
    if service.port == _DNS:
        network = intent.network(one.port)
        if any(target == net.gateway and target in net.dns_servers for net in network.subnets):
            return [], "DNS is open: the gateway is among the network's dns_servers"
        text = f"{what} is dropped: the gateway is not among the network's dns_servers"
        return [(text, "`visorctl net enable dns=true`, and name the gateway there")], ""
    text = f"{what} is dropped: a VM reaches of it DHCP, metadata, ping and DNS only"
    return [(text, "no group can open this host; put the service elsewhere")], ""
