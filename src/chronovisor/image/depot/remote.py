"""Fetches files of a depot over HTTP: resumed, bounded, and compared with what the index says.

A download grows in a hidden file beside its target, with the validator (ETag or date) of what it
is a part of. Broken off, it is resumed with `Range` and `If-Range` (RFC 9110, sections 13.1.5 and
14), in the same run or a later one. Nothing that a server says about lengths is believed; what
counts is the size and the SHA-256 from the index.
"""

import http.client
import os
import re
import ssl
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from email.message import Message
from io import BufferedRandom
from pathlib import Path
from typing import IO, TypeVar
from urllib.parse import quote, urlsplit

from chronovisor import __version__
from chronovisor.errors import (
    ChronovisorError,
    Conflict,
    Denied,
    InvalidInput,
    NotFound,
    ProtocolError,
    Unavailable,
)
from chronovisor.image import durable
from chronovisor.image.depot import unfinished
from chronovisor.image.limits import KIB
from chronovisor.image.refusal import about, malformed, printable

Progress = Callable[[int, int], None]
"""Hears how many bytes there are, and how many there will be."""

STALL_S = 30.0
"""How long a server may say nothing."""
SLOWEST_BYTES_PER_S = 64
ATTEMPTS = 5
"""How often in a row a transfer may fail without a byte more than before."""
READ_BYTES = 64 * KIB
MOST_REDIRECTS = 5

_RANGE = re.compile(r"bytes ([0-9]{1,18})-([0-9]{1,18})/([0-9]{1,18}|\*)")
_PASSING = frozenset({408, 425, 429, 500, 502, 503, 504})


Result = TypeVar("Result")


class _BrokeOff(Exception):
    """A transfer ended early and may be tried again. Never leaves this module."""


class _Redirects(urllib.request.HTTPRedirectHandler):
    max_redirections = MOST_REDIRECTS

    def redirect_request(
        self,
        req: urllib.request.Request,
        fp: IO[bytes],
        code: int,
        msg: str,
        headers: Message,
        newurl: str,
    ) -> urllib.request.Request | None:
        """Follow within HTTP and towards more safety only."""
        scheme = urlsplit(newurl).scheme
        if scheme != "https" and scheme != urlsplit(req.full_url).scheme:
            fp.close()
            raise Denied(f"{req.full_url} redirects to '{printable(newurl)}', which is less safe")
        return super().redirect_request(req, fp, code, msg, headers, newurl)  # type: ignore[arg-type]  # typeshed wants HTTPMessage, a subclass that adds nothing


def _opener() -> urllib.request.OpenerDirector:
    """Return an opener that knows HTTP and nothing else: no files, no FTP."""
    opener = urllib.request.OpenerDirector()
    for handler in (
        urllib.request.ProxyHandler(),
        urllib.request.HTTPHandler(),
        urllib.request.HTTPSHandler(context=ssl.create_default_context()),
        urllib.request.HTTPErrorProcessor(),
        urllib.request.HTTPDefaultErrorHandler(),
        _Redirects(),
    ):
        opener.add_handler(handler)
    opener.addheaders = [("User-Agent", f"chronovisor/{__version__}")]
    return opener


@dataclass(frozen=True, slots=True)
class Remote:
    """A depot's place on a web server. `pause` waits between attempts, in seconds."""

    base: str
    stall_s: float = STALL_S
    pause: Callable[[float], None] = time.sleep

    @classmethod
    def at(cls, url: str) -> "Remote":
        """Return the depot at a URL: its directory's, or its index.xml's."""
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise InvalidInput(f"'{printable(url)}' is not the address of a depot")
        if parts.username or parts.password:
            raise InvalidInput("a depot's address may hold no password")
        return cls(url.removesuffix("index.xml").rstrip("/") + "/")

    def url(self, path: str) -> str:
        """Return the address of a file of the depot."""
        return self.base + quote(path)

    def read(self, path: str, most: int) -> bytes:
        """Return a small file, the whole of it or an error."""
        url = self.url(path)
        return self._persist(url, lambda: self._read(url, most), lambda: 0)

    def _read(self, url: str, most: int) -> bytes:
        with self._response(url, {}) as response:
            declared = response.length
            raw: bytes = b"".join(_limited(response, most, url))
            if declared is not None and len(raw) < declared:
                raise _BrokeOff(f"it sent {len(raw)} of {declared} bytes")
            return raw

    def save(self, path: str, target: Path, size: int, sha256: str, progress: Progress) -> None:
        """Fetch a file whose size and digest are known; `target` appears when it is complete."""
        partial = target.with_name(f".{sha256[:32]}.partial")
        with unfinished.locked(partial) as stream:
            for is_last in (False, True):
                download = _Download(self, self.url(path), partial, stream, size, progress)
                self._persist(download.url, download.more, download.present)
                digest = unfinished.digest(stream)
                if digest == sha256:
                    break
                stream.truncate(0)
                if is_last or not download.is_joined:
                    unfinished.forget(partial)
                    raise _changed(download.url, f"has the SHA-256 {digest}", sha256)
            with about(target):
                os.fsync(stream.fileno())
                partial.rename(target)
                durable.sync_directory(target.parent)
            unfinished.forget(partial)

    def _persist(self, url: str, act: Callable[[], Result], present: Callable[[], int]) -> Result:
        """Do something until it succeeds; give up when it gets no further."""
        failures = 0
        while True:
            before = present()
            try:
                return act()
            except _BrokeOff as error:
                failures = 0 if present() > before else failures + 1
                if failures >= ATTEMPTS:
                    raise Unavailable(
                        f"{url} broke off {failures} times: {error}",
                        hint="run the same command again: it resumes where this one ended",
                    ) from None
                self.pause(min(0.25 * 2**failures, 8.0))

    @contextmanager
    def _response(self, url: str, headers: dict[str, str]) -> Iterator[http.client.HTTPResponse]:
        request = urllib.request.Request(url, headers={"Accept-Encoding": "identity", **headers})
        try:
            with _opener().open(request, timeout=self.stall_s) as response:
                coding = response.headers.get("Content-Encoding", "identity")
                if coding != "identity":
                    raise malformed(url, 0, f"sent in the coding '{printable(coding)}'")
                yield response
        except urllib.error.HTTPError as error:
            with error:
                raise _refused(url, error.code) from None
        except urllib.error.URLError as error:
            raise _failed(url, error.reason) from None
        except (OSError, http.client.HTTPException) as error:
            raise _failed(url, error) from None
        except ValueError as error:  # a redirect to what is no address, a broken header
            raise ProtocolError(f"{url}: {printable(str(error))}") from None


def _failed(url: str, error: object) -> Exception:
    if isinstance(error, ssl.SSLCertVerificationError):
        return Denied(f"{url}: the server's certificate is not trusted: {error.verify_message}")
    return _BrokeOff(printable(str(error)) or type(error).__name__)


def _refused(url: str, status: int) -> Exception:
    if status in _PASSING:
        return _BrokeOff(f"the server answered {status}")
    if status in (404, 410):
        return NotFound(f"{url}: there is no such file on the server")
    if status in (401, 403, 407):
        return Denied(f"{url}: the server does not allow it ({status})")
    if 300 <= status < 400:
        return Denied(f"{url} redirects too often, or to something that is not HTTP")
    if status == http.client.REQUESTED_RANGE_NOT_SATISFIABLE:
        return _NoSuchRange()
    return ProtocolError(f"{url}: the server answered {status}")


class _NoSuchRange(ChronovisorError):
    def __init__(self) -> None:
        super().__init__("the server has no such range")


def _limited(response: http.client.HTTPResponse, most: int, url: str) -> Iterator[bytes]:
    """Yield a body's bytes, at most `most`, from a server that is not too slow to be honest."""
    received, began = 0, time.monotonic()
    while chunk := response.read1(READ_BYTES):
        received += len(chunk)
        if received > most:
            raise malformed(url, most, f"the server sends more than {most} bytes")
        yield chunk
        elapsed_s = time.monotonic() - began
        if elapsed_s > STALL_S and received < elapsed_s * SLOWEST_BYTES_PER_S:
            raise _BrokeOff(f"only {received} bytes in {elapsed_s:.0f} s")


@dataclass(slots=True)
class _Download:
    """One file on its way; `more` fetches what is missing of it."""

    remote: Remote
    url: str
    partial: Path
    stream: BufferedRandom
    size: int
    progress: Progress
    is_joined: bool = False  # of parts from several answers, that may be of different files

    def present(self) -> int:
        """Return how many bytes there are."""
        return self.stream.seek(0, os.SEEK_END)

    def more(self) -> None:
        """Fetch the rest, or all where the server has another version than before."""
        have, validator = self.present(), unfinished.validator(self.partial)
        if have > self.size or (have and not validator):
            self._restart()
            have = 0
        if have == self.size:
            return
        headers = {"Range": f"bytes={have}-", "If-Range": validator} if have else {}
        try:
            with self.remote._response(self.url, headers) as response:
                self._receive(response, have)
        except _NoSuchRange:
            self._restart()
            raise _BrokeOff("the server has a shorter file than before") from None
        if self.present() < self.size:
            raise _BrokeOff(f"it sent {self.present()} of {self.size} bytes")

    def _receive(self, response: http.client.HTTPResponse, have: int) -> None:
        if response.status == http.client.PARTIAL_CONTENT:
            self._check_range(response.headers.get("Content-Range", ""), have)
            self.is_joined = True
        else:
            if response.length is not None and response.length != self.size:
                raise _changed(self.url, f"has {response.length} bytes", str(self.size))
            self._restart()
            have, self.is_joined = 0, False
            unfinished.remember(self.partial, response.headers)
        for chunk in _limited(response, self.size - have, self.url):
            with about(self.partial):
                self.stream.write(chunk)
                self.stream.flush()
            self.progress(self.present(), self.size)

    def _check_range(self, text: str, have: int) -> None:
        found = _RANGE.fullmatch(text)
        if not found or int(found[1]) != have:
            raise malformed(self.url, have, f"the server sends the range '{printable(text)}'")
        if found[3] not in ("*", str(self.size)):
            raise _changed(self.url, f"has {found[3]} bytes", str(self.size))

    def _restart(self) -> None:
        with about(self.partial):
            self.stream.truncate(0)
            self.stream.seek(0)
        unfinished.forget_validator(self.partial)


def _changed(url: str, found: str, listed: str) -> Conflict:
    return Conflict(
        f"{url} {found}, the index says {listed}: it is not the file that was listed",
        hint="the depot changed meanwhile, or somebody changed the file: list the depot again",
    )
