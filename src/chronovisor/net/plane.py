"""The net plane at work: settings in; taps wired, fenced and served; states out.

The firewall always goes first: a port that comes is fenced before it is wired, and one that goes is
closed before its routes are taken away. Losing this process loses nothing: rules, routes and
daemons stay, and a new plane knows its own work again by its marks.
"""

import asyncio
import contextlib
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

from chronovisor.errors import ChronovisorError, Problem
from chronovisor.net import intent as intents
from chronovisor.net.dhcp.observe import read_leases
from chronovisor.net.dhcp.place import Place
from chronovisor.net.dhcp.service import DhcpService
from chronovisor.net.dhcp.wanted import problems as dhcp_problems
from chronovisor.net.explain import Explanation, Question, Surroundings, explain, gather, resolve
from chronovisor.net.explain.services import asks_for_metadata
from chronovisor.net.figures import (
    Figures,
    PortCondition,
    Totals,
    conditions,
    dropped_packets,
)
from chronovisor.net.firewall import Firewall
from chronovisor.net.intent import Intent
from chronovisor.net.metadata import plan as metadata_plan
from chronovisor.net.metadata.directory import FileAction, MetadataDirectory
from chronovisor.net.settings import PORTS, VM_NETWORKING, Metadata, VmNetworking
from chronovisor.net.wiring import PortState, Wiring, drift
from chronovisor.worlds import Supervisor, World

RECONCILE_S = 10.0
"""How often firewall, DHCP and metadata are compared although nothing was heard."""

RETRY_S = 1.0

Publish = Callable[[str, dict[str, Any]], None]


@dataclass(frozen=True, slots=True)
class Step:
    """Something that would be done, by which part, and why."""

    part: str
    action: str
    reason: str


class NetPlane:
    """Keeps the networking of this host's VMs as the settings say."""

    def __init__(self, supervisor: Supervisor, run: Path, var: Path, publish: Publish) -> None:
        self._supervisor = supervisor
        self._publish = publish
        self._var = var
        self._wiring = Wiring(publish)
        self._metadata = MetadataDirectory(run / "metadata")
        self._guests = metadata_plan.Rendered()
        self._settings = VmNetworking()
        self._metadata_settings = Metadata()
        self._wake = asyncio.Event()
        self.intent = Intent()
        self.problem = ""
        self._totals = Totals()

    @property
    def enabled(self) -> bool:
        """Return whether this host does VM networking at all."""
        return self._settings.enabled

    def want(
        self, values: Mapping[str, object], settings: VmNetworking, metadata: Metadata
    ) -> None:
        """Take everything that the store holds of this plane."""
        self.intent = intents.build(values, incumbents=self.intent.ports)
        self._settings = settings
        self._metadata_settings = metadata
        self._wake.set()

    def change(
        self,
        values: Mapping[str, object],
        settings: VmNetworking | None = None,
        metadata: Metadata | None = None,
    ) -> None:
        """Take what changed: values by key path, None for one that is gone; and settings."""
        self.intent = intents.changed(self.intent, values)
        self._settings = settings or self._settings
        self._metadata_settings = metadata or self._metadata_settings
        self._wake.set()

    def problems(self) -> list[Problem]:
        """Return what is wrong with the settings: ports that are not served, or not as asked."""
        found = intents.problems(self.intent)
        if self.enabled:
            found += dhcp_problems(self.intent)
            found += _uncovered(self.intent, self._settings.tap_patterns)
        return found

    def states(self) -> Mapping[str, PortState]:
        """Return how each port is, by id."""
        return self._wiring.states

    def conditions(self) -> dict[PortCondition, int]:
        """Return how many ports are in each condition, now."""
        return conditions(self.intent, self.states() if self.enabled else {})

    def figures(self) -> Figures:
        """Return what the plane can be measured by, now; reads files and the kernel."""
        self._totals.steps["wiring"] = self._wiring.steps
        return Figures(
            enabled=self.enabled,
            ports=self.conditions(),
            totals=self._totals,
            leases=len(read_leases(self._place())),
            dropped=dropped_packets(),
        )

    async def plan(self) -> list[Step]:
        """Return what would be done now; touches nothing. Raises `ToolFailed`, `Unavailable`."""
        if not self.enabled:
            return []
        return await asyncio.to_thread(self._plan, self._supervisor.worlds())

    def _plan(self, worlds: list[World]) -> list[Step]:
        steps = [Step("wiring", str(one), one.reason) for one in drift(self.intent).actions]
        with Firewall(self._settings.tap_patterns) as firewall:
            steps += [Step("firewall", str(one), one.reason) for one in firewall.plan(self.intent)]
        dhcp = DhcpService(self._place(), self._supervisor, self._publish)
        steps += [
            Step("dhcp", str(one), one.reason) for one in dhcp.plan(self.intent, worlds=worlds)
        ]
        steps += [Step("metadata", str(one), one.reason) for one in self._plan_metadata(worlds)]
        return steps

    def _plan_metadata(self, worlds: list[World]) -> list[metadata_plan.Action]:
        spec = metadata_plan.world(self._metadata.path)
        settings = self._metadata_settings
        wanted = metadata_plan.want(self.intent, settings, spec, self._guests)
        return metadata_plan.plan(wanted, self._metadata.observe(worlds))

    async def explain(self, question: Question) -> Explanation:
        """Return how each link of a path is; touches nothing.

        Raises `NotFound`, `InvalidInput` for a question that makes no sense, `ToolFailed`.
        """
        intent, at = self.intent, self._place()
        path = resolve(question, intent)
        metadata, problem = None, ""
        if asks_for_metadata(path):
            try:
                metadata = await self._metadata.status()
            except ChronovisorError as error:
                problem = error.message
        worlds = self._supervisor.worlds()
        around = Surroundings(at, worlds, self.enabled, self.problem, metadata, problem)
        seen = await asyncio.to_thread(gather, path, intent, around)
        return await asyncio.to_thread(explain, question, intent, seen, at)

    def _place(self) -> Place:
        settings = self._settings
        return Place(self._var / "dhcp", settings.tap_patterns, dns=settings.dns)

    async def run(self) -> None:
        """Keep everything as wanted until cancelled; do nothing while not enabled."""
        while True:
            while not self.enabled:
                await self._wake.wait()
                self._wake.clear()
            with contextlib.suppress(_Changed):
                await self._run_with(self._settings)

    async def _run_with(self, settings: VmNetworking) -> None:
        """Work with these settings; raises `_Changed` when others hold."""
        dhcp = DhcpService(self._place(), self._supervisor, self._publish)
        with Firewall(settings.tap_patterns) as firewall:
            # Rules first: a tap must never be open while nobody says what may pass.
            intent = self.intent
            await self._keep_rules(firewall, intent)
            self._wiring.want(intent)
            wiring = asyncio.create_task(self._wiring.run())
            wiring.add_done_callback(lambda _: self._wake.set())
            try:
                while self._settings == settings:
                    await self._sync(firewall, dhcp)
                    await self._pause(firewall)
                    if wiring.done():
                        wiring.result()
            finally:
                wiring.cancel()
                await asyncio.wait([wiring])
                self._say("")  # whoever goes on from here finds out anew what is wrong
        raise _Changed

    async def _pause(self, firewall: Firewall) -> None:
        """Wait for something to do: news of settings, or of others who changed our rules."""
        until_s = time.monotonic() + (RETRY_S if self.problem else RECONCILE_S)
        # What came while our own rules were loaded is not heard of again: that is asked at once
        heard = firewall.has_synced
        while (left_s := until_s - time.monotonic()) > 0:
            with contextlib.suppress(ChronovisorError):  # the next sync says what is wrong
                if heard and not await asyncio.to_thread(firewall.is_untouched):
                    return
            heard = await self._hears_of_rules(firewall, left_s)
            if not heard:
                return

    async def _hears_of_rules(self, firewall: Firewall, within_s: float) -> bool:
        """Wait; return whether somebody changed nftables before anything else was there to do."""
        loop = asyncio.get_running_loop()
        heard = asyncio.Event()
        loop.add_reader(firewall, heard.set)
        waits = [asyncio.create_task(one.wait()) for one in (self._wake, heard)]
        try:
            await asyncio.wait(waits, timeout=within_s, return_when=asyncio.FIRST_COMPLETED)
        finally:
            loop.remove_reader(firewall)
            for one in waits:
                one.cancel()
        return heard.is_set() and not self._wake.is_set()

    async def _sync(self, firewall: Firewall, dhcp: DhcpService) -> None:
        """Do what is missing in every part; one that fails does not stop the others."""
        self._wake.clear()
        intent = self.intent
        failed = []
        try:
            await self._keep_rules(firewall, intent)
            self._wiring.want(intent)
        except ChronovisorError as error:
            failed.append(f"firewall: {error.message}")
        self._totals.steps["dhcp"] += await dhcp.sync(intent)
        failed += [f"dhcp: {dhcp.problem}"] if dhcp.problem else []
        try:
            await self._sync_metadata()
        except ChronovisorError as error:
            failed.append(f"metadata: {error.message}")
        self._say("; ".join(failed))

    async def _keep_rules(self, firewall: Firewall, intent: Intent) -> None:
        """Make the rules follow an intent; all of them where somebody else touched them.

        That is asked first: after a change of our own, theirs could not be told from it.
        """
        totals, began_s = self._totals, time.monotonic()
        untouched = await asyncio.to_thread(firewall.is_untouched)
        totals.foreign_changes += firewall.was_touched
        work = firewall.change if untouched else firewall.sync
        if steps := len(await asyncio.to_thread(work, intent)):
            totals.steps["firewall"] += steps
            totals.rule_changes += 1
            totals.rule_changes_s += time.monotonic() - began_s

    def _say(self, problem: str) -> None:
        if problem != self.problem:
            self.problem = problem
            self._publish("net.problem", {"problem": problem})

    async def _sync_metadata(self) -> None:
        worlds = self._supervisor.worlds()
        actions = await asyncio.to_thread(self._plan_metadata, worlds)
        for of_files, some in groupby(actions, lambda one: isinstance(one, FileAction)):
            await self._do_metadata(list(some), of_files=of_files)

    async def _do_metadata(self, actions: Sequence[Any], *, of_files: bool) -> None:
        """Do some actions; those with files in one thread, for there may be thousands."""
        for one in actions:
            self._publish("net.metadata.action", {"action": str(one), "reason": one.reason})
        if of_files:
            await asyncio.to_thread(self._metadata.apply_files, actions)
        else:
            for one in actions:
                await self._metadata.apply(one, self._supervisor)
        self._totals.steps["metadata"] += len(actions)


def _uncovered(intent: Intent, patterns: tuple[str, ...]) -> Iterator[Problem]:
    """Yield a problem for each port's device that would be open without its port."""
    starts = tuple(one.removesuffix("*") for one in patterns if one.endswith("*"))
    for identifier, port in intent.ports.items():
        if not port.device.startswith(starts) and port.device not in patterns:
            yield Problem(
                f"{PORTS}/{identifier}: device",
                f"{port.device} is like none of tap_patterns: open whenever no port claims it",
                port.device,
                f"add a pattern to {VM_NETWORKING}, which has {', '.join(patterns)}",
            )


class _Changed(Exception):
    """Other settings of the whole plane hold."""
