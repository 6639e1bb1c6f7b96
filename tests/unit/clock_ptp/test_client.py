"""The client against a scripted ptp4l on a Unix socket: what may arrive, and what may not."""

import asyncio
import os
import socket
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from chronovisor.clock.ptp import Events, ManagementClient, Notification, ServerLost
from chronovisor.clock.ptp.datasets import (
    REGISTRY,
    CurrentDataSet,
    DataSet,
    DefaultDataSet,
    EnablePort,
    ParentDataSet,
    PortDataSet,
    Priority1,
    Scope,
    SubscribeEventsNp,
    TimeStatusNp,
)
from chronovisor.clock.ptp.datasets.data_set import encode
from chronovisor.clock.ptp.identity import ClockIdentity, PortIdentity
from chronovisor.clock.ptp.management import ErrorStatus, ManagementMessage
from chronovisor.clock.ptp.primitives import ClockQuality
from chronovisor.clock.ptp.vocabulary import (
    ClockAccuracy,
    DelayMechanism,
    ManagementAction,
    ManagementError,
    PortState,
)
from chronovisor.errors import InvalidInput, ToolFailed, Unavailable

CLOCK = ClockIdentity.from_text("8a30ac.fffe.a7ddaf")
QUALITY = ClockQuality(248, ClockAccuracy.UNKNOWN, 0xFFFF)
PARENT = ParentDataSet(PortIdentity(CLOCK, 0), False, 0, None, 128, QUALITY, 128, CLOCK)
TIME_STATUS = TimeStatusNp(-5, 1, 0.0, 0.0, 0, 0.0, True, CLOCK)

QUEUE = int(Path("/proc/sys/net/unix/max_dgram_qlen").read_text())


def our_sockets(directory: Path) -> list[Path]:
    return list(directory.glob("ptp-client-*.sock"))


async def until(condition: Callable[[], object]) -> None:
    """Wait for a state; the caller has the deadline."""
    while not condition():  # noqa: ASYNC110  # the state is of another party
        await asyncio.sleep(0.005)


Mangle = Callable[[ManagementMessage], list[bytes]]


def default_data_set(number_ports: int) -> DefaultDataSet:
    return DefaultDataSet(True, False, number_ports, 128, QUALITY, 128, CLOCK, 0)


def port_data_set(port: int, state: PortState = PortState.SLAVE) -> PortDataSet:
    identity = PortIdentity(CLOCK, port)
    return PortDataSet(identity, state, 0, 0.0, 1, 3, 0, DelayMechanism.E2E, 0, 2, 0)


class ScriptedServer:
    """Answers like ptp4l; `mangle` turns each right reply into what is really sent."""

    def __init__(self, path: Path, number_ports: int = 1) -> None:
        self.path = path
        self.requests: list[ManagementMessage] = []
        self.subscriber: tuple[ManagementMessage, str] | None = None
        self.errors: dict[type[DataSet], ManagementError] = {}
        self.mangle: Mangle = lambda reply: [reply.pack()]
        self.values: dict[type[DataSet], list[DataSet]] = {
            DefaultDataSet: [default_data_set(number_ports)],
            CurrentDataSet: [CurrentDataSet(1, -2.5, 1000.0)],
            ParentDataSet: [PARENT],
            TimeStatusNp: [TIME_STATUS],
            Priority1: [Priority1(128)],
            PortDataSet: [port_data_set(port) for port in range(1, number_ports + 1)],
        }
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
        self.socket.bind(os.fspath(path))
        asyncio.get_running_loop().add_reader(self.socket.fileno(), self._receive)

    def close(self) -> None:
        if self.socket.fileno() >= 0:
            asyncio.get_running_loop().remove_reader(self.socket.fileno())
            self.socket.close()
            self.path.unlink()

    def _receive(self) -> None:
        data, address = self.socket.recvfrom(2048)
        request = ManagementMessage.unpack(data)
        self.requests.append(request)
        kind = REGISTRY[request.management_id]
        if kind is SubscribeEventsNp:
            self.subscriber = request, address
        if kind in self.errors:
            error = ErrorStatus(self.errors[kind], request.management_id)
            self._reply(request, address, 0, error)
        elif request.action is not ManagementAction.GET:
            assert isinstance(request.body, bytes)
            port = request.target.port_number if kind.scope is Scope.PORT else 0
            self._reply(request, address, port, request.body)
        else:
            for port, value in enumerate(self.values[kind], 1):
                number = port if kind.scope is Scope.PORT else 0
                if request.target.port_number in (number, 0xFFFF):
                    self._reply(request, address, number, encode(value))

    def _reply(
        self, request: ManagementMessage, address: str, port: int, body: bytes | ErrorStatus
    ) -> None:
        is_command = request.action is ManagementAction.COMMAND
        reply = request._replace(
            action=ManagementAction.ACKNOWLEDGE if is_command else ManagementAction.RESPONSE,
            body=body,
            source=PortIdentity(CLOCK, port),
            target=request.source,
        )
        for data in self.mangle(reply):
            self.socket.sendto(data, address)

    def push(self, value: DataSet, port: int) -> None:
        assert self.subscriber is not None
        request, address = self.subscriber
        message = request._replace(
            action=ManagementAction.RESPONSE,
            management_id=value.management_id,
            body=encode(value),
            source=PortIdentity(CLOCK, port),
            target=request.source,
            sequence_id=0,
        )
        self.socket.sendto(message.pack(), address)


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[ScriptedServer]:
    made = ScriptedServer(tmp_path / "ptp4l", number_ports=2)
    yield made
    made.close()


@pytest.fixture
def client(tmp_path: Path) -> ManagementClient:
    return ManagementClient(tmp_path / "ptp4l", local_directory=tmp_path)


@pytest.fixture
def hasty(tmp_path: Path) -> ManagementClient:
    """A client for tests in which silence is what is expected."""
    return ManagementClient(tmp_path / "ptp4l", local_directory=tmp_path, timeout_s=0.2)


@pytest.mark.usefixtures("server")
async def test_get_and_set(client: ManagementClient) -> None:
    async with client:
        assert await client.get(CurrentDataSet) == CurrentDataSet(1, -2.5, 1000.0)
        assert await client.set(Priority1(7)) == Priority1(7)
        assert await client.get(PortDataSet, port=2) == port_data_set(2)
        await client.command(EnablePort(), port=2)
    assert client.rejected.count == 0


@pytest.mark.usefixtures("server")
async def test_all_ports_answer_for_themselves(client: ManagementClient) -> None:
    async with client:
        ports = await client.get_all_ports(PortDataSet)
    assert ports == [(PortIdentity(CLOCK, n), port_data_set(n)) for n in (1, 2)]


async def test_the_management_port_is_no_port(
    server: ScriptedServer, client: ManagementClient
) -> None:
    right = server.mangle
    server.mangle = lambda reply: [
        *([reply._replace(source=PortIdentity(CLOCK, 0)).pack()] if reply.source[1] == 1 else []),
        *right(reply),
    ]
    async with client:
        ports = await client.get_all_ports(PortDataSet)
    assert [identity.port_number for identity, _ in ports] == [1, 2]
    assert client.rejected.last_reason == "answers for port 0"


async def test_a_refusal_has_its_name(server: ScriptedServer, client: ManagementClient) -> None:
    server.errors[Priority1] = ManagementError.NOT_SUPPORTED
    async with client:
        with pytest.raises(ToolFailed, match=r"refused GET PRIORITY1: NOT_SUPPORTED"):
            await client.get(Priority1)
        with pytest.raises(ToolFailed, match=r"refused SET PRIORITY1: NOT_SUPPORTED"):
            await client.set(Priority1(1))


def _truncated(reply: ManagementMessage) -> list[bytes]:
    return [reply.pack()[:-3]]


def _short_body(reply: ManagementMessage) -> list[bytes]:
    return [reply._replace(body=b"").pack()]


def _other_sequence(reply: ManagementMessage) -> list[bytes]:
    return [reply._replace(sequence_id=reply.sequence_id ^ 0x8000).pack()]


def _other_target(reply: ManagementMessage) -> list[bytes]:
    return [reply._replace(target=PortIdentity(CLOCK, 1)).pack()]


def _other_id(reply: ManagementMessage) -> list[bytes]:
    return [reply._replace(management_id=Priority1.management_id).pack()]


def _other_action(reply: ManagementMessage) -> list[bytes]:
    return [reply._replace(action=ManagementAction.GET).pack()]


def _other_domain(reply: ManagementMessage) -> list[bytes]:
    return [reply._replace(domain_number=9).pack()]


def _other_sdo(reply: ManagementMessage) -> list[bytes]:
    return [reply._replace(sdo_id=0x100).pack()]


def _noise(_: ManagementMessage) -> list[bytes]:
    return [b"", b"\0", os.urandom(90), b"\xff" * 200]


BAD = [
    (_truncated, "truncated"),
    (_short_body, "CURRENT_DATA_SET: truncated"),
    (_other_sequence, "nobody awaits"),
    (_other_target, "meant for"),
    (_other_id, "answers 0x2005, not CURRENT_DATA_SET"),
    (_other_action, "action GET"),
    (_other_domain, "domain 9"),
    (_other_sdo, "sdoId 0x100"),
    (_noise, ""),
]


@pytest.mark.parametrize(("bad", "reason"), BAD, ids=lambda b: getattr(b, "__name__", ""))
async def test_what_is_not_a_reply_is_dropped_and_counted(
    server: ScriptedServer, hasty: ManagementClient, bad: Mangle, reason: str
) -> None:
    right = server.mangle
    async with hasty:
        server.mangle = bad
        with pytest.raises(Unavailable) as caught:
            await hasty.get(CurrentDataSet)
        assert "CURRENT_DATA_SET within 0.2 s" in caught.value.message
        assert hasty.rejected.count >= 1
        assert reason in hasty.rejected.last_reason
        assert hasty.rejected.last_reason in caught.value.message
        server.mangle = lambda reply: [*bad(reply), *right(reply)]
        assert await hasty.get(CurrentDataSet) == CurrentDataSet(1, -2.5, 1000.0)


async def test_a_reply_of_another_clock_is_dropped(
    server: ScriptedServer, hasty: ManagementClient
) -> None:
    other = ClockIdentity.from_text("000000.0000.000001")
    server.mangle = lambda reply: [
        reply._replace(source=PortIdentity(other, reply.source.port_number)).pack()
        if reply.management_id == PortDataSet.management_id
        else reply.pack()
    ]
    async with hasty:
        with pytest.raises(Unavailable, match="has not answered PORT_DATA_SET within"):
            await hasty.get_all_ports(PortDataSet)
    assert "comes from clock 000000.0000.000001" in hasty.rejected.last_reason


@pytest.mark.usefixtures("server")
async def test_nobody_else_can_send_to_us(client: ManagementClient, tmp_path: Path) -> None:
    async with client:
        await client.get(CurrentDataSet)
        (path,) = our_sockets(tmp_path)
        with (
            socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as stranger,
            pytest.raises(PermissionError),
        ):
            stranger.sendto(b"hello", os.fspath(path))


async def test_repeated_replies_are_not_taken_for_new_ones(
    server: ScriptedServer, client: ManagementClient
) -> None:
    async with client:
        for offset in (1.0, 1.0, 2.0, 1.0):
            server.values[CurrentDataSet] = [CurrentDataSet(1, offset, 0.0)]
            (_, value) = (await client.get_from(CurrentDataSet))[0]
            assert value.offset_from_master_ns == offset


async def test_no_server(client: ManagementClient, tmp_path: Path) -> None:
    async with client:
        with pytest.raises(Unavailable, match="has no management socket at") as caught:
            await client.get(CurrentDataSet)
        assert caught.value.hint
    assert not our_sockets(tmp_path)


async def test_a_restarted_server_is_found_again(client: ManagementClient, tmp_path: Path) -> None:
    server = ScriptedServer(tmp_path / "ptp4l")
    async with client:
        await client.get(CurrentDataSet)
        server.close()
        for _ in range(2):
            with pytest.raises(Unavailable):
                await client.get(CurrentDataSet)
        server = ScriptedServer(tmp_path / "ptp4l")
        assert await client.get(CurrentDataSet) == CurrentDataSet(1, -2.5, 1000.0)
        server.close()
        server = ScriptedServer(tmp_path / "ptp4l")
        assert await client.get(CurrentDataSet) == CurrentDataSet(1, -2.5, 1000.0)
        assert client.connections == 3
        server.close()


async def test_closing_ends_calls_under_way(
    server: ScriptedServer, client: ManagementClient, tmp_path: Path
) -> None:
    server.mangle = lambda _: []
    call = asyncio.create_task(client.get(CurrentDataSet))
    await until(lambda: server.requests)
    client.close()
    with pytest.raises(Unavailable, match="was closed"):
        await call
    assert not our_sockets(tmp_path)


@pytest.mark.usefixtures("server")
async def test_stale_sockets_go_and_living_ones_stay(
    client: ManagementClient, tmp_path: Path
) -> None:
    other = ManagementClient(tmp_path / "ptp4l", local_directory=tmp_path)
    async with client, other:
        await other.get(CurrentDataSet)
        (living,) = our_sockets(tmp_path)
        stale, young = (tmp_path / f"ptp-client-1-{name}.sock" for name in ("stale", "young"))
        for path in (stale, young):
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as dead:
                dead.bind(os.fspath(path))
        long_ago = time.time() - 3600
        os.utime(stale, (long_ago, long_ago))
        os.utime(living, (long_ago, long_ago))
        await client.get(CurrentDataSet)
        assert not stale.exists()
        assert young.exists()
        assert living.exists()
        await other.get(CurrentDataSet)


async def test_paths_that_cannot_be(tmp_path: Path) -> None:
    long = ManagementClient(tmp_path / ("x" * 120), local_directory=tmp_path)
    with pytest.raises(InvalidInput, match="too long"):
        await long.get(CurrentDataSet)
    nowhere = ManagementClient(tmp_path / "ptp4l", local_directory=tmp_path / "missing")
    with pytest.raises(Unavailable, match="no socket can be made in"):
        await nowhere.get(CurrentDataSet)


@pytest.mark.usefixtures("server")
async def test_more_requests_than_the_queue_holds(client: ManagementClient) -> None:
    async with client:
        calls = [client.get(Priority1) for _ in range(3 * min(QUEUE, 200) + 5)]
        assert set(await asyncio.gather(*calls)) == {Priority1(128)}


async def test_scopes_are_minded(client: ManagementClient) -> None:
    for call in (
        client.get(PortDataSet),
        client.get(CurrentDataSet, port=1),
        client.get(PortDataSet, port=0),
        client.get_all_ports(CurrentDataSet),
    ):
        with pytest.raises(InvalidInput):
            await call


async def test_subscription_polls_until_it_is_pushed_to(
    server: ScriptedServer, client: ManagementClient
) -> None:
    events = Events.PORT_STATE | Events.TIME_SYNC
    async with (
        client,
        client.subscribe(events, poll_interval_s=0.01, check_interval_s=0.1) as subscription,
        asyncio.timeout(10),
    ):
        seen = [await anext(subscription) for _ in range(3)]
        first = [e.value for e in seen if isinstance(e, Notification)]
        assert first == [port_data_set(1), port_data_set(2), TIME_STATUS]
        newer = TimeStatusNp(-6, 2, 0.0, 0.0, 0, 0.0, True, CLOCK)
        server.values[TimeStatusNp] = [newer]
        polled = await anext(subscription)
        assert isinstance(polled, Notification)
        assert polled.value == newer
        pushed = TimeStatusNp(-7, 3, 0.0, 0.0, 0, 0.0, True, CLOCK)
        server.push(pushed, 0)
        server.push(port_data_set(2, PortState.MASTER), 2)
        for value in (pushed, port_data_set(2, PortState.MASTER)):
            event = await anext(subscription)
            assert isinstance(event, Notification)
            assert event.value == value
        # Pushed once, asked for no more: the older value in the server is not looked at again.
        await client.get(CurrentDataSet)  # what was asked before it has arrived now
        server.requests.clear()
        await until(lambda: [r.action for r in server.requests].count(ManagementAction.GET) > 1)
        asked = {r.management_id for r in server.requests}
        assert TimeStatusNp.management_id not in asked


async def test_subscription_survives_the_server(client: ManagementClient, tmp_path: Path) -> None:
    server = ScriptedServer(tmp_path / "ptp4l")
    async with (
        client,
        client.subscribe(
            Events.PORT_STATE, poll_interval_s=0.01, check_interval_s=0.02
        ) as subscription,
        asyncio.timeout(10),
    ):
        assert isinstance(await anext(subscription), Notification)
        server.close()
        assert isinstance(await anext(subscription), ServerLost)
        server = ScriptedServer(tmp_path / "ptp4l")
        again = await anext(subscription)
        assert isinstance(again, Notification)
        assert again.value == port_data_set(1)
        assert server.subscriber is not None
        server.push(port_data_set(1, PortState.LISTENING), 1)
        event = await anext(subscription)
        assert isinstance(event, Notification)
        assert event.value == port_data_set(1, PortState.LISTENING)
    server.close()


async def test_what_is_pushed_while_we_ask_is_newer_than_the_answer(
    client: ManagementClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[DataSet] = []
    older, newer = (TimeStatusNp(0, n, 0.0, 0.0, 0, 0.0, True, CLOCK) for n in (1, 2))
    done = asyncio.Event()

    def deliver(event: object) -> None:
        if isinstance(event, Notification):
            told.append(event.value)

    subscription = client.subscribe(Events.TIME_SYNC, poll_interval_s=0.01, deliver=deliver)

    async def granted(_: int, value: SubscribeEventsNp) -> SubscribeEventsNp:
        return value

    async def overtaken(kind: type[DataSet]) -> list[tuple[PortIdentity, DataSet]]:
        if kind is TimeStatusNp:
            source = PortIdentity(CLOCK, 0)
            subscription.notified(
                ManagementMessage(
                    ManagementAction.RESPONSE, kind.management_id, encode(newer), source, source, 0
                )
            )
            asyncio.get_running_loop().call_later(0.05, done.set)
            return [(source, older)]
        return []

    monkeypatch.setattr(client, "subscribe_port", granted)
    monkeypatch.setattr(client, "get_from", overtaken)
    async with client, subscription, asyncio.timeout(10):
        await done.wait()
    assert set(told) == {newer}


async def test_subscription_notices_a_quick_restart(
    client: ManagementClient, tmp_path: Path
) -> None:
    """The new ptp4l is there before the subscription looks; another call has reconnected."""
    server = ScriptedServer(tmp_path / "ptp4l")
    async with (
        client,
        client.subscribe(Events.PORT_STATE, duration_s=600, check_interval_s=0.3) as subscription,
        asyncio.timeout(10),
    ):
        assert isinstance(await anext(subscription), Notification)
        asked = PortDataSet.management_id
        await until(lambda: [r.management_id for r in server.requests].count(asked) == 2)
        await client.get(CurrentDataSet)  # what was asked before it has been answered now
        server.close()
        server = ScriptedServer(tmp_path / "ptp4l")
        await client.get(CurrentDataSet)
        assert server.subscriber is None
        again = await anext(subscription)
        assert isinstance(again, Notification)
        assert again.value == port_data_set(1)
        assert server.subscriber is not None
    server.close()


async def test_subscription_ends_politely_and_ignores_nonsense(
    server: ScriptedServer, client: ManagementClient
) -> None:
    events: list[object] = []
    async with client, asyncio.timeout(10):
        async with client.subscribe(Events.PORT_STATE, deliver=events.append):
            await until(lambda: len(events) == 2)
            server.push(Priority1(1), 0)
            await until(lambda: client.rejected.count)
            assert client.rejected.last_reason == "0x2005 is no notification"
        assert server.subscriber is not None
        assert server.subscriber[0].body == encode(SubscribeEventsNp(0, Events(0)))
        server.push(port_data_set(1), 1)
        await until(lambda: client.rejected.count == 2)
    assert len(events) == 2
