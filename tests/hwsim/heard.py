"""What a visord of the guest tells, by its own stamps: waiting costs it nothing, unlike asking."""

import contextlib
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from chronovisor.cli.client import Client
from chronovisor.errors import ChronovisorError

KINDS = "clock.state,clock.owner,clock.ntp,clock.action,clock.problem,world.state"
_AGAIN_S = 0.3


@dataclass(frozen=True, slots=True)
class Event:
    """One event with visord's stamp, Unix time."""

    at_ns: int
    kind: str
    data: dict[str, Any]

    def __str__(self) -> str:
        """Return it in the words that tell it from others of its kind."""
        words = ("name", "action", "state", "owner", "phase", "available", "problem", "reason")
        return (
            f"{self.kind} {', '.join(str(self.data[word]) for word in words if word in self.data)}"
        )


class Heard:
    """All events so far, over kills and restarts; what is told while none listens is missed.

    `upon` is called with each event as it arrives.
    """

    def __init__(self, socket: Path) -> None:
        self._client = Client(socket)
        self._ended = False
        self._news = threading.Condition()
        self._events: list[Event] = []
        self.upon: Callable[[Event], None] = lambda _: None

    @property
    def events(self) -> list[Event]:
        """Return what has been heard."""
        with self._news:
            return list(self._events)

    def since(self, at_ns: int) -> list[Event]:
        """Return what visord has told since then."""
        return [event for event in self.events if event.at_ns >= at_ns]

    def until(self, kind: str, at_ns: int, deadline_s: float, **wanted: object) -> Event:
        """Return the first event since then whose data are so; wait for it."""

        def found() -> Event | None:
            for event in self._events:
                alike = event.kind == kind and event.at_ns >= at_ns
                if alike and all(event.data[key] == value for key, value in wanted.items()):
                    return event
            return None

        with self._news:
            event = self._news.wait_for(found, deadline_s)
        assert event, f"not in time: {kind} {wanted}; heard since: {self._told(at_ns)}"
        return event

    def _told(self, at_ns: int) -> str:
        return "; ".join(f"{(one.at_ns - at_ns) / 1e9:.1f} s {one}" for one in self.since(at_ns))

    def listen(self) -> None:
        """Listen until `close`."""
        while not self._ended:
            with contextlib.suppress(ChronovisorError, OSError):
                for kind, data in self._client.stream("/v1/events", kind=KINDS):
                    if "at_ns" in data:
                        self._take(Event(data.pop("at_ns"), kind, data))
            time.sleep(_AGAIN_S)

    def _take(self, event: Event) -> None:
        with self._news:
            self._events.append(event)
            self._news.notify_all()
        self.upon(event)

    def close(self) -> None:
        """Listen to no other visord when this one has ended."""
        self._ended = True


@contextlib.contextmanager
def heard_on(socket: Path) -> Iterator[Heard]:
    """Listen while the context lasts, to be left after visord has ended."""
    heard = Heard(socket)
    thread = threading.Thread(target=heard.listen, daemon=True)
    thread.start()
    try:
        yield heard
    finally:
        heard.close()
        thread.join()
