"""What must be done so that nftables holds what the host's intent says; pure.

`plan` compares the whole with what was read from the kernel. `difference` compares one part before
and after a change, so that a change costs the same whatever the number of ports.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from chronovisor.net.firewall import static
from chronovisor.net.firewall.names import FAMILIES, TABLE
from chronovisor.net.firewall.observe import Observed
from chronovisor.net.firewall.rules import Chain, Element, Part, Rule, SetName
from chronovisor.net.firewall.text import part_text


@dataclass(frozen=True, slots=True)
class LoadStatic:
    """Load the static part. Applied by `apply` with `nft`, before all others."""

    text: str
    reason: str

    def __str__(self) -> str:
        """Return the action as a line for people."""
        return "load the static part of the firewall"


@dataclass(frozen=True, slots=True)
class AddSet:
    """Add a set of a group's addresses. Applied by `apply`."""

    where: SetName
    reason: str

    def __str__(self) -> str:
        """Return the action as a line for people."""
        return f"add set {self.where}"


@dataclass(frozen=True, slots=True)
class DeleteSet:
    """Delete a set of a group's addresses. Applied by `apply`."""

    where: SetName
    reason: str

    def __str__(self) -> str:
        """Return the action as a line for people."""
        return f"delete set {self.where}"


@dataclass(frozen=True, slots=True)
class WriteChain:
    """Give a chain exactly these rules; add it if it is `new`. Applied by `apply`."""

    chain: Chain
    rules: tuple[Rule, ...]
    new: bool
    reason: str

    def __str__(self) -> str:
        """Return the action as a line for people."""
        verb = "add" if self.new else "rewrite"
        return f"{verb} chain {self.chain} with {len(self.rules)} rules"


@dataclass(frozen=True, slots=True)
class DeleteChain:
    """Delete a chain with its rules. Applied by `apply`."""

    chain: Chain
    reason: str

    def __str__(self) -> str:
        """Return the action as a line for people."""
        return f"delete chain {self.chain}"


@dataclass(frozen=True, slots=True)
class AddElements:
    """Add elements to a set or map. Applied by `apply`."""

    where: SetName
    elements: tuple[Element, ...]
    reason: str

    def __str__(self) -> str:
        """Return the action as a line for people."""
        return f"add {len(self.elements)} elements to {self.where}"


@dataclass(frozen=True, slots=True)
class DeleteElements:
    """Delete elements of a set or map. Applied by `apply`."""

    where: SetName
    elements: tuple[Element, ...]
    reason: str

    def __str__(self) -> str:
        """Return the action as a line for people."""
        return f"delete {len(self.elements)} elements of {self.where}"


Action = LoadStatic | AddSet | DeleteSet | WriteChain | DeleteChain | AddElements | DeleteElements


def plan(parts: Iterable[Part], observed: Observed, patterns: tuple[str, ...]) -> list[Action]:
    """Return what turns `observed` into the static part and `parts`; empty when they agree."""
    wanted = merged(parts)
    if any(not mark.startswith(static.LAYOUT_MARK) for mark in observed.marks):
        return [_anew(wanted, patterns)]
    actions: list[Action] = list(_static(observed, patterns))
    actions += _changes(
        {chain: tuple(rule.comment for rule in rules) for chain, rules in wanted.chains.items()},
        wanted,
        observed.chains,
        observed.elements,
        frozenset(one for one in observed.sets if one.name.startswith("members")),
        "the kernel has something else",
    )
    return actions


def difference(before: Part, after: Part, reason: str) -> list[Action]:
    """Return what turns one part into another."""
    return _changes(after.chains, after, before.chains, before.elements, before.sets, reason)


def merged(parts: Iterable[Part]) -> Part:
    """Return parts as one; what several have is there once."""
    chains: dict[Chain, tuple[Rule, ...]] = {}
    elements: set[Element] = set()
    sets: set[SetName] = set()
    for part in parts:
        chains.update(part.chains)
        elements |= part.elements
        sets |= part.sets
    return Part(chains, frozenset(elements), frozenset(sets))


def _anew(wanted: Part, patterns: tuple[str, ...]) -> LoadStatic:
    """Return what replaces a ruleset whose sets have other types, in one transaction."""
    old = "".join(f"delete table {family} {TABLE}\n" for family in FAMILIES.values())
    new = static.text(patterns) + part_text(wanted)
    return LoadStatic(old + new, "another release loaded it, with sets of other types")


def _static(observed: Observed, patterns: tuple[str, ...]) -> Iterable[LoadStatic]:
    mark, text = static.mark(patterns), static.text(patterns)
    others = sorted(observed.marks - {mark})
    wrong = {
        chain: count
        for chain, count in static.rule_counts(patterns).items()
        if observed.static.get(chain) != count
    }
    if not observed.marks:
        yield LoadStatic(text, "it is not loaded")
    elif others:
        deletions = "".join(f"delete chain inet {TABLE} {one}\n" for one in others)
        yield LoadStatic(text + deletions, f"{', '.join(others)} is loaded, not {mark}")
    elif wrong:
        family, name = min(wrong)
        yield LoadStatic(text, f"rules of chain {family} {name} are missing or were added")


def _changes(
    wanted_chains: Mapping[Chain, object],
    wanted: Part,
    chains: Mapping[Chain, object],
    elements: frozenset[Element],
    sets: frozenset[SetName],
    reason: str,
) -> list[Action]:
    """Return the actions in the order of one transaction: what is used before what uses it."""
    actions: list[Action] = [AddSet(one, reason) for one in sorted(wanted.sets - sets)]
    actions += [
        WriteChain(chain, rules, chain not in chains, reason)
        for chain, rules in wanted.chains.items()
        if chains.get(chain) != wanted_chains[chain]
    ]
    gone = sets - wanted.sets
    deleted = (one for one in elements - wanted.elements if one.where not in gone)
    actions += [DeleteElements(where, some, reason) for where, some in _by_set(deleted)]
    added = _by_set(wanted.elements - elements)
    actions += [AddElements(where, some, reason) for where, some in added]
    actions += [DeleteChain(one, reason) for one in chains if one not in wanted.chains]
    actions += [DeleteSet(one, reason) for one in sorted(gone)]
    return actions


def _by_set(elements: Iterable[Element]) -> list[tuple[SetName, tuple[Element, ...]]]:
    found: dict[SetName, list[Element]] = {}
    for one in elements:
        found.setdefault(one.where, []).append(one)
    return [(where, tuple(found[where])) for where in sorted(found)]
