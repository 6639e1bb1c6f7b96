"""Waiting for what a world does, with a deadline."""

import asyncio
import time
from collections.abc import Callable

from chronovisor.worlds import State, Supervisor, World

DEADLINE_S = 30.0


async def until(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + DEADLINE_S
    while not holds():
        assert time.monotonic() < deadline, "did not happen in time"
        await asyncio.sleep(0.01)


async def reaches(supervisor: Supervisor, name: str, state: State) -> World:
    await until(lambda: supervisor.get(name).state is state)
    return supervisor.get(name)
