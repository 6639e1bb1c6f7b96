"""The FastAPI application: subjects, who may call them, and errors as problem documents."""

from fastapi import Depends, FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, PlainTextResponse, StreamingResponse

from chronovisor import __version__
from chronovisor.errors import ChronovisorError, InvalidInput, NotFound, Problem
from chronovisor.host.api import clock, config, problems, stream, worlds
from chronovisor.host.api.peer import Access, reader
from chronovisor.host.health import Health
from chronovisor.host.visord import Visord

MOST_BODY_BYTES = 16 << 20
"""No setting or document comes near this; what is larger is refused unread."""


def create(visord: Visord, access: Access) -> FastAPI:
    """Return the API of one visord."""
    app = FastAPI(
        title="Chronovisor",
        version=__version__,
        summary="What a Chronovisor host is, does and is told to do.",
        docs_url=None,  # those pages load scripts from elsewhere; /openapi.json is what counts
        redoc_url=None,
        dependencies=[Depends(reader), Depends(_body_is_bounded)],
    )
    app.state.visord = visord
    app.state.access = access
    app.add_exception_handler(ChronovisorError, _problem)
    app.add_exception_handler(RequestValidationError, _malformed)
    app.add_exception_handler(404, _no_such_path)
    app.add_exception_handler(Exception, _fault)
    for module in (clock, config, worlds):
        app.include_router(module.router)

    @app.get("/v1/health", tags=["host"])
    def health() -> Health:
        """Return whether all is well, and if not, why."""
        return visord.health()

    @app.get("/v1/events", tags=["host"], response_class=StreamingResponse)
    async def events(kind: str = "") -> StreamingResponse:
        """Stream what changes as server-sent events; `kind` is a comma-separated list of prefixes.

        Begins with the event `hello`, after which nothing is missed.
        """
        return stream.respond(visord.events, tuple(filter(None, kind.split(","))))

    @app.get("/metrics", tags=["host"], response_class=PlainTextResponse)
    def metrics() -> PlainTextResponse:
        """Return the metrics in Prometheus' text format."""
        return PlainTextResponse(visord.metrics(), media_type="text/plain; version=0.0.4")

    return app


def _body_is_bounded(request: Request) -> None:
    length = request.headers.get("content-length", "0")
    if not length.isdecimal() or int(length) > MOST_BODY_BYTES:
        raise InvalidInput(f"a request of {length} bytes is refused: {MOST_BODY_BYTES} at most")


def _problem(_: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, ChronovisorError)
    body = problems.document(error)
    return JSONResponse(body, body["status"], media_type=problems.MEDIA_TYPE)


def _malformed(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, RequestValidationError)
    found = [
        Problem(".".join(str(part) for part in item["loc"]), item["msg"]) for item in error.errors()
    ]
    return _problem(request, InvalidInput("the request is not well-formed", found))


def _no_such_path(request: Request, error: Exception) -> JSONResponse:
    return _problem(request, NotFound(f"visord has nothing at {request.url.path}: {error}"))


def _fault(request: Request, error: Exception) -> JSONResponse:
    text = f"visord has a fault: {type(error).__name__}: {error}"
    return _problem(request, ChronovisorError(text, hint="its log has the details; please report"))
