"""The firewall of this host's VM ports: intent in, nftables kept.

>>> firewall = Firewall()
>>> firewall.sync(intent)      # all of it: at start, after drift, whenever in doubt
>>> firewall.change(intent)    # what differs from the intent before, in milliseconds
>>> firewall.plan(intent)      # what sync would do; touches nothing

Losing this process loses nothing: the ruleset stays, and the next process reads it. Calls block
for as long as the kernel takes; one thread at a time.
"""

import contextlib
from collections.abc import Sequence

from chronovisor.errors import Unavailable
from chronovisor.net.firewall import conntrack, flows, static
from chronovisor.net.firewall.apply import apply
from chronovisor.net.firewall.changes import ForeignChanges
from chronovisor.net.firewall.netfilter import NetfilterSocket, Refused
from chronovisor.net.firewall.observe import generation, observe
from chronovisor.net.firewall.plan import Action, LoadStatic, plan
from chronovisor.net.firewall.wanted import Wanted, changed_groups, changed_ports
from chronovisor.net.intent import Intent
from chronovisor.net.settings import Address


class Firewall(contextlib.AbstractContextManager["Firewall"]):
    """Keeps nftables in the network namespace in which it was made."""

    def __init__(self, patterns: Sequence[str] = static.TAP_PATTERNS) -> None:
        """Open the firewall.

        Args:
            patterns: names of devices that VMs have; such a device that no port claims is closed.

        Raises:
            InvalidInput: a pattern is wrong.
            Unavailable: there is no netfilter socket to be had.
        """
        static.check_patterns(patterns)
        self._patterns = tuple(patterns)
        self._netfilter = NetfilterSocket()
        try:
            self._foreign = ForeignChanges(self._netfilter.port)
        except Unavailable:
            self._netfilter.close()
            raise
        self._wanted: Wanted | None = None
        self._unjudged: frozenset[Address] | None = None
        self._base = 0
        self._generation = 0  # what the ruleset's number should be, less what we add to it
        self._touched = False

    def __exit__(self, *exc: object) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the kernel; the rules stay."""
        self._foreign.close()
        self._netfilter.close()

    def fileno(self) -> int:
        """Return the descriptor that is readable when somebody else changed nftables.

        `is_untouched` takes what there is to read, and says if it matters.
        """
        return self._foreign.fileno()

    def plan(self, intent: Intent) -> list[Action]:
        """Return what `sync` would do to the rules; touches nothing.

        Raises:
            ToolFailed, Unavailable: the ruleset cannot be read.
        """
        return plan(Wanted.of(intent).parts.values(), observe(self._netfilter), self._patterns)

    def sync(self, intent: Intent) -> list[Action]:
        """Make the whole ruleset what the intent says, end connections it refuses; return what.

        Raises:
            ToolFailed, Unavailable: nothing or only the static part was changed; may be repeated.
        """
        wanted = Wanted.of(intent)
        self._wanted = None
        self._take_news()
        self._touched = False
        observed = observe(self._netfilter)
        # What others do from here on makes the ruleset's number another than the one expected.
        self._base = observed.generation
        self._generation = self._base - self._netfilter.commits
        actions = plan(wanted.parts.values(), observed, self._patterns)
        self._apply(actions)
        self._unjudged = None
        self._wanted = wanted
        self.end_refused()
        return actions

    def change(self, intent: Intent) -> list[Action]:
        """Make the rules follow an intent that differs a little from the one before.

        Where the ruleset turns out to be another than we left, all of it is set right (`sync`).
        Connections that the new rules refuse end with it.

        Raises:
            ToolFailed, Unavailable: nothing was changed; the next call sets all of it right.
        """
        actions = self.change_rules(intent)
        self.end_refused()
        return actions

    def change_rules(self, intent: Intent) -> list[Action]:
        """Do the first half of `change`; `end_refused` must follow soon."""
        if self._wanted is None:
            return self.sync(intent)
        wanted, self._wanted = self._wanted, None
        before = wanted.intent
        actions = wanted.change(intent)
        try:
            self._apply(actions)
        except Refused:
            return self.sync(intent)
        changed = changed_ports(before, intent), changed_groups(before, intent)
        touched = flows.affected(before, intent, *changed)
        known = self._unjudged
        self._unjudged = None if known is None or touched is None else known | touched
        self._wanted = wanted
        return actions

    def end_refused(self) -> list[flows.Flow]:
        """End the connections that rules changed since the last call refuse; return them.

        Raises:
            ToolFailed, Unavailable: some may go on; the next call looks again.
        """
        if self._wanted is None or self._unjudged == frozenset():
            return []
        found = conntrack.flows(self._netfilter, self._unjudged)
        ended = flows.refused(self._wanted.intent, found) if found else []
        conntrack.end(self._netfilter, ended)
        self._unjudged = frozenset()
        return ended

    def is_untouched(self) -> bool:
        """Return whether nobody else changed our tables since our last `sync`.

        Cheap, and changes of other tables count for nothing. When it is False, `plan` or `sync`
        finds out what really differs.

        Raises:
            ToolFailed, Unavailable: the kernel cannot be asked.
        """
        self._take_news()
        if self._wanted is None or self._touched:
            return False
        expected = self._generation + self._netfilter.commits
        return generation(self._netfilter) == expected

    @property
    def has_synced(self) -> bool:
        """Whether the last `sync` or `change` succeeded."""
        return self._wanted is not None

    @property
    def was_touched(self) -> bool:
        """Whether, by the last look, somebody else changed our tables since our last `sync`."""
        return self._touched

    def _apply(self, actions: Sequence[Action]) -> None:
        """Make changes."""
        apply(actions, self._netfilter)
        if loads := sum(isinstance(one, LoadStatic) for one in actions):
            self._take_news()  # of the nft command that we ran
            self._generation += loads
            self._touched = False

    def _take_news(self) -> None:
        """Note what others changed: of our tables, or of theirs, which only moves the number."""
        for change in self._foreign.take():
            if change is None or change.ours:
                self._touched = True
            elif change.generation > self._base:
                self._generation += 1
