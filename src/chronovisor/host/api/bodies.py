"""How large a request may be. Asked before anything of it is read, for any reader may send one."""

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from chronovisor.errors import InvalidInput
from chronovisor.host.api import problems

MOST_BYTES = 16 << 20
"""No setting or document comes near this; what is larger is refused unread."""


class BoundedBodies:
    """ASGI middleware that lets no request in whose body is too large, or of unknown size.

    A body without Content-Length (chunked, RFC 9112 section 7.1) could go on for ever.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer with a problem document in the place of the application, where one is due."""
        refusal = _refusal(Headers(scope=scope)) if scope["type"] == "http" else None
        if refusal is None:
            await self._app(scope, receive, send)
        else:
            await problems.response(*refusal)(scope, receive, send)


def _refusal(headers: Headers) -> tuple[InvalidInput, int] | None:
    if "transfer-encoding" in headers:
        hint = "send it with Content-Length"
        return InvalidInput("a request without a length is refused", hint=hint), 411
    length = headers.get("content-length", "0")
    if not length.isdecimal() or int(length) > MOST_BYTES:
        return InvalidInput(f"a request of {length} bytes is refused: {MOST_BYTES} at most"), 413
    return None
