"""What changes in visord, handed to whoever listens: the API's event stream, tests, the console.

A listener that does not keep up loses its oldest events and is told how many, so that a stalled
`visorctl watch` never holds memory or anybody else up.
"""

import asyncio
import itertools
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

QUEUE_LENGTH = 1024
"""Events a listener may lag behind: a minute of a clock at 16 Hz."""


@dataclass(frozen=True, slots=True)
class Event:
    """One change: `kind` is dotted (`clock.state`, `config.commit`), `data` is JSON material."""

    number: int
    at_ns: int
    kind: str
    data: dict[str, Any]


class Listener:
    """One listener's bounded queue of events."""

    def __init__(self, kinds: tuple[str, ...], length: int) -> None:
        self._kinds = kinds
        self._queue: deque[Event] = deque(maxlen=length)
        self._ready = asyncio.Event()
        self.lost = 0

    def offer(self, event: Event) -> None:
        """Queue an event of a kind that this listener wants."""
        if self._kinds and not event.kind.startswith(self._kinds):
            return
        if len(self._queue) == self._queue.maxlen:
            self.lost += 1
        self._queue.append(event)
        self._ready.set()

    async def next(self, timeout_s: float | None = None) -> Event | None:
        """Return the next event, or None when none came in time."""
        try:
            async with asyncio.timeout(timeout_s):
                await self._ready.wait()
        except TimeoutError:
            return None
        event = self._queue.popleft()
        if not self._queue:
            self._ready.clear()
        return event


class EventBus:
    """Delivers events to the listeners of one visord, on its event loop."""

    def __init__(self, now_ns: Callable[[], int] = time.time_ns) -> None:
        self._now_ns = now_ns
        self._numbers = itertools.count(1)
        self._listeners: set[Listener] = set()

    def publish(self, kind: str, data: dict[str, Any]) -> None:
        """Hand an event to every listener that wants its kind."""
        event = Event(next(self._numbers), self._now_ns(), kind, data)
        for listener in self._listeners:
            listener.offer(event)

    @contextmanager
    def listen(self, *kinds: str, length: int = QUEUE_LENGTH) -> Iterator[Listener]:
        """Listen to events whose kind begins with one of `kinds` (all when none is given)."""
        listener = Listener(kinds, length)
        self._listeners.add(listener)
        try:
            yield listener
        finally:
            self._listeners.discard(listener)
