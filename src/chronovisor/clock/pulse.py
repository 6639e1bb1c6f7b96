"""When to judge: at news, and regularly without any, for silence is evidence too."""

import asyncio
import contextlib
from collections.abc import Callable
from typing import NoReturn


async def pulse(news: asyncio.Event, interval_s: float, judge: Callable[[], None]) -> NoReturn:
    """Call `judge` whenever `news` is set, and after each `interval_s` in which it is not."""
    while True:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(interval_s):
                await news.wait()
        news.clear()
        judge()
