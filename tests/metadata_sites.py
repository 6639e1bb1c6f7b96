"""A host with taps and VMs, as network namespaces of a test's own, and the proxy on it."""

import contextlib
import http.client
import json
import secrets
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Callable
from ctypes import CDLL
from pathlib import Path
from typing import Any

from chronovisor.net.metadata.directory import MetadataDirectory
from chronovisor.net.metadata.plan import state_of, wanted_of, world
from chronovisor.net.settings import Metadata
from metadata_guests import intent

DEADLINE_S = 60.0
HOST = "169.254.169.254"
HOST6 = "fe80::a9fe:a9fe"
_CLONE_NEWNET = 0x4000_0000
_libc = CDLL(None, use_errno=True)


def until(look: Callable[[], Any], what: str) -> Any:
    """Wait until a look finds something."""
    end = time.monotonic() + DEADLINE_S
    while time.monotonic() < end:
        if found := look():
            return found
        time.sleep(0.02)
    raise AssertionError(f"not within {DEADLINE_S} s: {what}")


def ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True, capture_output=True, text=True)


def sysctl(namespace: str, name: str, value: int) -> None:
    words = ["ip", "netns", "exec", namespace, "sysctl", "-qw", f"{name}={value}"]
    subprocess.run(words, check=True, capture_output=True)


class Site:
    """One host namespace with taps, one namespace for each VM, and the proxy's directory."""

    def __init__(self, directory: Path) -> None:
        self.name = f"md{secrets.token_hex(3)}"
        self.directory = MetadataDirectory(directory)
        self.process: subprocess.Popen[bytes] | None = None
        self._namespaces: list[str] = []
        self.add_namespace(self.name)
        ip("-n", self.name, "address", "add", f"{HOST}/32", "dev", "lo")

    def add_namespace(self, name: str) -> None:
        ip("netns", "add", name)
        self._namespaces.append(name)
        ip("-n", name, "link", "set", "lo", "up")

    def vm(self, number: int) -> str:
        return f"{self.name}v{number}"

    def add_vm(self, number: int) -> None:
        """Add a VM and its tap `tap<number>`, wired as the net plane does."""
        name = self.vm(number)
        self.add_namespace(name)
        sysctl(name, "net.ipv6.conf.default.accept_dad", 0)  # or its first second is lost
        mac = f"02:00:00:00:00:{number:02x}"
        peer = ["peer", "name", "eth0", "address", mac, "netns", name]
        ip("-n", self.name, "link", "add", f"tap{number}", "type", "veth", *peer)
        self.wire(number)
        ip("-n", name, "link", "set", "eth0", "up")
        ip("-n", name, "address", "add", f"10.1.0.{number}/32", "dev", "eth0")
        ip("-n", name, "route", "add", "default", "dev", "eth0")

    def wire(self, number: int) -> None:
        tap = f"tap{number}"
        ip("-n", self.name, "link", "set", tap, "up")
        ip("-n", self.name, "address", "add", f"{HOST6}/64", "dev", tap, "nodad")
        ip("-n", self.name, "route", "replace", f"10.1.0.{number}/32", "dev", tap)

    def want(self, *ports: dict[str, Any], **settings: object) -> None:
        """Write what the proxy is to serve, and remove what it is not."""
        state = state_of(intent(*ports), Metadata.model_validate(settings))
        assert state is not None
        wanted = wanted_of(state, world(self.directory.path))
        for name, text in wanted.files.items():
            self.directory.write(name, text)
        for path in (self.directory.path / "ports").glob("[!.]*"):
            if f"ports/{path.name}" not in wanted.files:
                self.directory.remove(f"ports/{path.name}")

    def argv(self) -> tuple[str, ...]:
        return world(self.directory.path).argv

    def remove_namespace(self, name: str) -> None:
        self._namespaces.remove(name)
        ip("netns", "delete", name)

    def start(self) -> None:
        command = ["ip", "netns", "exec", self.name, *self.argv()]
        self.process = subprocess.Popen(command, cwd="/", stderr=subprocess.DEVNULL)
        until(self.status, "the proxy tells of itself")

    def stop(self, number: signal.Signals = signal.SIGTERM) -> int:
        assert self.process is not None
        self.process.send_signal(number)
        return self.process.wait(DEADLINE_S)

    def status(self) -> dict[str, Any] | None:
        with socket.socket(socket.AF_UNIX) as client, contextlib.suppress(OSError):
            client.connect(str(self.directory.path / "status.sock"))
            data = b""
            while more := client.recv(65536):
                data += more
            found: dict[str, Any] = json.loads(data)
            return found
        return None

    def listens(self, number: int) -> bool:
        status = self.status()
        return status is not None and status["ports"].get(f"vm{number}", {}).get("here") is True

    def until_listens(self, number: int) -> None:
        until(lambda: self.listens(number), f"the proxy listens on tap{number}")

    def close(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.wait()
        for name in reversed(self._namespaces):
            subprocess.run(["ip", "netns", "delete", name], check=False, capture_output=True)

    def socket_in(self, where: str, family: int = socket.AF_INET) -> socket.socket:
        """Return a new TCP socket that lives in a namespace."""
        made: list[socket.socket] = []

        def make() -> None:
            with Path("/run/netns", where).open() as file:
                if _libc.setns(file.fileno(), _CLONE_NEWNET) == 0:
                    made.append(socket.socket(family, socket.SOCK_STREAM))

        thread = threading.Thread(target=make)  # setns(2) moves one thread, which then ends
        thread.start()
        thread.join()
        made[0].settimeout(DEADLINE_S)
        return made[0]

    def connect(self, number: int, source: str | None = None) -> socket.socket:
        """Return a connection of a VM to the proxy."""
        client = self.socket_in(self.vm(number))
        try:
            if source is not None:
                client.bind((source, 0))
            client.connect((HOST, 80))
        except BaseException:
            client.close()
            raise
        return client

    def get(
        self, number: int, target: str, source: str | None = None, **headers: str
    ) -> tuple[int, str]:
        """Return status and text of a VM's request."""
        with self.connect(number, source) as client:
            return ask(client, target, **headers)


def ask(client: socket.socket, target: str, **headers: str) -> tuple[int, str]:
    """Return status and text of a request over a connection."""
    lines = [f"GET {target} HTTP/1.1", f"Host: {HOST}"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    client.sendall("\r\n".join([*lines, "", ""]).encode())
    response = http.client.HTTPResponse(client)
    try:
        response.begin()
        return response.status, response.read().decode()
    finally:
        response.close()
