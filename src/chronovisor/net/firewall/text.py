"""A part of the firewall as text for `nft -f`: for people, and to check our bytecode against."""

from chronovisor.net.firewall.keys import key_text
from chronovisor.net.firewall.names import IPV4, fields
from chronovisor.net.firewall.rules import Element, Part


def part_text(part: Part) -> str:
    """Return what adds a part to the static part; a chain that is there gets more rules."""
    lines: list[str] = []
    for where in sorted(part.sets):
        kind = IPV4 if fields(where.family, where.name) == (IPV4,) else "ipv6_addr"
        lines.append(f"add set {where} {{ type {kind}; }}")
    lines += [f"add chain {chain}" for chain in part.chains]
    for chain, rules in part.chains.items():
        lines += [f"add rule {chain} {rule}" for rule in rules]
    lines += sorted(f"add element {one.where} {{ {_element_text(one)} }}" for one in part.elements)
    return "".join(f"{line}\n" for line in lines)


def _element_text(element: Element) -> str:
    types = fields(element.where.family, element.where.name) or ()
    text = key_text(element.key, types)
    return f"{text} : {element.verdict}" if element.verdict else text
