"""What this host itself answers to a request: EC2, OpenStack and NoCloud from one guest; pure."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import unquote

from chronovisor.net.metadata import ec2, nocloud, openstack
from chronovisor.net.metadata.state import Guest

TOKEN_TTL = "x-aws-ec2-metadata-token-ttl-seconds"
_LONGEST_TOKEN_S = 21_600  # AWS, "Use IMDSv2": 1 second to 6 hours

_TEXT = "text/plain; charset=utf-8"
_JSON = "application/json"
_BYTES = "application/octet-stream"


@dataclass(frozen=True, slots=True)
class Request:
    """A request without what a guest says of itself: `headers` by name in lower case."""

    method: str
    target: str
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer; `headers` beside Content-Type and Content-Length."""

    status: int
    body: bytes = b""
    content_type: str = _TEXT
    headers: tuple[tuple[str, str], ...] = ()


NOT_FOUND = Reply(404, b"Not Found\n")


def refusal(status: int, words: str) -> Reply:
    """Return a reply that says why there is no other."""
    return Reply(status, words.encode() + b"\n")


def path_of(target: str) -> str:
    """Return the path of a request's target in origin or absolute form (RFC 9112 section 3.2)."""
    if not target.startswith("/"):
        _, _, rest = target.partition("://")
        target = "/" + rest.partition("/")[2]
    return unquote(target.partition("?")[0])


def answer(guest: Guest, request: Request) -> Reply:
    """Return this host's own answer to a guest's request."""
    segments = tuple(one for one in path_of(request.target).split("/") if one)
    if segments[1:] == ("api", "token"):
        return _token(request)
    if request.method not in ("GET", "HEAD"):
        return Reply(405, b"Method Not Allowed\n", headers=(("Allow", "GET, HEAD"),))
    match segments:
        case ():
            return Reply(200, "\n".join((*ec2.VERSIONS, "openstack", "nocloud")).encode())
        case ("openstack", *rest):
            return _openstack(guest, rest)
        case ("nocloud",):
            return Reply(200, "\n".join(nocloud.NAMES).encode())
        case ("nocloud", name):
            return _found(nocloud.find(guest, name))
        case (version, *rest) if version in ec2.VERSIONS:
            return _found(ec2.find(guest, tuple(rest)), raw=rest == ["user-data"])
    return NOT_FOUND


def _openstack(guest: Guest, segments: list[str]) -> Reply:
    match segments:
        case []:
            return Reply(200, "\n".join(openstack.VERSIONS).encode())
        case [version] if version in openstack.VERSIONS:
            return Reply(200, openstack.listing(guest))
        case [version, name] if version in openstack.VERSIONS:
            found = openstack.find(guest, name)
            if isinstance(found, dict):
                return Reply(200, json.dumps(found).encode(), _JSON)
            return _found(found, raw=True)
    return NOT_FOUND


def _found(document: bytes | None, *, raw: bool = False) -> Reply:
    if document is None:
        return NOT_FOUND
    return Reply(200, document, _BYTES if raw else _TEXT)


def _token(request: Request) -> Reply:
    """Answer a request for a session token (IMDSv2).

    Any token will do, and none is asked for: version 1 of the service is served as well, so that
    checking tokens would keep nobody out, while a token forgotten by a restart would.
    """
    if request.method != "PUT":
        return Reply(405, b"Method Not Allowed\n", headers=(("Allow", "PUT"),))
    text = request.headers.get(TOKEN_TTL, "")
    if not (text.isascii() and text.isdigit() and len(text) <= 5):
        return refusal(400, f"{TOKEN_TTL} is missing or is no number")
    if not 1 <= int(text) <= _LONGEST_TOKEN_S:
        return refusal(400, f"{TOKEN_TTL} must be 1 to {_LONGEST_TOKEN_S}")
    return Reply(200, b"not-checked==", headers=((TOKEN_TTL, text),))
