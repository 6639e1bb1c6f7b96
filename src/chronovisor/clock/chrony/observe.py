"""What the running chronyd says of its sources and of the system clock, asked once a second."""

import asyncio
import contextlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from chronovisor.clock.arbiter import NtpEvidence
from chronovisor.clock.chrony import protocol
from chronovisor.clock.chrony.client import ChronyClient
from chronovisor.clock.chrony.protocol import Command, Source, SourceState, Statistics, Tracking
from chronovisor.errors import ProtocolError, Unavailable

POLL_S = 1.0
"""How often chronyd is asked: a lie is noticed so soon, and a reading costs half a millisecond."""


@dataclass(frozen=True, slots=True)
class NtpSource:
    """One source: what it was configured as, what chronyd makes of it, its statistics."""

    name: str
    source: Source
    statistics: Statistics

    @property
    def address(self) -> str | None:
        """Return its address, None while its name has none yet."""
        return protocol.address_text(self.source.address)


@dataclass(frozen=True, slots=True)
class NtpReading:
    """All that chronyd said at one moment."""

    tracking: Tracking
    sources: tuple[NtpSource, ...]


class NtpObserver:
    """Watches one chronyd until cancelled; `reading` is None while it does not answer."""

    def __init__(self, server: Path, changed: Callable[[], None]) -> None:
        self._server = server
        self._changed = changed
        self._hurried = asyncio.Event()
        self.reading: NtpReading | None = None
        self.silence = "chronyd has not been asked yet"

    @property
    def evidence(self) -> NtpEvidence:
        """Return what the arbiter judges by."""
        return evidence(self.reading) if self.reading else NtpEvidence(reason=self.silence)

    def forget(self, reason: str) -> None:
        """Take nothing for true that was said before: chronyd was started anew, or ended."""
        self.reading, self.silence = None, reason
        self._hurried.set()

    async def run(self) -> None:
        """Ask for ever."""
        while True:
            await self.read_once()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(POLL_S):
                    await self._hurried.wait()
                await asyncio.sleep(POLL_S / 4)  # it has hardly started
            self._hurried.clear()

    async def read_once(self) -> None:
        """Ask now; chronyd not answering is something seen, not an error."""
        try:
            self.reading = await read(self._server)
        except (Unavailable, ProtocolError) as error:
            self.reading, self.silence = None, error.message
        self._changed()


async def read(server: Path) -> NtpReading:
    """Return what chronyd says now; raises `Unavailable` or `ProtocolError`."""
    async with ChronyClient(server) as client:
        tracking = protocol.tracking(await client.ask(Command.TRACKING))
        count = protocol.source_count(await client.ask(Command.N_SOURCES))
        sources = [await _source(client, index) for index in range(count)]
    return NtpReading(tracking, tuple(sources))


async def _source(client: ChronyClient, index: int) -> NtpSource:
    where = protocol.index_data(index)
    source = protocol.source(await client.ask(Command.SOURCE_DATA, where))
    statistics = protocol.statistics(await client.ask(Command.SOURCESTATS, where))
    try:
        name = protocol.name(await client.ask(Command.NTP_SOURCE_NAME, source.address))
    except ProtocolError:  # a reference clock has none
        name = protocol.address_text(source.address) or "reference clock"
    return NtpSource(name, source, statistics)


def evidence(reading: NtpReading) -> NtpEvidence:
    """Return what the arbiter judges by; pure."""
    tracking = reading.tracking
    chosen = [one for one in reading.sources if one.source.state is SourceState.SELECTED]
    if tracking.reference is None or not any(one.source.reach for one in chosen):
        return NtpEvidence(reason=_why_not(reading.sources))
    distance_s = abs(tracking.root_delay_s) / 2 + abs(tracking.root_dispersion_s)
    return NtpEvidence(
        available=True,
        reason=f"NTP server {chosen[0].name} of stratum {chosen[0].source.stratum} is followed",
        offset_s=-tracking.correction_s,
        distance_s=distance_s,
    )


def _why_not(sources: tuple[NtpSource, ...]) -> str:
    if not sources:
        return "chronyd has no NTP server"
    names = ", ".join(one.name for one in sources)
    if not any(one.source.reach for one in sources):
        return f"no NTP server answers: {names}"
    liars = [one.name for one in sources if one.source.state is SourceState.FALSETICKER]
    if liars:
        return f"NTP servers contradict each other and none has a majority: {', '.join(liars)}"
    return f"NTP servers are being measured: {names}"
