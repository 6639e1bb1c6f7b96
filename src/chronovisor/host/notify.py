"""Tells systemd how visord is doing: sd_notify(3), without the library.

Does nothing where systemd is not the parent (`NOTIFY_SOCKET` is not set).
"""

import asyncio
import contextlib
import os
import socket


def notify(message: str) -> None:
    """Send a state such as `READY=1` or `WATCHDOG=1` to the service manager, if there is one."""
    address = os.environ.get("NOTIFY_SOCKET")
    if not address:
        return
    if address.startswith("@"):  # an abstract socket, written so by systemd
        address = "\0" + address[1:]
    channel = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)
    # A manager that is gone must keep visord neither from starting nor from stopping.
    with channel, contextlib.suppress(OSError):
        channel.sendto(message.encode(), address)


def watchdog_interval_s() -> float | None:
    """Return how often the watchdog wants to hear from us: half of WATCHDOG_USEC.

    None without a watchdog, also where it is meant for another process (sd_watchdog_enabled(3)).
    """
    if os.environ.get("WATCHDOG_PID", str(os.getpid())) != str(os.getpid()):
        return None
    text = os.environ.get("WATCHDOG_USEC", "")
    return int(text) / 2_000_000 if text.isdecimal() and int(text) > 0 else None


async def feed_watchdog() -> None:
    """Tell the watchdog for as long as the event loop turns; for ever, or not at all."""
    interval_s = watchdog_interval_s()
    if interval_s is None:
        await asyncio.Event().wait()
    while interval_s:
        notify("WATCHDOG=1")
        await asyncio.sleep(interval_s)
