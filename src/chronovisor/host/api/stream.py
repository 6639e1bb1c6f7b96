"""Server-sent events (WHATWG HTML standard, section 9.2) out of the event bus."""

import json
from collections.abc import AsyncIterator

from fastapi.responses import StreamingResponse

from chronovisor.host.events import Event, EventBus

KEEP_ALIVE_S = 15.0
"""How often a silent stream sends a comment, so that a dead client is noticed."""


def respond(bus: EventBus, kinds: tuple[str, ...]) -> StreamingResponse:
    """Return a response that streams the events of these kinds until the client goes."""
    return StreamingResponse(_lines(bus, kinds), media_type="text/event-stream")


async def _lines(bus: EventBus, kinds: tuple[str, ...]) -> AsyncIterator[str]:
    with bus.listen(*kinds) as listener:
        yield "event: hello\ndata: {}\n\n"
        while True:
            event = await listener.next(KEEP_ALIVE_S)
            yield render(event) if event else ": still here\n\n"
            if listener.lost:
                lost, listener.lost = listener.lost, 0
                yield f'event: lost\ndata: {{"events": {lost}}}\n\n'


def render(event: Event) -> str:
    """Return an event as its lines on the wire."""
    data = json.dumps({"at_ns": event.at_ns, **event.data})
    return f"id: {event.number}\nevent: {event.kind}\ndata: {data}\n\n"
