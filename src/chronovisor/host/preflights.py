"""Preflights of this host's NICs: one process each, progress as events, the last outcome kept.

The process is not visord's own time's business: what it measures must not wait for our event loop.
Events of the kind `clock.preflight` have `device` and either `step`, `done` and `of`, or in the end
`report` or `error`.
"""

import asyncio
import contextlib
import json
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from chronovisor.clock.preflight import hwtstamp
from chronovisor.errors import ChronovisorError, Conflict, NotFound, Unavailable

COUNT_MAX, LISTEN_MAX_S = 10_000, 300.0
_LONGEST_LINE = 1 << 20
_ENDS_S = 5.0
EVENT = "clock.preflight"

Publish = Callable[[str, dict[str, Any]], None]


@dataclass(frozen=True, slots=True)
class Orders:
    """How a preflight is run: messages to send, seconds to listen, in spite of what is in use."""

    count: int = 100
    listen_s: float = 5.0
    force: bool = False


class Preflights:
    """Runs preflights. Belongs to the event loop; `outcomes` are the last reports by device."""

    def __init__(self, device_list: Path, directory: Path, publish: Publish) -> None:
        self._device_list = device_list
        self._records = directory
        self._publish = publish
        self._running: dict[str, asyncio.Task[None]] = {}
        self.outcomes: dict[str, dict[str, Any]] = {}

    def put_back(self, busy: set[str]) -> list[str]:
        """Mend the NICs whose preflight was killed; those in `busy` are ptp4l's by now."""
        return hwtstamp.put_back(self._records, busy=busy)

    def start(self, device: str, orders: Orders) -> None:
        """Begin a preflight. Raises `Conflict` while one runs on the device."""
        if device in self._running:
            raise Conflict(f"{device}: a preflight runs already", hint="wait for its end")
        task = asyncio.get_running_loop().create_task(self._run(device, orders))
        self._running[device] = task
        task.add_done_callback(lambda _: self._running.pop(device, None))

    def outcome(self, device: str) -> dict[str, Any]:
        """Return the last report of a device. Raises `NotFound`."""
        if device not in self.outcomes:
            hint = f"run `visorctl clock preflight {device}`"
            raise NotFound(f"{device}: no preflight has been run since visord started", hint=hint)
        return self.outcomes[device]

    async def stop(self) -> None:
        """End what runs; each puts its NIC back."""
        tasks = list(self._running.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _run(self, device: str, orders: Orders) -> None:
        last: dict[str, Any] = {}
        try:
            async for line in self._lines(device, orders):
                last = line
                if "step" in line:
                    self._publish(EVENT, {"device": device, **line})
        except (ChronovisorError, OSError, ValueError) as error:
            last = {"error": {"kind": "Unavailable", "message": str(error), "hint": None}}
        if "report" in last:
            self.outcomes[device] = last["report"]
        elif "error" not in last:
            text = f"{device}: the preflight ended without a word"
            last = {"error": {"kind": "ToolFailed", "message": text, "hint": "see visord's log"}}
        self._publish(EVENT, {"device": device, **last})

    async def _lines(self, device: str, orders: Orders) -> Any:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "chronovisor.clock.preflight"),
            *("--list", str(self._device_list), "--records", str(self._records)),
            *("--count", str(orders.count), "--listen", str(orders.listen_s)),
            *(("--force",) if orders.force else ()),
            *("--", device),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            limit=_LONGEST_LINE,
        )
        assert process.stdout is not None
        try:
            while raw := await process.stdout.readline():
                line = json.loads(raw)
                if not isinstance(line, dict):
                    raise Unavailable(f"{device}: the preflight said something else")
                yield line
        finally:
            with contextlib.suppress(ProcessLookupError):
                process.terminate()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(process.wait(), _ENDS_S)
