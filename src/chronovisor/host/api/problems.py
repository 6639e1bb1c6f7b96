"""Errors as RFC 9457 problem documents, and the way back from a document to an error.

Both directions stand together so that `visorctl` prints exactly what visord said.
"""

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from chronovisor.errors import (
    ChronovisorError,
    Conflict,
    Denied,
    InvalidInput,
    NotFound,
    Problem,
    ProtocolError,
    ToolFailed,
    Unavailable,
)

if TYPE_CHECKING:
    from fastapi import Response

MEDIA_TYPE = "application/problem+json"  # RFC 9457 section 3

# the kind of problem -> (exception, HTTP status, RFC 9110 meaning)
KINDS: dict[str, tuple[type[ChronovisorError], int]] = {
    "invalid-input": (InvalidInput, 422),
    "not-found": (NotFound, 404),
    "conflict": (Conflict, 409),
    "denied": (Denied, 403),
    "unavailable": (Unavailable, 503),
    "tool-failed": (ToolFailed, 502),
    "protocol-error": (ProtocolError, 502),
    "error": (ChronovisorError, 500),
}


def document(error: ChronovisorError) -> dict[str, Any]:
    """Return the problem document of an error; `status` is its HTTP status."""
    kind = next(name for name, (cls, _) in KINDS.items() if isinstance(error, cls))
    body: dict[str, Any] = {
        "type": f"urn:chronovisor:{kind}",
        "title": kind.replace("-", " ").capitalize(),
        "status": KINDS[kind][1],
        "detail": error.message,
    }
    if error.hint:
        body["hint"] = error.hint
    if isinstance(error, InvalidInput):
        body["problems"] = [
            {"where": p.where, "message": p.message, "value": p.value, "valid": p.valid}
            for p in error.problems
        ]
    return body


def response(
    error: ChronovisorError, status: int | None = None, headers: Mapping[str, str] | None = None
) -> "Response":
    """Return the answer that carries an error's document; `status` replaces the error's own."""
    from fastapi import Response  # visorctl reads this module too, and must start at once

    body = document(error)
    body["status"] = status or body["status"]
    # Escapes keep even text that is no Unicode, which a problem may have to quote
    return Response(json.dumps(body), body["status"], headers, MEDIA_TYPE)


def error(body: dict[str, Any]) -> ChronovisorError:
    """Return the error that a problem document stands for; the inverse of `document`."""
    kind = str(body.get("type", "")).removeprefix("urn:chronovisor:")
    cls = KINDS.get(kind, KINDS["error"])[0]
    message = str(body.get("detail", "visord reported an error without words"))
    hint = body.get("hint")
    if cls is InvalidInput:
        problems = [_problem(problem) for problem in body.get("problems", [])]
        return InvalidInput(message, problems, hint=hint)
    return cls(message, hint=hint)


def _problem(body: dict[str, Any]) -> Problem:
    """Return a problem of a document; a newer visord may say more of it than we know."""
    where, message = str(body.get("where", "")), str(body.get("message", ""))
    return Problem(where, message, str(body.get("value", "")), str(body.get("valid", "")))
