"""What should stand in nftables, kept part by part, so that a change costs what changed; pure."""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

from chronovisor.net.firewall.compile import (
    closed_part,
    group_part,
    members_part,
    port_part,
    remote_names,
)
from chronovisor.net.firewall.plan import Action, difference, merged
from chronovisor.net.firewall.rules import Element, Part
from chronovisor.net.intent import Intent

Key = tuple[str, str]
"""Whose part: ("port", id), ("group", id), or ("members", id) for a group's set of addresses."""

NOTHING = Part()


@dataclass(slots=True)
class Wanted:
    """The parts of an intent. Several may have one element; it goes with the last of them."""

    intent: Intent
    parts: dict[Key, Part] = field(default_factory=dict)
    remotes: frozenset[str] = frozenset()
    """Groups that a rule names as the far end."""
    _named: dict[str, frozenset[str]] = field(default_factory=dict)
    _holders: Counter[Element] = field(default_factory=Counter)

    @classmethod
    def of(cls, intent: Intent) -> "Wanted":
        """Return everything that an intent needs."""
        wanted = cls(Intent())
        wanted.change(intent)
        return wanted

    def change(self, intent: Intent) -> list[Action]:
        """Take a new intent and return what has to be done for what differs."""
        before, self.intent = self.intent, intent
        ports, groups = changed_ports(before, intent), changed_groups(before, intent)
        if groups:
            switched = self._rename(groups)
            ports |= _touched_ports(before, intent, groups, switched)
            naming = {one for one, names in self._named.items() if not names.isdisjoint(groups)}
            groups |= naming | switched
        new: dict[Key, Part] = {}
        for name in groups:
            there = name in intent.groups
            new["group", name] = group_part(name, intent.groups) if there else NOTHING
            new["members", name] = (
                members_part(name, intent.groups) if name in self.remotes else NOTHING
            )
        for name in ports:
            new["port", name] = _port(name, intent, self.remotes)
        return self._replace(new, _reason(ports, groups))

    def _rename(self, groups: set[str]) -> frozenset[str]:
        """Note whom changed groups name; return who is named now and was not, or no longer."""
        for one in groups:
            names = remote_names(self.intent.groups[one]) if one in self.intent.groups else None
            if names:
                self._named[one] = names
            else:
                self._named.pop(one, None)
        found = frozenset().union(*self._named.values()) & self.intent.groups.keys()
        switched, self.remotes = found ^ self.remotes, found
        return switched

    def _replace(self, new: Mapping[Key, Part], reason: str) -> list[Action]:
        old = [self.parts.get(key, NOTHING) for key in new]
        before, after = merged(old), merged(new.values())
        for part in new.values():
            self._holders.update(part.elements)
        for part in old:
            self._holders.subtract(part.elements)
        for key, part in new.items():
            if part == NOTHING:
                self.parts.pop(key, None)
            else:
                self.parts[key] = part
        gone = {one for one in before.elements if self._holders[one] <= 0}
        for one in gone:
            del self._holders[one]
        fresh = self._fresh(after.elements, before.elements, new.values())
        kept = before.elements - gone
        return difference(before, replace(after, elements=kept | fresh), reason)

    def _fresh(
        self, after: frozenset[Element], before: frozenset[Element], parts: Iterable[Part]
    ) -> frozenset[Element]:
        """Return the elements that no part outside the change holds already."""
        inside = Counter(element for part in parts for element in part.elements)
        return frozenset(
            one for one in after if one not in before and self._holders[one] == inside[one]
        )


def changed_ports(before: Intent, after: Intent) -> set[str]:
    """Return the ports that differ, or whose network does."""
    found = _differing(before.ports, after.ports)
    found |= _differing(before.disabled, after.disabled)
    found |= _differing(before.refused_ports, after.refused_ports)
    if networks := _differing(before.networks, after.networks):
        found |= {one for one, port in after.ports.items() if port.network in networks}
    return found


def changed_groups(before: Intent, after: Intent) -> set[str]:
    """Return the security groups that differ."""
    return _differing(before.groups, after.groups)


def _differing(before: Mapping[str, object], after: Mapping[str, object]) -> set[str]:
    """Return the keys whose values differ; most are the same objects, which is quick to see."""
    if before is after:
        return set()
    found = {key for key, one in after.items() if before.get(key) is not one}
    found = {key for key in found if before.get(key) != after[key]}
    return found | (before.keys() - after.keys())


def _port(name: str, intent: Intent, remotes: frozenset[str]) -> Part:
    if name in intent.ports:
        return port_part(name, intent.ports[name], intent, remotes)
    closed = intent.disabled.get(name) or intent.refused_ports.get(name)
    return closed_part(closed) if closed else NOTHING


def _touched_ports(
    before: Intent, after: Intent, groups: set[str], switched: frozenset[str]
) -> set[str]:
    """Return ports whose own part a change of groups alters: members of these.

    Args:
        groups: groups that differ; `stateful` is a matter of a port's own part.
        switched: groups that a rule names now and did not, or no longer.
    """
    stateful = {one for one in groups if _is_stateful(before, one) != _is_stateful(after, one)}
    relevant = stateful | switched
    if not relevant:
        return set()
    return {
        name for name, port in after.ports.items() if not relevant.isdisjoint(port.security_groups)
    }


def _is_stateful(intent: Intent, group: str) -> bool | None:
    found = intent.groups.get(group)
    return None if found is None else found.stateful


def _reason(ports: set[str], groups: set[str]) -> str:
    names = [f"port {one}" for one in sorted(ports)] + [f"group {one}" for one in sorted(groups)]
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return f"changed: {', '.join(names[:3])}{more}"
