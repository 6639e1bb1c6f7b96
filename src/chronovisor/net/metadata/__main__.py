"""The metadata proxy as a program: `python -m chronovisor.net.metadata [--uid N] DIRECTORY`."""

import argparse
import asyncio
import signal
import sys
from pathlib import Path

from chronovisor.net.metadata.proxy import Proxy


def main() -> None:
    """Serve the guests that the files of a directory name, until SIGTERM."""
    words = argparse.ArgumentParser(prog="python -m chronovisor.net.metadata", description=__doc__)
    words.add_argument("--uid", type=int, metavar="N", help="user and group to become")
    words.add_argument("directory", type=Path, help="service.json, ports/<id>.json, status.sock")
    arguments = words.parse_args()
    try:
        asyncio.run(_run(arguments.directory, arguments.uid))
    except OSError as error:
        sys.stderr.write(f"cannot serve {arguments.directory}: {error}\n")
        sys.exit(1)


async def _run(directory: Path, uid: int | None) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    await Proxy(directory).run(stop, uid)


if __name__ == "__main__":
    main()
