"""The watch over a ptp4l that never answers: what it does on its own."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

from chronovisor.clock.engine import Engine
from chronovisor.clock.memory import MemoryFile
from chronovisor.clock.observe import Observer
from chronovisor.clock.ptp import PortState
from chronovisor.clock.settings import PtpConfig, PtpPort, SystemTime
from chronovisor.clock.state import Verdict
from chronovisor.clock.watch import Watch
from chronovisor.worlds import Supervisor, World

DEADLINE_S = 30.0
SETTINGS = SystemTime(
    enabled=True, ptp_config=PtpConfig(port=(PtpPort(index=0, device="no-such-dev"),))
)


class NoWorlds(Supervisor):
    """A supervisor without worlds, which nobody enters."""

    def worlds(self) -> list[World]:
        return []

    def subscribe(self, callback: Callable[[World], None]) -> Callable[[], None]:
        del callback
        return lambda: None


def watch_in(base: Path, replan: Callable[[], None] = lambda: None) -> Watch:
    def ignore(kind: str, data: dict[str, Any]) -> None:
        del kind, data

    def no_ntp() -> Verdict:
        raise AssertionError("the protocol is PTP")

    memory = MemoryFile(base / "memory.json")
    return Watch(
        NoWorlds(base / "worlds"),
        Engine(base / "clock"),
        memory,
        ignore,
        judge_other=no_ntp,
        replan=replan,
    )


@contextlib.asynccontextmanager
async def running(watch: Watch) -> AsyncIterator[None]:
    task = asyncio.create_task(watch.run())
    try:
        yield
    finally:
        task.cancel()
        await asyncio.wait([task])


async def until(holds: Callable[[], bool]) -> None:
    deadline_s = asyncio.get_running_loop().time() + DEADLINE_S
    while not holds():
        assert asyncio.get_running_loop().time() < deadline_s, "did not happen in time"
        await asyncio.sleep(0.01)


def asked(watch: Watch, observer: Observer | None) -> bool:
    """Say whether another observer than this one has asked ptp4l, in vain."""
    now = watch.observer
    return now is not None and now is not observer and "asked yet" not in now.seen.silence


async def test_a_watch_that_is_run_again_follows_again(tmp_path: Path) -> None:
    """As visord does with a part that broke; nobody gives it the settings a second time."""
    watch = watch_in(tmp_path)
    watch.follow(SETTINGS)
    async with running(watch):
        await until(lambda: asked(watch, None))
        first = watch.observer
    async with running(watch):
        await until(lambda: asked(watch, first))
        assert set(watch.announcers) == {"no-such-dev"}


async def test_a_watch_forgets_whom_it_need_not_follow(tmp_path: Path) -> None:
    watch = watch_in(tmp_path)
    watch.follow(SETTINGS)
    async with running(watch):
        await until(lambda: asked(watch, None))
        watch.follow(SystemTime())
        await until(lambda: watch.observer is None and watch.verdict.state == "freerunning")
        assert watch.announcers == {}


async def test_a_port_that_comes_to_follow_or_ceases_to_is_told_once(tmp_path: Path) -> None:
    told: list[bool] = []
    watch = watch_in(tmp_path, lambda: told.append(watch.calibrated))
    watch.follow(SETTINGS)
    async with running(watch):
        await until(lambda: asked(watch, None))
    observer = watch.observer
    assert observer is not None
    for state in (PortState.UNCALIBRATED, PortState.SLAVE, PortState.SLAVE, PortState.LISTENING):
        observer.seen.take_port(1, state)
        watch.judge()
    assert told == [True, False]
    observer.seen.take_port(1, PortState.SLAVE)
    watch.judge()
    assert told == [True, False, True]
