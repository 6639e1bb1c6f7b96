"""Tells systemd how visord is doing: sd_notify(3), without the library.

Does nothing where systemd is not the parent (`NOTIFY_SOCKET` is not set).
"""

import os
import socket


def notify(message: str) -> None:
    """Send a state such as `READY=1` or `WATCHDOG=1` to the service manager, if there is one."""
    address = os.environ.get("NOTIFY_SOCKET")
    if not address:
        return
    if address.startswith("@"):  # an abstract socket, written so by systemd
        address = "\0" + address[1:]
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as channel:
        channel.sendto(message.encode(), address)


def watchdog_interval_s() -> float | None:
    """Return how often the watchdog wants to hear from us: half of WATCHDOG_USEC."""
    text = os.environ.get("WATCHDOG_USEC", "")
    return int(text) / 2_000_000 if text.isdecimal() and int(text) > 0 else None
