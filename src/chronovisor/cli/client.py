"""HTTP over visord's Unix socket, with nothing that makes `visorctl` slow to start."""

import http.client
import json
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

from chronovisor.errors import ProtocolError, Unavailable
from chronovisor.host.api import problems
from chronovisor.host.directories import default_socket

TIMEOUT_S = 30.0
"""How long visord may take to answer; an event stream has no such limit."""


class _UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: Path, timeout_s: float | None) -> None:
        super().__init__("localhost", timeout=timeout_s)
        self._path = path

    def connect(self) -> None:
        """Open the Unix socket; visord not running is an error that says how to start it."""
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        try:
            self.sock.connect(str(self._path))
        except OSError as error:
            self.sock.close()
            raise _unreachable(self._path, error) from error


def _unreachable(path: Path, error: OSError) -> Unavailable:
    if isinstance(error, PermissionError):
        return Unavailable(
            f"visord's socket {path} may not be opened by this user",
            hint="run visorctl as root or as a member of visord's group",
        )
    return Unavailable(
        f"visord is not running: nothing answers on {path} ({error.strerror or error})",
        hint="start it with `systemctl start visord`, or `visord` in a terminal; "
        "--socket or CHRONOVISOR_SOCKET names another one",
    )


class Client:
    """A client of one visord. Errors come back as the exceptions that visord raised."""

    def __init__(self, path: Path | None = None) -> None:
        self.path = path or default_socket()

    def call(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        query: dict[str, Any] | None = None,
        content_type: str = "application/json",
    ) -> Any:
        """Send one request and return the decoded JSON of its answer (text where it is text)."""
        payload = body if isinstance(body, bytes) or body is None else json.dumps(body).encode()
        connection = _UnixConnection(self.path, TIMEOUT_S)
        try:
            headers = {"Content-Type": content_type} if payload is not None else {}
            connection.request(method, _target(path, query), payload, headers)
            return _decode(connection.getresponse())
        except (http.client.BadStatusLine, ValueError) as error:
            if isinstance(error, http.client.RemoteDisconnected):
                raise self._broke_off(error) from error
            raise ProtocolError(
                f"what answers on {self.path} is not visord",
                hint="--socket or CHRONOVISOR_SOCKET names visord's socket",
            ) from error
        except (TimeoutError, ConnectionError, http.client.HTTPException) as error:
            raise self._broke_off(error) from error
        finally:
            connection.close()

    def _broke_off(self, error: Exception) -> Unavailable:
        return Unavailable(
            f"visord on {self.path} broke off: {error or type(error).__name__}",
            hint="look at its log; `visorctl host health` tells how it is",
        )

    def get(self, path: str, /, **query: Any) -> Any:
        """Return what a resource holds now."""
        return self.call("GET", path, query=query)

    def stream(
        self, path: str, /, *, timeout_s: float | None = None, **query: Any
    ) -> Iterator[tuple[str, Any]]:
        """Yield (kind, data) of each server-sent event, until the caller ends it.

        The format is that of the WHATWG HTML standard, section 9.2.6. After `timeout_s` in all
        it ends with `TimeoutError`; when visord ends it, with `Unavailable`.
        """
        deadline_s = None if timeout_s is None else time.monotonic() + timeout_s
        connection = _UnixConnection(self.path, timeout_s)
        try:
            connection.request("GET", _target(path, query))
            response = connection.getresponse()
            if response.status != http.client.OK:
                _decode(response)
            kind = "message"
            for raw in iter(lambda: _next_line(connection, response, deadline_s), b""):
                line = raw.decode().rstrip("\r\n")
                if line.startswith("event:"):
                    kind = line[6:].strip()
                elif line.startswith("data:"):
                    yield kind, json.loads(line[5:])
                    kind = "message"
            raise ConnectionError("no more lines")
        except (ConnectionError, http.client.HTTPException) as error:
            raise Unavailable(
                f"visord on {self.path} ended the stream", hint="was it stopped or restarted?"
            ) from error
        finally:
            connection.close()


def _next_line(
    connection: http.client.HTTPConnection,
    response: http.client.HTTPResponse,
    deadline_s: float | None,
) -> bytes:
    if deadline_s is not None and connection.sock:
        left_s = deadline_s - time.monotonic()
        if left_s <= 0:
            raise TimeoutError
        connection.sock.settimeout(left_s)
    return response.readline()


def _target(path: str, query: dict[str, Any] | None) -> str:
    words = {
        key: str(value).lower() if isinstance(value, bool) else value
        for key, value in (query or {}).items()
        if value is not None
    }
    target = quote(path)
    return f"{target}?{urlencode(words, doseq=True)}" if words else target


def _decode(response: http.client.HTTPResponse) -> Any:
    text = response.read().decode()
    kind = response.headers.get_content_type()
    content = json.loads(text) if kind.endswith("json") and text else text
    if response.status >= http.client.BAD_REQUEST:
        raise problems.error(content if isinstance(content, dict) else {"detail": text})
    return content
