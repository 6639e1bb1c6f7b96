"""DHCP of one host at work: an intent in, daemons and files kept."""

import asyncio
from collections.abc import Callable, Iterable, Sequence
from itertools import groupby
from typing import Any

from chronovisor.errors import ChronovisorError, Problem, Unavailable
from chronovisor.net.dhcp.apply import FileAction, apply, apply_file, make_directories
from chronovisor.net.dhcp.leases import Lease
from chronovisor.net.dhcp.observe import Files, observe, read_leases
from chronovisor.net.dhcp.place import Place
from chronovisor.net.dhcp.plan import Action, plan
from chronovisor.net.dhcp.wanted import Rendered, problems, want
from chronovisor.net.intent import Intent
from chronovisor.worlds import Supervisor, World

Publish = Callable[[str, dict[str, Any]], None]


class DhcpService:
    """Keeps VMs' DHCP, router advertisements and (if asked) DNS as an intent says.

    ::

        service = DhcpService(Place(Path("/var/lib/chronovisor/dhcp")), supervisor, publish)
        await service.sync(intent)  # everything; at start, and every few seconds against drift
        await service.sync(intent, ["vm1"])  # port vm1 is new, changed or gone

    Call `sync` only with the intent of the whole host: what no port of it needs is removed.
    """

    def __init__(self, at: Place, supervisor: Supervisor, publish: Publish) -> None:
        self.at = at
        self._supervisor = supervisor
        self._publish = publish
        self._files = Files(at)
        self._rendered = Rendered(at)
        self.problem = ""
        """What could not be done at the last `sync`; empty when all was."""

    def plan(
        self,
        intent: Intent,
        ports: Iterable[str] | None = None,
        worlds: Iterable[World] | None = None,
    ) -> list[Action]:
        """Return what would be done, for all ports or some; nothing is touched.

        In another thread than the supervisor's with `worlds` alone: those that it has.
        """
        known = self._supervisor.worlds() if worlds is None else worlds
        wanted = want(intent, self.at, ports, self._rendered)
        return plan(wanted, observe(self.at, known, self._files, wanted.ports), self.at)

    async def sync(self, intent: Intent, ports: Iterable[str] | None = None) -> int:
        """Do what is missing; return how many actions that took.

        One action that fails, said in `problem`, does not stop the others. What failed is missing
        still, and done by a later call.
        """
        worlds = self._supervisor.worlds()
        failed: list[str] = []
        try:
            await asyncio.to_thread(make_directories, self.at)
            actions = await asyncio.to_thread(self.plan, intent, ports, worlds)
        except Unavailable as error:
            self.problem = error.message
            return 0
        for of_files, some in groupby(actions, lambda one: isinstance(one, FileAction)):
            do = self._do_files if of_files else self._do
            failed += await do(list(some))
        self.problem = "; ".join(failed)
        return len(actions)

    async def _do_files(self, actions: Sequence[Any]) -> list[str]:
        """Do what needs no daemon; in a thread, for there may be thousands."""

        def work() -> list[str]:
            return [text for one in actions if (text := self._refusal(one))]

        for one in actions:
            self._say(one)
        return await asyncio.to_thread(work)

    def _refusal(self, action: FileAction) -> str:
        try:
            apply_file(action, self.at)
        except ChronovisorError as error:
            return error.message
        return ""

    async def _do(self, actions: Sequence[Any]) -> list[str]:
        failed = []
        for one in actions:
            self._say(one)
            try:
                await apply(one, self._supervisor)
            except ChronovisorError as error:
                failed.append(error.message)
        return failed

    def _say(self, action: Action) -> None:
        self._publish("net.dhcp.action", {"action": str(action), "reason": action.reason})

    def problems(self, intent: Intent) -> list[Problem]:
        """Return what networks ask for and VMs cannot be told."""
        return problems(intent)

    def leases(self) -> tuple[Lease, ...]:
        """Return the IPv4 leases that hold now; DHCPv6 keeps none, addresses are the port's."""
        return read_leases(self.at)
