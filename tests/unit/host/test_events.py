import json

from chronovisor.host.api.stream import render
from chronovisor.host.events import Event, EventBus

AT_NS = 1_700_000_000_000_000_000


def bus() -> EventBus:
    return EventBus(now_ns=lambda: AT_NS)


async def test_events_come_in_order_to_all_who_want_them() -> None:
    events = bus()
    with events.listen("clock.", "world.") as some, events.listen() as every:
        for kind in ("clock.state", "config.commit", "world.state"):
            events.publish(kind, {"of": kind})
        found = [await some.next(0), await some.next(0)]
        assert found == [
            Event(1, AT_NS, "clock.state", {"of": "clock.state"}),
            Event(3, AT_NS, "world.state", {"of": "world.state"}),
        ]
        assert [(await every.next(0)).number for _ in range(3)] == [1, 2, 3]  # type: ignore[union-attr]  # all three are there
        assert await every.next(0.001) is None


async def test_a_slow_listener_loses_the_oldest_and_knows_how_many() -> None:
    events = bus()
    with events.listen(length=3) as slow, events.listen(length=10) as other:
        for number in range(8):
            events.publish("clock.sample", {"number": number})
        assert slow.lost == 5
        found = [await slow.next(0) for _ in range(3)]
        assert [event.data["number"] for event in found if event] == [5, 6, 7]
        assert await slow.next(0.001) is None
        assert other.lost == 0


async def test_who_listens_no_more_gets_no_more() -> None:
    events = bus()
    with events.listen() as listener:
        pass
    events.publish("x", {})
    assert await listener.next(0.001) is None


def test_an_event_on_the_wire() -> None:
    lines = render(Event(7, AT_NS, "clock.state", {"state": "locked", "reason": "a\nb"})).split(
        "\n"
    )
    assert lines[:2] == ["id: 7", "event: clock.state"]
    assert json.loads(lines[2].removeprefix("data: ")) == {
        "at_ns": AT_NS,
        "state": "locked",
        "reason": "a\nb",
    }
    assert lines[3:] == ["", ""], "a line break in a value must not end the event"
