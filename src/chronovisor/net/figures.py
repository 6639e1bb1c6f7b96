"""What the net plane can be measured by: counts of ports, of work done and of packets dropped."""

import contextlib
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from chronovisor.errors import ChronovisorError
from chronovisor.net.firewall.netfilter import NetfilterSocket
from chronovisor.net.firewall.observe import dropped
from chronovisor.net.intent import Intent
from chronovisor.net.settings import PORTS
from chronovisor.net.wiring import PortState


class PortCondition(StrEnum):
    """How a port is, in a word."""

    WIRED = "wired"
    WAITING = "waiting"  # for its tap
    FAULTY = "faulty"  # its tap is there and cannot be wired, or not all of it
    DISABLED = "disabled"
    REFUSED = "refused"  # its settings do not hold


PARTS = ("wiring", "firewall", "dhcp", "metadata")


@dataclass(slots=True)
class Totals:
    """What the plane did since visord started. Belongs to the event loop."""

    steps: Counter[str] = field(default_factory=Counter)
    """Steps taken, by part."""
    rule_changes: int = 0
    """Changes of the firewall that had something to do."""
    rule_changes_s: float = 0.0
    """How long they took in all, connections that had to end included."""
    foreign_changes: int = 0
    """How often somebody else had changed our tables."""


@dataclass(frozen=True, slots=True)
class Figures:
    """All of it at one moment. `dropped` are packets by reason, since our tables were loaded."""

    enabled: bool = False
    ports: Mapping[PortCondition, int] = field(default_factory=dict)
    totals: Totals = field(default_factory=Totals)
    leases: int = 0
    dropped: Mapping[str, int] = field(default_factory=dict)


def conditions(intent: Intent, states: Mapping[str, PortState]) -> dict[PortCondition, int]:
    """Return how many ports are in each condition."""
    found = dict.fromkeys(PortCondition, 0)
    for identifier in intent.ports:
        found[_condition(states.get(identifier))] += 1
    found[PortCondition.DISABLED] = len(intent.disabled)
    found[PortCondition.REFUSED] = sum(key.startswith(f"{PORTS}/") for key in intent.refused)
    return found


def _condition(state: PortState | None) -> PortCondition:
    if state is None or (not state.wired and not state.problem):
        return PortCondition.WAITING
    return PortCondition.WIRED if state.wired else PortCondition.FAULTY


def dropped_packets() -> dict[str, int]:
    """Return packets dropped by reason; nothing where the kernel does not say."""
    with contextlib.suppress(ChronovisorError), NetfilterSocket() as netfilter:
        return dict(dropped(netfilter))
    return {}
