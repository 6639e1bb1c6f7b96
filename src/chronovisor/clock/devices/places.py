"""Where a network device is: in our own network namespace, or in that of a container of ours.

A question is asked inside of a namespace by a thread that enters it and ends (setns(2) changes the
calling thread alone). Sockets that were opened there stay there.
"""

import ctypes
import os
import socket
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from chronovisor.errors import ToolFailed

_NEW_NET = 0x40000000  # CLONE_NEWNET, linux/sched.h
_libc = ctypes.CDLL(None, use_errno=True)
_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class Place:
    """The network namespace of a container, by the world that it is of and its pin."""

    world: str
    pin: Path

    def __str__(self) -> str:
        """Return it in words."""
        return f"container {self.world}"

    def ask(self, question: Callable[[], _T]) -> _T:
        """Return what `question` returns in there, or raise what it raises.

        Raises `ToolFailed` where the namespace cannot be entered, because it is gone, say.
        """
        found: list[_T] = []
        raised: list[BaseException] = []

        def work() -> None:
            try:
                enter(self.pin)
                found.append(question())
            except BaseException as error:  # noqa: BLE001  # raised again below, by who asked
                raised.append(error)

        thread = threading.Thread(target=work, name=f"in {self}")
        thread.start()
        thread.join()
        if raised:
            raise raised[0]
        return found[0]


def enter(pin: Path) -> None:
    """Move the calling thread into a network namespace for good. Raises `ToolFailed`."""
    try:
        descriptor = os.open(pin, os.O_RDONLY | os.O_CLOEXEC)
    except OSError as error:
        raise ToolFailed(f"cannot open {pin}: {error.strerror}") from error
    try:
        if _libc.setns(descriptor, _NEW_NET) != 0:
            reason = os.strerror(ctypes.get_errno())
            raise ToolFailed(f"cannot enter the network of {pin}: {reason}")
    finally:
        os.close(descriptor)


def _nowhere() -> Mapping[str, Path]:
    return {}


_networks: Callable[[], Mapping[str, Path]] = _nowhere


def look_into(networks: Callable[[], Mapping[str, Path]]) -> None:
    """Have this process look for devices in these namespaces, too: pins by world.

    One for the whole process: which containers are ours is a fact of the process, as its own
    network namespace is.
    """
    global _networks
    _networks = networks


def places() -> list[Place]:
    """Return the networks of all containers, by name."""
    return [Place(world, pin) for world, pin in sorted(_networks().items())]


class Channels:
    """A socket in each container's network, kept for questions that are asked often; thread-safe.

    It asks where it was made, so nobody has to enter the namespace again.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._open: dict[Place, tuple[tuple[int, int], socket.socket]] = {}

    def first(self, question: Callable[[socket.socket], _T | None]) -> _T | None:
        """Return the first answer that one of the sockets gives, None where none does."""
        with self._lock:
            there = places()
            for place in self._open.keys() - set(there):
                self._close(place)
            for place in there:
                channel = self._channel(place)
                answer = None if channel is None else question(channel)
                if answer is not None:
                    return answer
            return None

    def _channel(self, place: Place) -> socket.socket | None:
        """Return the socket of a network as it is now, None where it has just ended."""
        try:
            found = place.pin.stat()
            identity = found.st_dev, found.st_ino
            known = self._open.get(place)
            if known is None or known[0] != identity:
                self._close(place)
                self._open[place] = known = identity, place.ask(_channel)
        except (OSError, ToolFailed):
            self._close(place)
            return None
        return known[1]

    def _close(self, place: Place) -> None:
        known = self._open.pop(place, None)
        if known is not None:
            known[1].close()


def _channel() -> socket.socket:
    return socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)


CHANNELS = Channels()
"""Those of this process."""


def anywhere(question: Callable[[], _T | None]) -> tuple[_T | None, Place | None]:
    """Return the first answer, of our own network or a container's, and where it was given.

    Nothing and None where nobody has one.
    """
    answer = question()
    if answer is not None:
        return answer, None
    for place in places():
        try:
            answer = place.ask(question)
        except ToolFailed:  # its container has just ended
            continue
        if answer is not None:
            return answer, place
    return None, None
