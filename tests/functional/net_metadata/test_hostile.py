"""What one VM does to the proxy is nobody else's concern."""

import contextlib
import random
import select
import socket
import threading
import time
from collections.abc import Iterator

import pytest

from chronovisor.net.metadata.listeners import BURST, MOST_CONNECTIONS, RATE_HZ
from metadata_sites import Site, ask, until

ID = "/latest/meta-data/instance-id"
REQUEST = b"GET /latest/meta-data/instance-id HTTP/1.1\r\nHost: x\r\n\r\n"


@pytest.fixture
def crowd(site: Site) -> Iterator[list[socket.socket]]:
    """More connections of VM 10 than it may have; some wait in its queue, some get nowhere."""
    clients: list[socket.socket] = []
    try:
        for _ in range(3 * MOST_CONNECTIONS):
            client = site.socket_in(site.vm(10))
            client.setblocking(False)
            clients.append(client)
            with contextlib.suppress(BlockingIOError):
                client.connect(("169.254.169.254", 80))
        yield clients
    finally:
        for client in clients:
            client.close()


def _open(site: Site) -> int:
    status = site.status()
    assert status is not None
    opened: int = status["ports"]["vm10"]["open"]
    return opened


def test_slowloris_holds_up_nobody_else(site: Site, crowd: list[socket.socket]) -> None:
    until(lambda: _open(site) == MOST_CONNECTIONS, "VM 10 has all it may have")
    _, connected, _ = select.select([], crowd, [], 0)
    for number in range(20):
        for client in connected:
            with contextlib.suppress(OSError):
                client.send(REQUEST[number : number + 1])  # never a whole request
        assert site.get(20, ID) == (200, "i-0020")
    assert _open(site) == MOST_CONNECTIONS


def test_queue_moves_on_when_a_connection_closes(site: Site, crowd: list[socket.socket]) -> None:
    until(lambda: _open(site) == MOST_CONNECTIONS, "VM 10 has all it may have")
    for client in crowd:
        client.close()
    until(lambda: _open(site) == 0, "all are gone")
    assert site.get(10, ID) == (200, "i-0010")


def test_flood_is_bounded_and_holds_up_nobody_else(site: Site) -> None:
    began = time.monotonic()
    stop = threading.Event()

    def flood() -> None:
        with site.connect(10) as client:
            client.setblocking(False)
            while not stop.is_set():
                with contextlib.suppress(BlockingIOError):
                    client.send(REQUEST * 50)
                with contextlib.suppress(BlockingIOError):
                    client.recv(65536)
                stop.wait(0.001)

    threads = [threading.Thread(target=flood) for _ in range(3)]
    for thread in threads:
        thread.start()
    try:
        until(lambda: _requests(site) > BURST, "VM 10 has had its burst")
        for _ in range(20):
            assert site.get(20, ID) == (200, "i-0020")
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    assert _requests(site) <= BURST + RATE_HZ * (time.monotonic() - began)


def _requests(site: Site) -> int:
    status = site.status()
    assert status is not None
    asked: int = status["ports"]["vm10"]["requests"]
    return asked


def test_refusal_arrives_though_more_was_sent(site: Site) -> None:
    with site.connect(10) as client:
        client.sendall(
            b"PUT /a HTTP/1.1\r\nHost: x\r\nContent-Length: 70000\r\n\r\n" + b"z" * 60_000
        )
        data = b""
        while more := client.recv(65536):
            data += more
    assert data.startswith(b"HTTP/1.1 413 ")


def test_nonsense_leaves_the_proxy_as_it_was(site: Site) -> None:
    chance = random.Random(16)
    for _ in range(60):
        with site.connect(10) as client:
            data = bytearray(REQUEST * 2)
            for _ in range(chance.randint(1, 6)):
                data[chance.randrange(len(data))] = chance.randrange(256)
            client.sendall(data[: chance.randint(1, len(data))])
            if chance.random() < 0.5:
                linger = b"\1\0\0\0\0\0\0\0"  # close with a reset
                client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
    assert site.get(20, ID) == (200, "i-0020")
    with site.connect(10) as client:
        assert ask(client, ID) == (200, "i-0010")
