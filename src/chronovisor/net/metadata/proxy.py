"""The metadata proxy of a host: files in, answers out. Runs until it is told to stop."""

import asyncio
import contextlib
import json
import os
import socket
import sys
from dataclasses import asdict
from pathlib import Path

from chronovisor.errors import ProtocolError
from chronovisor.net.metadata import links, privileges, replies
from chronovisor.net.metadata.connection import Connection
from chronovisor.net.metadata.listeners import Tap
from chronovisor.net.metadata.nova import NovaClient
from chronovisor.net.metadata.replies import Reply, Request, refusal
from chronovisor.net.metadata.state import PORTS, SERVICE_FILE, STATUS_SOCKET, Guest, Service
from chronovisor.net.metadata.watch import Watch

MOST_ASKED_BY_ONE = 4
"""Requests of one tap that wait for Nova at once."""

_RETRY_S = 2.0


class Proxy:
    """Serves the guests that the files of `directory` name. `run` needs an event loop."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._ports = directory / PORTS
        self._service: Service | None = None
        self._nova: NovaClient | None = None
        self._guests: dict[str, Guest] = {}
        self._by_device: dict[str, Guest] = {}
        self._taps: dict[str, Tap] = {}
        self._by_index: dict[int, str] = {}
        self._asked: set[asyncio.Task[None]] = set()

    async def run(self, stop: asyncio.Event, uid: int | None = None) -> None:
        """Serve until `stop`; become `uid` once everything that needs root is done.

        Raises `OSError` where the directory is not there or the kernel refuses.
        """
        loop = asyncio.get_running_loop()
        self._watch = Watch(self._directory, self._ports)  # before reading: no change is missed
        self._links = links.Links()
        server = await self._status_server()
        if uid is not None:
            privileges.drop(uid)
        self._read_all()
        loop.add_reader(self._watch.fileno(), self._files_changed)
        loop.add_reader(self._links.fileno(), self._links_changed)
        retry = asyncio.create_task(self._try_again())
        _say(f"serves {len(self._guests)} ports, {len(self._taps)} of them are here")
        try:
            await stop.wait()
        finally:
            retry.cancel()
            server.close()
            loop.remove_reader(self._watch.fileno())
            loop.remove_reader(self._links.fileno())
            self._watch.close()
            self._links.close()
            for tap in self._taps.values():
                tap.close()
            if self._nova is not None:
                self._nova.close()

    def status(self) -> dict[str, object]:
        """Return what this proxy does, for visord: by port, and the faults."""
        taps = {tap.guest.port: tap for tap in self._taps.values()}
        return {
            "pid": os.getpid(),
            "backend": None if self._service is None else "nova" if self._nova else "embedded",
            "ports": {port: _status(guest, taps.get(port)) for port, guest in self._guests.items()},
        }

    async def _status_server(self) -> asyncio.Server:
        async def tell(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            with contextlib.suppress(OSError):
                writer.write(json.dumps(self.status()).encode())
                await writer.drain()
            writer.close()

        path = self._directory / STATUS_SOCKET
        path.unlink(missing_ok=True)
        mask = os.umask(0o177)  # visord's user alone may ask
        try:
            return await asyncio.start_unix_server(tell, path)
        finally:
            os.umask(mask)

    def _read_all(self) -> None:
        self._read_service()
        there = {path.stem for path in self._ports.glob("[!.]*.json")}
        for port in there | self._guests.keys():
            self._read_guest(port)
        self._look_at_links()

    def _files_changed(self) -> None:
        changed = self._watch.read()
        if changed is None:
            self._read_all()
            return
        for path in changed:
            if path == self._directory / SERVICE_FILE:
                self._read_service()
            elif path.parent == self._ports and path.suffix == ".json":
                self._read_guest(path.stem)

    def _read_service(self) -> None:
        path = self._directory / SERVICE_FILE
        try:
            service = Service.from_json(path.read_bytes())
            client = None if service.nova is None else NovaClient(service.nova)
        except FileNotFoundError:
            return  # what was, goes on: no guest may hear another answer for a moment
        except (OSError, ValueError, ProtocolError) as error:
            _say(f"cannot use {path}: {error}")
            return
        if service == self._service:
            return
        if self._nova is not None:
            self._nova.close()
        self._service, self._nova = service, client

    def _read_guest(self, port: str) -> None:
        path = self._ports / f"{port}.json"
        try:
            guest = Guest.from_json(path.read_bytes())
        except FileNotFoundError:
            self._forget(port)
            return
        except (OSError, ProtocolError) as error:
            _say(f"cannot use {path}: {error}")
            return
        before = self._guests.get(port)
        if before is not None and before.device != guest.device:
            self._forget(port)
        self._guests[port] = self._by_device[guest.device] = guest
        self._serve(guest.device)

    def _forget(self, port: str) -> None:
        guest = self._guests.pop(port, None)
        if guest is None or self._by_device[guest.device].port != port:
            return
        del self._by_device[guest.device]
        for other in self._guests.values():
            if other.device == guest.device:  # the files changed one after the other
                self._by_device[guest.device] = other
        self._serve(guest.device)

    def _links_changed(self) -> None:
        changed = self._links.read()
        if changed is None:
            self._look_at_links()
            return
        for link in changed:
            old = self._by_index.get(link.index)
            if old is not None and old != link.name:
                self._drop(old)
            if link.name in self._by_device:
                self._serve(link.name, link.index)

    def _look_at_links(self) -> None:
        present = links.present()
        for device in self._by_device.keys() | self._taps.keys():
            self._serve(device, present.get(device, 0))

    def _serve(self, device: str, index: int | None = None) -> None:
        """Make the tap of a device what it should be; `index` 0 says that it is not there."""
        guest = self._by_device.get(device)
        tap = self._taps.get(device)
        if index is None:
            index = _index(device)
        if tap is not None and (guest is None or tap.index != index):
            self._drop(device)
            tap = None
        if guest is None or not index:
            return
        if tap is None:
            self._taps[device] = Tap(device, index, guest, self._ask)
            self._by_index[index] = device
        else:
            tap.guest = guest  # open connections are judged by it from their next request on

    def _drop(self, device: str) -> None:
        tap = self._taps.pop(device)
        del self._by_index[tap.index]
        tap.close()

    async def _try_again(self) -> None:
        """Open what could not be opened: a port 80 that somebody else had, say."""
        while True:
            await asyncio.sleep(_RETRY_S)
            for tap in self._taps.values():
                if tap.faults:
                    tap.open()

    def _ask(self, tap: Tap, connection: Connection, request: Request) -> Reply | None:
        if self._service is None:
            return refusal(503, "this host does not know yet where metadata come from")
        if self._nova is None:
            return replies.answer(tap.guest, request)
        if tap.asking >= MOST_ASKED_BY_ONE:
            return refusal(503, "too many requests of this port are under way")
        task = asyncio.create_task(self._ask_nova(self._nova, tap, connection, request))
        self._asked.add(task)
        task.add_done_callback(self._asked.discard)
        return None

    async def _ask_nova(
        self, nova: NovaClient, tap: Tap, connection: Connection, request: Request
    ) -> None:
        tap.asking += 1
        try:
            reply = await nova.ask(tap.guest, connection.source, request)
        except Exception as error:  # noqa: BLE001 - no fault of ours may leave a guest waiting
            _say(f"asking Nova failed: {error!r}")
            reply = refusal(502, "the metadata API could not be asked")
        finally:
            tap.asking -= 1
        connection.reply(reply)


def _index(device: str) -> int:
    try:
        return socket.if_nametoindex(device)
    except OSError:  # it is not there; Python leaves out the number that would say so
        return 0


def _status(guest: Guest, tap: Tap | None) -> dict[str, object]:
    if tap is None:
        return {"device": guest.device, "here": False}
    faults = {f"ipv{version}": why for version, why in tap.faults.items()}
    counts = asdict(tap.counts)
    return {
        "device": guest.device,
        "here": True,
        "faults": faults,
        "open": tap.open_connections,
    } | counts


def _say(words: str) -> None:
    sys.stderr.write(f"{words}\n")
    sys.stderr.flush()
