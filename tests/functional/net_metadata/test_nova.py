"""Nova's metadata API as the source, played by a server on the host."""

import contextlib
import hashlib
import hmac
import socket
import threading
from collections.abc import Callable, Iterator

import pytest

from metadata_guests import port
from metadata_sites import Site, ask, until

TARGET = "/openstack/latest/meta_data.json?x=1"
SECRET = "s3cret"

Serve = Callable[[socket.socket, bytes], None]


def well(client: socket.socket, head: bytes) -> None:
    del head
    client.sendall(
        b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}"
    )


class Nova:
    """Serves with `serve(connection, head of the request)`; notes what it was asked."""

    def __init__(self, listener: socket.socket) -> None:
        self.serve: Serve = well
        self.heads: list[bytes] = []
        self.connections = 0
        self._listener = listener
        self._clients: list[socket.socket] = []
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                self.connections += 1
                self._clients.append(client)
                threading.Thread(target=self._talk, args=(client,), daemon=True).start()

    def _talk(self, client: socket.socket) -> None:
        data = b""
        with contextlib.suppress(OSError):
            while more := client.recv(65536):
                data += more
                while b"\r\n\r\n" in data:
                    head, _, data = data.partition(b"\r\n\r\n")
                    self.heads.append(head)
                    self.serve(client, head)

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for client in self._clients:
            with contextlib.suppress(OSError):
                client.shutdown(socket.SHUT_RDWR)
            client.close()


@pytest.fixture
def nova(site: Site) -> Iterator[Nova]:
    listener = site.socket_in(site.name)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind(("127.0.0.1", 8775))
    listener.listen()
    listener.settimeout(None)
    server = Nova(listener)
    try:
        use_nova(site)
        yield server
    finally:
        server.close()


def use_nova(site: Site) -> None:
    settings = {"url": "http://localhost:8775", "shared_secret": SECRET, "timeout_s": 0.7}
    site.want(port(10), port(20), port(30, instance=None), nova=settings)
    until(lambda: (site.status() or {})["backend"] == "nova", "Nova is asked")


def headers(head: bytes) -> dict[str, str]:
    lines = head.decode().split("\r\n")[1:]
    return {name.lower(): value for name, value in (line.split(": ", 1) for line in lines)}


def test_nova_is_told_who_asks_by_us_and_not_by_the_vm(site: Site, nova: Nova) -> None:
    lies = {"X_Instance_ID": "i-0020", "X_Forwarded_For": "10.1.0.20", "X_Tenant_ID": "project20"}
    lies |= {"X_Instance_ID_Signature": "0" * 64, "User_Agent": "Cloud-Init/22.4.2"}
    assert site.get(10, TARGET, **lies) == (200, "{}")
    assert nova.heads[0].startswith(f"GET {TARGET} HTTP/1.1\r\n".encode())
    assert headers(nova.heads[0]) == {
        "host": "localhost:8775",
        "user-agent": "Cloud-Init/22.4.2",
        "x-forwarded-for": "10.1.0.10",
        "x-instance-id": "i-0010",
        "x-instance-id-signature": hmac.new(SECRET.encode(), b"i-0010", hashlib.sha256).hexdigest(),
        "x-tenant-id": "project10",
    }


def test_connections_are_used_again(site: Site, nova: Nova) -> None:
    for number in (10, 20, 10, 20):
        assert site.get(number, TARGET) == (200, "{}")
    assert nova.connections == 1
    assert [headers(one)["x-instance-id"] for one in nova.heads] == ["i-0010", "i-0020"] * 2


def test_connection_that_nova_closed_meanwhile(site: Site, nova: Nova) -> None:
    seen: set[socket.socket] = set()

    def once(client: socket.socket, head: bytes) -> None:
        if client in seen:
            client.shutdown(socket.SHUT_RDWR)
        else:
            seen.add(client)
            well(client, head)

    nova.serve = once
    for _ in range(3):
        assert site.get(10, TARGET) == (200, "{}")
    assert nova.connections == 3


def _garbage(client: socket.socket, head: bytes) -> None:
    del head
    client.sendall(b"\x00\x01nonsense\r\n\r\n")


def _half(client: socket.socket, head: bytes) -> None:
    del head
    client.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf")
    client.shutdown(socket.SHUT_RDWR)


def _nothing(client: socket.socket, head: bytes) -> None:
    del head
    client.shutdown(socket.SHUT_RDWR)


def _silence(client: socket.socket, head: bytes) -> None:
    del client, head


def _trickle(client: socket.socket, head: bytes) -> None:
    del head
    client.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nx")


def _huge(client: socket.socket, head: bytes) -> None:
    del head
    client.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 9000000\r\n\r\n" + b"x" * 9_000_000)


@pytest.mark.parametrize(
    ("serve", "status"),
    [
        (_garbage, 502),
        (_half, 502),
        (_nothing, 502),
        (_huge, 502),
        (_silence, 503),
        (_trickle, 503),
    ],
)
def test_nova_that_fails(site: Site, nova: Nova, serve: Serve, status: int) -> None:
    nova.serve = serve
    with site.connect(10) as client:
        assert ask(client, TARGET)[0] == status
        nova.serve = well
        assert ask(client, TARGET) == (200, "{}")


def test_nova_that_is_down(site: Site, nova: Nova) -> None:
    nova.close()
    assert site.get(10, TARGET)[0] == 503


@pytest.mark.parametrize("status", [b"404 Not Found", b"500 Oh", b"204 No Content"])
def test_novas_status_is_handed_on(site: Site, nova: Nova, status: bytes) -> None:
    def serve(client: socket.socket, head: bytes) -> None:
        del head
        body = b"" if status.startswith(b"204") else b"Content-Length: 3\r\n\r\nwhy"
        client.sendall(b"HTTP/1.1 " + status + b"\r\nX-Odd: \xff\r\n" + (body or b"\r\n"))

    nova.serve = serve
    assert site.get(10, TARGET)[0] == int(status[:3])


def test_slow_nova_holds_up_only_who_asked_too_much(site: Site, nova: Nova) -> None:
    release = threading.Event()

    def serve(client: socket.socket, head: bytes) -> None:
        if b"i-0010" in head:
            release.wait(20)
        well(client, head)

    nova.serve = serve
    waiting = [site.connect(10) for _ in range(4)]
    for client in waiting:
        client.sendall(b"GET /latest/ HTTP/1.1\r\nHost: x\r\n\r\n")
    until(lambda: len(nova.heads) == 4, "four requests are under way")
    assert site.get(10, TARGET) == (503, "too many requests of this port are under way\n")
    assert site.get(20, TARGET) == (200, "{}")
    release.set()
    for client in waiting:
        client.close()


def test_port_without_an_instance(site: Site, nova: Nova) -> None:
    site.add_vm(30)
    site.until_listens(30)
    assert site.get(30, TARGET)[0] == 404
    assert not nova.heads


def test_switching_back(site: Site, nova: Nova) -> None:
    assert site.get(10, TARGET) == (200, "{}")
    site.want(port(10), port(20))
    until(lambda: site.get(10, "/latest/meta-data/mac")[1] != "{}", "this host answers itself")
    assert len(nova.heads) >= 1
