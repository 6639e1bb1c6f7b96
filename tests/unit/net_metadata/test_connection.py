"""What a connection bears: requests in pieces, floods, nonsense, guests that stop reading."""

import asyncio
import contextlib
import random
import socket
from collections.abc import Iterator

import pytest

from chronovisor.net.metadata import connection
from chronovisor.net.metadata.connection import Connection
from chronovisor.net.metadata.replies import TOKEN_TTL, Reply, Request

PUT = b"PUT /p HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\n\r\nbody"
GET = b"GET /a HTTP/1.1\r\nHost: x\r\n\r\n"


class Owner:
    """Answers with the method and the target; notes what it was asked."""

    def __init__(self) -> None:
        self.asked: list[Request] = []
        self.is_asked = asyncio.Event()
        self.waits: list[float] = []
        self.body: bytes | None = None
        self.later = False
        self.is_closed = asyncio.Event()

    def wait_s(self) -> float:
        return self.waits.pop() if self.waits else 0.0

    def ask(self, connection: Connection, request: Request) -> Reply | None:
        self.asked.append(request)
        self.is_asked.set()
        reply = Reply(200, self.body or f"{request.method} {request.target}".encode())
        if self.later:
            asyncio.get_running_loop().call_later(0.002, connection.reply, reply)
            return None
        return reply

    def closed(self, connection: Connection) -> None:
        del connection
        self.is_closed.set()


class Guest:
    """The far end of a connection."""

    def __init__(self) -> None:
        ours, self.socket = socket.socketpair()
        for one in (ours, self.socket):
            one.setblocking(False)
        self.owner = Owner()
        self.connection = Connection(ours, "10.1.0.10", self.owner)
        self.loop = asyncio.get_running_loop()

    async def send(self, data: bytes) -> None:
        async with asyncio.timeout(10):
            await self.loop.sock_sendall(self.socket, data)

    async def read(self, until: bytes) -> bytes:
        data = b""
        async with asyncio.timeout(10):
            while until not in data:
                more = await self.loop.sock_recv(self.socket, 65536)
                if not more:
                    return data
                data += more
        return data

    async def read_all(self) -> bytes:
        data = b""
        async with asyncio.timeout(10):
            while more := await self.loop.sock_recv(self.socket, 65536):
                data += more
        return data

    async def trickle(self) -> int:
        sent = 0
        with contextlib.suppress(OSError):
            while not self.owner.is_closed.is_set():
                await self.loop.sock_sendall(self.socket, b"G")
                sent += 1
                await asyncio.sleep(0.001)
        return sent

    async def until_closed(self) -> None:
        async with asyncio.timeout(10):
            await self.owner.is_closed.wait()


@pytest.fixture
async def guest() -> Guest:
    return Guest()


@pytest.fixture(autouse=True)
def leave_nothing_open(guest: Guest) -> Iterator[None]:
    yield
    guest.socket.close()


async def test_request_in_single_bytes(guest: Guest) -> None:
    for number in range(len(GET)):
        await guest.send(GET[number : number + 1])
    assert (await guest.read(b"GET /a")).startswith(b"HTTP/1.1 200 ")
    guest.connection.close()


async def test_one_connection_many_requests(guest: Guest) -> None:
    for number in range(3):
        await guest.send(b"GET /%d HTTP/1.1\r\nHost: x\r\n\r\n" % number)
        await guest.read(b"GET /%d" % number)
    assert len(guest.owner.asked) == 3
    guest.connection.close()


@pytest.mark.parametrize("later", [False, True])
async def test_requests_sent_at_once_are_answered_in_order(guest: Guest, later: bool) -> None:
    guest.owner.later = later
    await guest.send(b"".join(b"GET /%d HTTP/1.1\r\nHost: x\r\n\r\n" % one for one in range(20)))
    data = await guest.read(b"GET /19")
    places = [data.index(b"GET /%d" % one) for one in range(20)]
    assert places == sorted(places)
    guest.connection.close()


async def test_guest_that_sends_no_more_still_hears_the_answer(guest: Guest) -> None:
    await guest.send(b"GET /a HTTP/1.0\r\n\r\n")
    guest.socket.shutdown(socket.SHUT_WR)
    assert (await guest.read_all()).endswith(b"GET /a")
    await guest.until_closed()


async def test_head_has_no_body(guest: Guest) -> None:
    await guest.send(GET.replace(b"GET", b"HEAD") + b"GET /b HTTP/1.0\r\n\r\n")
    data = await guest.read_all()
    assert b"HEAD /a" not in data
    assert data.endswith(b"GET /b")


async def test_what_a_guest_says_of_itself_is_dropped(guest: Guest) -> None:
    lies = b"X-Instance-ID: i-other\r\nX-Forwarded-For: 10.1.0.20\r\nX-Tenant-ID: t\r\n"
    kept = f"Accept: */*\r\n{TOKEN_TTL}: 60\r\n".encode()
    await guest.send(b"GET /a HTTP/1.1\r\nHost: x\r\nCookie: c\r\n" + lies + kept + b"\r\n")
    await guest.read(b"GET /a")
    assert guest.owner.asked[0].headers == {"accept": "*/*", TOKEN_TTL: "60"}
    guest.connection.close()


async def test_body_is_read(guest: Guest) -> None:
    await guest.send(b"POST /p HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nhel")
    await guest.send(b"lo")
    await guest.read(b"POST /p")
    assert guest.owner.asked[0].body == b"hello"
    guest.connection.close()


async def test_expectation_is_met(guest: Guest) -> None:
    head = b"PUT /p HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n"
    await guest.send(head)
    assert (await guest.read(b"\r\n\r\n")).startswith(b"HTTP/1.1 100 ")
    await guest.send(b"ok")
    await guest.read(b"PUT /p")
    guest.connection.close()


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        (b"GET /a HTTP/1.1\r\n\r\n", b"400"),  # no Host, RFC 9112 section 3.2
        (b"GET /a\x00 HTTP/1.1\r\nHost: x\r\n\r\n", b"400"),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", b"400"),
        (b"GET /a HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n", b"400"),
        (b"GET /a HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n", b"400"),
        (b"GET /a HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: gzip\r\n\r\n", b"501"),
        (b"GET /" + b"a" * 20_000, b"431"),
        (b"GET /a HTTP/1.1\r\n" + b"X: y\r\n" * 5000, b"431"),
        (b"PUT /a HTTP/1.1\r\nHost: x\r\nContent-Length: 70000\r\n\r\n", b"413"),
        (b"PUT / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n11171\r\n", b"413"),
    ],
)
async def test_what_is_too_much_or_no_request(guest: Guest, sent: bytes, status: bytes) -> None:
    await guest.send(sent)
    if status == b"413" and b"chunked" in sent:
        await guest.send(b"z" * 70_000)
    data = await guest.read_all()
    assert data.startswith(b"HTTP/1.1 " + status)
    assert not guest.owner.asked
    guest.socket.close()
    await guest.until_closed()


async def test_guest_that_trickles_is_let_go(guest: Guest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "REQUEST_S", 0.2)
    await guest.send(GET)
    await guest.read(b"GET /a")  # the new bound counts from here
    trickle = asyncio.create_task(guest.trickle())
    await guest.until_closed()
    assert await trickle < 16_000  # it was not the size that ended it


async def test_guest_that_reads_nothing_is_let_go(
    guest: Guest, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection, "WRITE_S", 0.05)
    guest.owner.body = b"x" * 10_000_000
    await guest.send(GET * 3)
    await guest.until_closed()
    assert len(guest.owner.asked) == 1


async def test_guest_that_reads_slowly_gets_it_all(guest: Guest) -> None:
    guest.owner.body = b"x" * 1_000_000
    await guest.send(GET.replace(b"1.1", b"1.0"))
    assert len(await guest.read_all()) > 1_000_000


async def test_flood_waits_for_its_turn(guest: Guest) -> None:
    guest.owner.waits = [0.001, 0.001, 0.001]
    await guest.send(GET)
    await guest.read(b"GET /a")
    assert not guest.owner.waits
    guest.connection.close()


async def test_answer_for_a_guest_that_went_away(guest: Guest) -> None:
    guest.owner.later = True
    await guest.send(GET)
    await guest.owner.is_asked.wait()
    guest.connection.close()
    guest.connection.reply(Reply(200))
    guest.connection.close()


@pytest.mark.parametrize("seed", range(20))
async def test_nonsense_ends_in_a_reply_or_a_close(seed: int) -> None:
    chance = random.Random(seed)
    for _ in range(10):
        guest = Guest()
        guest.owner.later = chance.random() < 0.5
        await guest.send(_mutated(chance, GET * 3 + PUT))
        guest.socket.shutdown(socket.SHUT_WR)
        data = await guest.read_all()
        assert not data or data.startswith(b"HTTP/1.1 ")
        guest.socket.close()
        await guest.until_closed()


def _mutated(chance: random.Random, data: bytes) -> bytes:
    changed = bytearray(data)
    for _ in range(chance.randint(1, 8)):
        at = chance.randrange(len(changed))
        match chance.randint(0, 3):
            case 0:
                changed[at] = chance.randrange(256)
            case 1:
                del changed[at : at + chance.randint(1, 20)]
            case 2:
                changed[at:at] = chance.randbytes(chance.randint(1, 20))
            case 3:
                changed[at:at] = changed[at : at + 40]
        changed = changed or bytearray(b"x")
    return bytes(changed)
