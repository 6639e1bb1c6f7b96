"""The part of `bench.clock_fallback` that runs in the guest; it prints its figures as one line."""

import contextlib
import json
import tempfile
from pathlib import Path

from hwsim import truth
from hwsim.devices import new_namespace, simulated
from hwsim.fallback import NICS, Fallback, fallback_site, lose_and_return
from hwsim.record import Recorder

STAMPS = "hardware"
MARK = "figures: "


def _measured() -> Fallback:
    with contextlib.ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="b")))
        ports = stack.enter_context(simulated(*NICS))
        spaces = [stack.enter_context(new_namespace(f"bench{number}")) for number in range(3)]
        site = stack.enter_context(fallback_site(ports, spaces, directory, STAMPS))
        recorder = Recorder(directory)
        with recorder.running(site.master.clock, -truth.UTC_OFFSET_NS):
            return lose_and_return(site, recorder, STAMPS)


def main() -> None:
    """Measure in the guest and print the figures as one line."""
    print(MARK + json.dumps(_measured()), flush=True)


if __name__ == "__main__":
    main()
