"""The command `visord`: reads its arguments, serves the API, stops cleanly."""

import argparse
import asyncio
import contextlib
import fcntl
import grp
import logging
import os
import signal
import socket
import stat
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import IO

import structlog
import uvicorn

from chronovisor import __version__
from chronovisor.clock.engine import Engine
from chronovisor.errors import ChronovisorError, Conflict, InvalidInput, Unavailable
from chronovisor.host import notify
from chronovisor.host.api.app import create
from chronovisor.host.api.peer import Access, PeerProtocol
from chronovisor.host.directories import Directories
from chronovisor.host.visord import Visord

log = structlog.get_logger()

GRACE_S = 1
"""How long open requests (event streams above all) may go on when visord is told to stop."""

SWITCH_S = 0.000_5
"""How long a thread that computes keeps the others waiting (sys.setswitchinterval).

A thread gives way at each system call, and waits so long to go on. Of Python's 5 ms, one that
writes 6,000 files beside a busy event loop would wait a minute in all.
"""

PROBE_S = 1.0
"""How long the program at our socket, if there is one, has to take a connection."""


def parser() -> argparse.ArgumentParser:
    """Return visord's command line."""
    defaults = Directories()
    words = argparse.ArgumentParser(
        prog="visord", description="Look after a Chronovisor host and serve its API."
    )
    words.add_argument("--version", action="version", version=f"visord {__version__}")
    for name, default, what in (
        ("etc", defaults.etc, "what a person writes (trx.conf)"),
        ("var", defaults.var, "what must survive a reboot (the Config Store)"),
        ("run", defaults.run, "what need not (socket, worlds)"),
    ):
        text = f"directory for {what}; default {default}"
        words.add_argument(f"--{name}", type=Path, default=default, metavar="DIR", help=text)
    words.add_argument("--group", help="group whose members may change settings, besides root")
    words.add_argument(
        "--others",
        choices=("read", "none"),
        default="read",
        help="what all other users may do; default read",
    )
    words.add_argument("--log-file", type=Path, metavar="FILE", help="log there, not to stderr")
    words.add_argument("--log-level", choices=("debug", "info", "warning", "error"), default="info")
    words.add_argument(
        "--stop-worlds",
        action="store_true",
        help="end all worlds when visord stops; by default they run on",
    )
    return words


def main() -> None:
    """Run visord with the process's own arguments."""
    arguments = parser().parse_args()
    try:
        _set_up_logging(arguments)
        sys.setswitchinterval(SWITCH_S)
        asyncio.run(_run(arguments))
    except ChronovisorError as error:
        hint = f"\n  hint: {error.hint}" if error.hint else ""
        sys.stderr.write(f"visord: {error.message}{hint}\n")
        sys.exit(1)


async def _run(arguments: argparse.Namespace) -> None:
    given = (arguments.etc, arguments.var, arguments.run)
    directories = Directories(*(path.absolute() for path in given))
    try:
        directories.create()
    except OSError as error:
        raise Unavailable(
            f"cannot create {error.filename}: {error.strerror}",
            hint="run visord as root, or name other directories with --etc, --var and --run",
        ) from error
    access = Access(_group_id(arguments.group), arguments.others == "read")
    engine = Engine(directories.run / "clock")
    with _only_one(directories), _listening(directories.socket) as listener:
        await engine.detect()
        visord = Visord(directories, engine)
        server = _Server(
            uvicorn.Config(
                create(visord, access),
                http=PeerProtocol,
                loop="asyncio",
                lifespan="off",
                ws="none",
                access_log=False,
                log_config=None,
                timeout_graceful_shutdown=GRACE_S,
            )
        )
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, server.stop)
        log.info("visord starts", version=__version__, socket=str(directories.socket))
        await visord.run(lambda: server.serve([listener]), stop_worlds=arguments.stop_worlds)
    log.info("visord has stopped", worlds="ended" if arguments.stop_worlds else "run on")


class _Server(uvicorn.Server):
    """uvicorn without its own signal handlers, which would keep ours from being called."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        notify.notify("READY=1")

    def stop(self) -> None:
        """Answer what is being asked, then end."""
        notify.notify("STOPPING=1")
        self.should_exit = True


@contextlib.contextmanager
def _only_one(directories: Directories) -> Iterator[None]:
    """Hold the run directory; a second visord there would fight the first over its worlds."""
    path = directories.run / "visord.lock"
    with path.open("a+") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise Conflict(
                f"visord already runs with {directories.run} (pid {_first_line(lock)})",
                hint="stop it, or give this one its own --etc, --var and --run",
            ) from None
        lock.truncate(0)
        lock.write(f"{os.getpid()}\n")
        lock.flush()
        yield


def _first_line(file: IO[str]) -> str:
    file.seek(0)
    return file.readline().strip() or "unknown"


@contextlib.contextmanager
def _listening(path: Path) -> Iterator[socket.socket]:
    """Serve at a Unix socket; one that a dead visord left behind is replaced."""
    _refuse_taken(path)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        path.unlink(missing_ok=True)
        listener.bind(str(path))
        path.chmod(0o666)  # the peer's credentials decide, not the file's mode
        listener.listen(128)
    except OSError as error:
        listener.close()
        raise Unavailable(f"cannot serve at {path}: {error.strerror or error}") from error
    try:
        yield listener
    finally:
        listener.close()
        path.unlink(missing_ok=True)


def _refuse_taken(path: Path) -> None:
    """Raise unless nothing is at `path`, or a socket that nobody serves any more."""
    try:
        if not stat.S_ISSOCK(path.lstat().st_mode):
            raise Unavailable(f"cannot serve at {path}: it is not a socket", hint="move it away")
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
            probe.settimeout(PROBE_S)  # a program that accepts nothing lets connect(2) wait
            probe.connect(str(path))
    except (FileNotFoundError, ConnectionRefusedError):
        return
    except OSError:  # whatever it is that we cannot talk to, somebody has it
        pass
    raise Conflict(
        f"socket {path} is already in use by another program",
        hint="stop it, or give this visord its own --run",
    )


def _group_id(name: str | None) -> int | None:
    if name is None:
        return None
    try:
        return grp.getgrnam(name).gr_gid
    except KeyError:
        raise InvalidInput(
            f"there is no group {name!r}", hint=f"create it with `groupadd --system {name}`"
        ) from None


def _set_up_logging(arguments: argparse.Namespace) -> None:
    """Log to stderr or a file: a line an event, a traceback below it where there is one."""
    try:
        file = arguments.log_file.open("a") if arguments.log_file else sys.stderr
    except OSError as error:
        raise Unavailable(f"cannot write {arguments.log_file}: {error.strerror}") from error
    level = getattr(logging, arguments.log_level.upper())
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.dev.ConsoleRenderer(
                colors=False, pad_event_to=0, exception_formatter=structlog.dev.plain_traceback
            ),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.WriteLoggerFactory(file),
    )
    logging.basicConfig(stream=file, level=logging.WARNING, force=True)  # uvicorn's own


if __name__ == "__main__":
    main()
