"""Asks Nova's metadata API on a guest's behalf, over connections that are used again.

Nova knows the VM by X-Instance-ID, signed with the shared secret (HMAC-SHA256, hexadecimal), and
checks X-Tenant-ID against it. Nothing that the guest says of itself is handed on.
"""

import asyncio
import encodings.idna  # noqa: F401 - getaddrinfo wants it, when files may be out of reach
import hashlib
import hmac
import ssl
import time
from collections import deque
from urllib.parse import urlsplit

import h11

from chronovisor.net.metadata.replies import Reply, Request, refusal
from chronovisor.net.metadata.state import Guest, Nova

MOST_ASKED = 256
"""Requests to Nova under way at once; beyond it guests are told to come again."""

_MOST_IDLE = 16
_IDLE_S = 15.0
_MOST_ANSWER = 4 << 20
_MOST_HEADER = 32 << 10
_RETRYABLE = frozenset({"GET", "HEAD"})
_HANDED_ON = ("accept", "content-type", "user-agent")
_HANDED_BACK = (b"etag", b"last-modified", b"retry-after", b"allow")


class _Broken(Exception):
    """The connection ended, or what came over it was no answer."""


class _Upstream:
    """One connection to Nova."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self._http = h11.Connection(h11.CLIENT, max_incomplete_event_size=_MOST_HEADER)
        self.idle_since_s = 0.0

    def close(self) -> None:
        self._writer.transport.abort()

    @property
    def is_alive(self) -> bool:
        return not self._reader.at_eof() and not self._writer.is_closing()

    async def ask(self, request: h11.Request, body: bytes) -> Reply:
        try:
            data = self._http.send(request) or b""
            if body:
                data += self._http.send(h11.Data(body)) or b""
            self._writer.write(data + (self._http.send(h11.EndOfMessage()) or b""))
            await self._writer.drain()
            return await self._answer()
        except (OSError, h11.ProtocolError, EOFError) as error:
            raise _Broken(str(error) or type(error).__name__) from error

    async def _answer(self) -> Reply:
        response: h11.Response | None = None
        body = bytearray()
        while True:
            match self._http.next_event():
                case h11.NEED_DATA:
                    self._http.receive_data(await self._reader.read(65536))
                case h11.Response() as response:
                    pass
                case h11.Data() as data:
                    body += data.data
                    if len(body) > _MOST_ANSWER:
                        raise EOFError("the answer is too large")
                case h11.EndOfMessage():
                    assert response is not None
                    return _handed_back(response, bytes(body))
                case h11.ConnectionClosed():
                    raise EOFError("closed without an answer")

    def can_be_used_again(self) -> bool:
        if self._http.our_state is h11.DONE and self._http.their_state is h11.DONE:
            self._http.start_next_cycle()
            return True
        return False


class NovaClient:
    """Asks one Nova. Every answer comes within `timeout_s`; 502 and 503 say what went wrong."""

    def __init__(self, nova: Nova) -> None:
        url = urlsplit(nova.url)
        self._nova = nova
        self._host = url.hostname or ""
        self._port = url.port or (443 if url.scheme == "https" else 80)
        self._authority = url.netloc
        self._tls = _tls(nova.ca_file) if url.scheme == "https" else None
        self._idle: deque[_Upstream] = deque()
        self._asking = 0

    def close(self) -> None:
        """Close the connections that wait for use."""
        while self._idle:
            self._idle.pop().close()

    async def ask(self, guest: Guest, source: str, request: Request) -> Reply:
        """Return Nova's answer to a request of a guest."""
        if not guest.named:
            return refusal(404, "this port belongs to no instance")
        if self._asking >= MOST_ASKED:
            return _later("too many requests are under way")
        self._asking += 1
        try:
            async with asyncio.timeout(self._nova.timeout_s):
                asked = _request(self._nova, self._authority, guest, source, request)
                return await self._ask(asked, request)
        except TimeoutError:
            return _later("the metadata API did not answer in time")
        except OSError:
            return _later("the metadata API cannot be reached")
        except _Broken:
            return refusal(502, "the metadata API gave no answer that can be understood")
        finally:
            self._asking -= 1

    async def _ask(self, asked: h11.Request, request: Request) -> Reply:
        if (upstream := self._take()) is not None:
            try:
                return await self._through(upstream, asked, request.body)
            except _Broken:  # Nova may have closed it while it waited: no fault of anybody
                if request.method not in _RETRYABLE:
                    raise
        return await self._through(await self._connect(), asked, request.body)

    async def _through(self, upstream: _Upstream, asked: h11.Request, body: bytes) -> Reply:
        kept = False
        try:
            reply = await upstream.ask(asked, body)
            kept = upstream.can_be_used_again() and len(self._idle) < _MOST_IDLE
        finally:
            if not kept:
                upstream.close()
        if kept:
            upstream.idle_since_s = time.monotonic()
            self._idle.append(upstream)
        return reply

    def _take(self) -> _Upstream | None:
        while self._idle:
            upstream = self._idle.pop()
            if upstream.is_alive and time.monotonic() - upstream.idle_since_s < _IDLE_S:
                return upstream
            upstream.close()
        return None

    async def _connect(self) -> _Upstream:
        reader, writer = await asyncio.open_connection(self._host, self._port, ssl=self._tls)
        return _Upstream(reader, writer)


def signature(secret: str, instance_id: str) -> str:
    """Return X-Instance-ID-Signature."""
    return hmac.new(secret.encode(), instance_id.encode(), hashlib.sha256).hexdigest()


def _request(
    nova: Nova, authority: str, guest: Guest, source: str, request: Request
) -> h11.Request:
    headers = [
        ("Host", authority),
        ("X-Forwarded-For", source),
        ("X-Instance-ID", guest.instance_id),
        ("X-Instance-ID-Signature", signature(nova.shared_secret, guest.instance_id)),
    ]
    if guest.project_id is not None:
        headers.append(("X-Tenant-ID", guest.project_id))
    headers += [(name, request.headers[name]) for name in _HANDED_ON if name in request.headers]
    if request.body or request.method in ("POST", "PUT"):
        headers.append(("Content-Length", str(len(request.body))))
    return h11.Request(method=request.method, target=_origin_form(request.target), headers=headers)


def _origin_form(target: str) -> str:
    """Return a target as it goes to a server: a guest may have sent a whole URL."""
    if target.startswith("/"):
        return target
    return "/" + target.partition("://")[2].partition("/")[2]


def _handed_back(response: h11.Response, body: bytes) -> Reply:
    headers = {name: value for name, value in response.headers if value.isascii()}
    kind = headers.get(b"content-type", b"text/plain").decode()
    kept = tuple(
        (name.decode(), headers[name].decode()) for name in _HANDED_BACK if name in headers
    )
    return Reply(response.status_code, body, kind, kept)


def _later(words: str) -> Reply:
    reply = refusal(503, words)
    return Reply(reply.status, reply.body, headers=(("Retry-After", "1"),))


def _tls(ca_file: str | None) -> ssl.SSLContext:
    return ssl.create_default_context(cafile=ca_file)
