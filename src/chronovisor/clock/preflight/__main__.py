"""A preflight as a process: progress and outcome as JSON, a line each, on standard output.

Lines are `{"step": …, "done": …, "of": …}`, and in the end `{"report": …}` or `{"error": …}`, which
is a problem document's material. A reader that goes away ends it, and the NIC is put back.
"""

import argparse
import dataclasses
import json
import signal
import sys
from pathlib import Path
from typing import Any

from chronovisor.clock.devices.listing import DeviceList, load, shipped
from chronovisor.clock.preflight.run import preflight
from chronovisor.errors import ChronovisorError, InvalidInput


def main() -> int:
    """Run one preflight with the process's own arguments; return the exit code."""
    words = argparse.ArgumentParser(prog="preflight")
    words.add_argument("device")
    words.add_argument("--list", type=Path, required=True)
    words.add_argument("--records", type=Path, required=True)
    words.add_argument("--count", type=int, default=100)
    words.add_argument("--listen", type=float, default=5.0)
    words.add_argument("--force", action="store_true")
    given = words.parse_args()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: sys.exit(1))  # unwinds, and so puts the NIC back
    try:
        found = preflight(
            given.device,
            _listed(given.list),
            given.records,
            lambda step, done, of: _say({"step": step, "done": done, "of": of}),
            count=given.count,
            listen_s=given.listen,
            force=given.force,
        )
    except ChronovisorError as error:
        kind = type(error).__name__
        _say({"error": {"kind": kind, "message": error.message, "hint": error.hint}})
        return 1
    except BrokenPipeError:  # visord has gone
        return 1
    _say({"report": dataclasses.asdict(found)})
    return 0


def _listed(path: Path) -> DeviceList:
    try:
        return load(path)
    except InvalidInput:  # visord's health says so; the shipped list holds
        return shipped()


def _say(line: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps(line) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
