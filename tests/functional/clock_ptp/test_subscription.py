"""Being told by a real ptp4l: time sync and port states, renewal, restarts, slow readers."""

import asyncio
import os
import signal
import socket
from collections.abc import AsyncIterator
from typing import Any

import pytest

from chronovisor.clock.ptp import (
    Events,
    ManagementClient,
    Notification,
    PortState,
    ServerLost,
    Subscription,
)
from chronovisor.clock.ptp.datasets import (
    DataSet,
    DefaultDataSet,
    ParentDataSet,
    PortDataSet,
    TimeStatusNp,
)
from chronovisor.clock.ptp.identity import ALL_CLOCKS, ALL_PORTS, ClockIdentity, PortIdentity
from chronovisor.clock.ptp.management import ManagementMessage
from chronovisor.clock.ptp.vocabulary import ManagementAction
from chronovisor.errors import Unavailable

ALL = Events.PORT_STATE | Events.TIME_SYNC | Events.PARENT_DATA_SET
DEADLINE_S = 30


@pytest.fixture
async def client(site: Any) -> AsyncIterator[ManagementClient]:
    made = ManagementClient(site.socket("slave"), local_directory=site.directory)
    async with made:
        yield made
    assert made.rejected.count == 0, made.rejected


async def value_like(subscription: Subscription, wanted: Any) -> DataSet:
    """Return the first value from now on for which `wanted` holds."""
    async for event in subscription:
        if isinstance(event, Notification) and wanted(event.value):
            return event.value
    raise AssertionError("the subscription has ended")


def in_state(*states: PortState) -> Any:
    return lambda value: isinstance(value, PortDataSet) and value.port_state in states


async def test_time_sync_parent_and_port_state(site: Any, client: ManagementClient) -> None:
    site.start("master", "m1", priority1="100")
    site.start("slave", "s1", slaveOnly="1")
    async with (
        asyncio.timeout(DEADLINE_S),
        client.subscribe(ALL, poll_interval_s=0.02, check_interval_s=0.1) as subscription,
    ):
        await value_like(subscription, in_state(PortState.UNCALIBRATED, PortState.SLAVE))
        seen: set[int] = set()
        while len(seen) < 5:
            status = await value_like(subscription, lambda v: isinstance(v, TimeStatusNp))
            assert isinstance(status, TimeStatusNp)
            assert status.ingress_time_ns not in seen, "each sync is told once"
            seen.add(status.ingress_time_ns)
        site.stop("master")
        await value_like(subscription, in_state(PortState.LISTENING))
        site.start("master", "m1", priority1="50")
        await value_like(
            subscription,
            lambda v: isinstance(v, ParentDataSet) and v.grandmaster_priority1 == 50,
        )


async def test_port_states_are_pushed_not_only_read(site: Any, client: ManagementClient) -> None:
    """A port passes through states in less time than the next check would take to look."""
    site.start("master", "m1", priority1="100")
    site.start("slave", "s1", slaveOnly="1")
    states = []
    async with (
        asyncio.timeout(DEADLINE_S),
        client.subscribe(Events.PORT_STATE, duration_s=600, check_interval_s=300) as subscription,
    ):
        await value_like(subscription, in_state(PortState.UNCALIBRATED, PortState.SLAVE))
        site.stop("master")
        states.append(await value_like(subscription, in_state(PortState.LISTENING)))
        site.start("master", "m1", priority1="100")
        states.append(await value_like(subscription, in_state(PortState.UNCALIBRATED)))
    assert len(states) == 2


async def test_a_subscription_is_renewed(site: Any, client: ManagementClient) -> None:
    site.start("slave", "s1", slaveOnly="1")
    loop = asyncio.get_running_loop()
    begun = loop.time()
    async with (
        asyncio.timeout(DEADLINE_S),
        client.subscribe(Events.PORT_STATE, duration_s=2) as subscription,
    ):
        await value_like(subscription, in_state(PortState.LISTENING))
        await _until_renewed(subscription, 4)
        assert loop.time() - begun > 2, "the first grant is over by now"
        granted = await subscription.granted()
        assert granted.events == Events.PORT_STATE
        assert granted.duration_s >= 1


async def _until_renewed(subscription: Subscription, times: int) -> None:
    while subscription.renewals < times:  # noqa: ASYNC110  # nothing else tells
        await asyncio.sleep(0.05)


async def test_a_subscription_ends_with_its_reader(site: Any, client: ManagementClient) -> None:
    site.start("slave", "s1", slaveOnly="1")
    async with asyncio.timeout(DEADLINE_S):
        async with client.subscribe(Events.PORT_STATE) as subscription:
            await value_like(subscription, in_state(PortState.LISTENING))
            assert (await subscription.granted()).duration_s > 0
        left = await client.subscription_of(subscription.port)
        assert (left.duration_s, left.events) == (0, Events(0))


async def test_ptp4l_restarted_under_a_subscription(site: Any, client: ManagementClient) -> None:
    site.start("slave", "s1", slaveOnly="1")
    async with (
        asyncio.timeout(DEADLINE_S),
        client.subscribe(ALL, poll_interval_s=0.05) as subscription,
    ):
        await value_like(subscription, in_state(PortState.LISTENING))
        site.stop("slave", signal.SIGKILL)
        while not isinstance(await anext(subscription), ServerLost):
            pass
        with pytest.raises(Unavailable):
            await client.get(DefaultDataSet)
        site.start("slave", "s1", slaveOnly="1", domainNumber="0")
        site.start("master", "m1", priority1="100")
        await value_like(subscription, in_state(PortState.UNCALIBRATED, PortState.SLAVE))
        assert (await subscription.granted()).events == ALL
        assert (await client.get(DefaultDataSet)).slave_only


async def test_a_frozen_ptp4l_is_noticed(site: Any, client: ManagementClient) -> None:
    process = site.start("slave", "s1", slaveOnly="1")
    async with (
        asyncio.timeout(DEADLINE_S),
        client.subscribe(Events.PORT_STATE, check_interval_s=0.1) as subscription,
    ):
        await value_like(subscription, in_state(PortState.LISTENING))
        process.send_signal(signal.SIGSTOP)
        try:
            lost = await anext(subscription)
            assert isinstance(lost, ServerLost)
            assert "has not answered" in lost.reason
        finally:
            process.send_signal(signal.SIGCONT)
        await value_like(subscription, in_state(PortState.LISTENING))
    # What was asked of it meanwhile is answered late, to nobody.
    client.rejected.count = 0


async def test_a_reader_that_sleeps_does_not_hold_ptp4l_up(
    site: Any, client: ManagementClient
) -> None:
    """More replies than the queue of an unconnected socket holds, and nobody reads them."""
    site.start("slave", "s1", slaveOnly="1")
    ours = PortIdentity(ClockIdentity(os.urandom(8)), 1)
    request = ManagementMessage(
        ManagementAction.GET,
        DefaultDataSet.management_id,
        b"",
        ours,
        PortIdentity(ALL_CLOCKS, ALL_PORTS),
        1,
    ).pack()
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sleeper:
        sleeper.bind(str(site.directory / "sleeper.sock"))
        sleeper.connect(str(site.socket("slave")))
        sleeper.settimeout(10)
        for _ in range(60):
            await asyncio.to_thread(sleeper.send, request)
        async with asyncio.timeout(DEADLINE_S):
            assert (await client.get(DefaultDataSet)).slave_only
