"""What a daemon of the clock does, told from its world."""

from enum import StrEnum

from chronovisor.worlds import State, World

HOPELESS_FAILURES = 3
"""Starts in a row that ended at once before the clock is called faulty; attempts go on."""


class Daemon(StrEnum):
    """What a daemon does."""

    RUNNING = "running"
    WAITING = "waiting"  # starting, or between two attempts
    FAILED = "failed"


def daemon(world: World | None) -> Daemon:
    """Return what the daemon of a world does; None is one that was never started."""
    if world is None or world.state in (State.STARTING, State.STOPPED):
        return Daemon.WAITING
    if world.state is State.BACKOFF:
        return Daemon.FAILED if world.quick_failures >= HOPELESS_FAILURES else Daemon.WAITING
    return Daemon.FAILED if world.state is State.FAILED else Daemon.RUNNING


def daemon_reason(name: str, world: World | None) -> str:
    """Return that in words, with the last that the daemon said."""
    if world is None:
        return f"{name} has not been started yet"
    last = f": {world.last_lines[-1]}" if world.last_lines else ""
    return f"{name} is {world.state}: {world.reason}{last}"
