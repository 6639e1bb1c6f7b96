"""One connection of a guest: HTTP/1.1 by h11 over a socket, with bounds on all a guest can do.

Sockets are served from the event loop's readers and not through asyncio's transports: reading can
then be stopped and resumed at will, and a connection costs no task. Bytes are read through one
buffer for all, so that what a guest can make us hold is `_MOST_READ` and one request.
"""

import asyncio
import socket
from collections.abc import Callable
from dataclasses import replace
from typing import Protocol

import h11

from chronovisor.net.metadata.replies import TOKEN_TTL, Reply, Request, refusal

REQUEST_S = 10.0
"""Time for a whole request since the connection began or the last reply went, dribbled or not."""

WRITE_S = 10.0
"""Time a guest has for taking a reply."""

_LINGER_S = 1.0
_MOST_READ = 16 << 10
_MOST_HEADER = 16 << 10
_MOST_BODY = 64 << 10
_MOST_LINGERED = 1 << 20

_KEPT = frozenset({b"accept", b"content-type", b"user-agent", TOKEN_TTL.encode()})
"""Headers of a guest that count. What a guest says of who it is must not get past this place."""

_buffer = bytearray(_MOST_READ)
_view = memoryview(_buffer)


class Owner(Protocol):
    """Who accepted the connection: says who may speak, how fast, and what the answer is."""

    def wait_s(self) -> float:
        """Take the right to one request; 0, or the seconds after which to ask again."""

    def ask(self, connection: "Connection", request: Request) -> Reply | None:
        """Return the answer; None where `connection.reply` will be called with it later."""

    def closed(self, connection: "Connection") -> None:
        """Hear that the connection is no more."""


class Connection:
    """Serves one socket until it closes. `source` is the address of the far end."""

    def __init__(self, sock: socket.socket, source: str, owner: Owner) -> None:
        self.source = source
        self._socket = sock
        self._owner = owner
        self._loop = asyncio.get_running_loop()
        self._http = h11.Connection(h11.SERVER, max_incomplete_event_size=_MOST_HEADER)
        self._request: h11.Request | None = None
        self._body = b""
        self._unsent = b""
        self._lingered = 0
        self._reading = self._writing = False
        self._timer = self._loop.call_later(REQUEST_S, self.close)
        self._read(self._readable)

    def close(self) -> None:
        """End the connection now; may be called again."""
        if self._socket.fileno() < 0:
            return
        self._timer.cancel()
        self._loop.remove_reader(self._socket)
        self._loop.remove_writer(self._socket)
        self._socket.close()
        self._owner.closed(self)

    def reply(self, reply: Reply) -> None:
        """Send the answer to the request that was asked for last."""
        if self._socket.fileno() < 0:
            return
        assert self._request is not None
        head_only = self._request.method == b"HEAD"
        self._unsent = _packed(self._http, reply, head_only=head_only)
        self._flush()

    def _read(self, callback: Callable[[], None]) -> None:
        self._loop.add_reader(self._socket, callback)
        self._reading = True

    def _pause(self) -> None:
        if self._reading:
            self._loop.remove_reader(self._socket)
            self._reading = False

    def _within(self, seconds: float, callback: Callable[[], None]) -> None:
        self._timer.cancel()
        self._timer = self._loop.call_later(seconds, callback)

    def _readable(self) -> None:
        try:
            count = self._socket.recv_into(_view)
        except BlockingIOError:
            return
        except OSError:
            self.close()
            return
        self._http.receive_data(bytes(_view[:count]))
        self._advance()

    def _advance(self) -> None:
        """Take what has arrived as far as it goes: to a whole request at most."""
        try:
            while True:
                match self._http.next_event():
                    case h11.Request() as request:
                        self._request, self._body = request, b""
                        if _announced(request) > _MOST_BODY:
                            self._refuse(413, "the body is too large")
                            return
                        if self._http.they_are_waiting_for_100_continue:
                            go_on = h11.InformationalResponse(status_code=100, headers=[])
                            self._socket.send(self._http.send(go_on) or b"")
                    case h11.Data() as data:
                        self._body += data.data
                        if len(self._body) > _MOST_BODY:
                            self._refuse(413, "the body is too large")
                            return
                    case h11.EndOfMessage():
                        self._handle()
                        return
                    case h11.ConnectionClosed():
                        self.close()
                        return
                    case _:  # NEED_DATA, or PAUSED until the reply is sent
                        return
        except h11.RemoteProtocolError as error:
            self._refuse(error.error_status_hint, "not a request that can be understood")
        except OSError:
            self.close()

    def _handle(self) -> None:
        if (delay_s := self._owner.wait_s()) > 0:
            self._pause()
            self._within(delay_s, self._handle)
            return
        request = self._request
        assert request is not None
        words = Request(
            request.method.decode(),
            request.target.decode(),
            {
                name.decode(): value.decode()
                for name, value in request.headers
                if name in _KEPT and value.isascii()
            },
            self._body,
        )
        answer = self._owner.ask(self, words)
        if answer is not None:
            self.reply(answer)
        else:
            self._pause()
            self._timer.cancel()  # whoever answers has bounds of its own

    def _refuse(self, status: int, words: str) -> None:
        """Say why nothing more is read, and close; in a way that the words arrive."""
        if self._http.our_state not in (h11.IDLE, h11.SEND_RESPONSE):
            self.close()
            return
        head_only = self._request is not None and self._request.method == b"HEAD"
        last = replace(refusal(status, words), headers=(("Connection", "close"),))
        self._unsent = _packed(self._http, last, head_only=head_only)
        self._flush()

    def _flush(self) -> None:
        try:
            sent = self._socket.send(self._unsent)
        except BlockingIOError:
            sent = 0
        except OSError:
            self.close()
            return
        self._unsent = self._unsent[sent:]
        if self._unsent and not self._writing:
            self._pause()
            self._within(WRITE_S, self.close)
            self._loop.add_writer(self._socket, self._flush)
            self._writing = True
        elif not self._unsent:
            if self._writing:
                self._loop.remove_writer(self._socket)
                self._writing = False
            self._next()

    def _next(self) -> None:
        if self._http.our_state is not h11.DONE or self._http.their_state is not h11.DONE:
            self._linger()
            return
        self._http.start_next_cycle()
        self._request = None
        self._within(REQUEST_S, self.close)
        if not self._reading:
            self._read(self._readable)
        if self._http.trailing_data[0] or self._http.trailing_data[1]:
            self._loop.call_soon(self._go_on)  # others first

    def _go_on(self) -> None:
        if self._socket.fileno() >= 0 and self._request is None:
            self._advance()

    def _linger(self) -> None:
        """Wait for the guest to close: closing over unread bytes would take the reply back."""
        try:
            self._socket.shutdown(socket.SHUT_WR)
        except OSError:
            self.close()
            return
        self._pause()
        self._read(self._discard)
        self._within(_LINGER_S, self.close)

    def _discard(self) -> None:
        try:
            count = self._socket.recv_into(_view)
        except BlockingIOError:
            return
        except OSError:
            count = 0
        self._lingered += count
        if count == 0 or self._lingered > _MOST_LINGERED:
            self.close()


def _announced(request: h11.Request) -> int:
    # h11 has checked that there is one, and that it is a number.
    return next((int(value) for name, value in request.headers if name == b"content-length"), 0)


def _packed(http: h11.Connection, reply: Reply, *, head_only: bool) -> bytes:
    headers = [
        ("Content-Type", reply.content_type),
        ("Content-Length", str(len(reply.body))),
        *reply.headers,
    ]
    data = http.send(h11.Response(status_code=reply.status, headers=headers)) or b""
    if not head_only and reply.body:
        data += http.send(h11.Data(reply.body)) or b""
    return data + (http.send(h11.EndOfMessage()) or b"")
