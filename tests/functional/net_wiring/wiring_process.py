"""A process that keeps a host's taps wired, driven by JSON lines on stdin.

{"want": {key: value, …}, "complete": true} → {"states": …} when it was done; what is published
is written as {"event": name, "data": …, "at_ns": CLOCK_MONOTONIC}.
{"drift": true} → {"drift": […]}.
"""

import asyncio
import json
import sys
import time
from dataclasses import asdict
from typing import Any

from chronovisor.net.intent import Intent, changed, problems
from chronovisor.net.wiring import Wiring, drift


def say(**data: Any) -> None:
    sys.stdout.write(json.dumps(data) + "\n")
    sys.stdout.flush()


async def main() -> None:
    wiring = Wiring(lambda name, data: say(event=name, data=data, at_ns=time.monotonic_ns()))
    intent = Intent()
    loop = asyncio.get_running_loop()
    reader = asyncio.StreamReader(limit=1 << 26)
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    async with asyncio.TaskGroup() as tasks:
        running = tasks.create_task(wiring.run())
        while line := await reader.readline():
            command = json.loads(line)
            if "drift" in command:
                found = await asyncio.to_thread(drift, intent)
                say(drift=[f"{one} ({one.reason})" for one in found.actions])
                continue
            began = time.perf_counter()
            intent = changed(intent, command["want"])
            wiring.want(intent, complete=command.get("complete", True))
            await wiring.settled()
            states = {name: asdict(state) for name, state in wiring.states.items()}
            say(
                states=states,
                problems=[str(one) for one in problems(intent)],
                took_ms=(time.perf_counter() - began) * 1000,
            )
        running.cancel()


asyncio.run(main())
