"""The FastAPI application: subjects, who may call them, and errors as problem documents."""

from fastapi import Depends, FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import PlainTextResponse, StreamingResponse
from starlette.exceptions import HTTPException

from chronovisor import __version__
from chronovisor.errors import ChronovisorError, InvalidInput, NotFound, Problem
from chronovisor.host.api import (
    clock,
    clock_profiles,
    config,
    crx,
    devices,
    net,
    net_explain,
    problems,
    stream,
    worlds,
)
from chronovisor.host.api.bodies import BoundedBodies
from chronovisor.host.api.peer import Access, reader
from chronovisor.host.health import Health
from chronovisor.host.visord import Visord


def create(visord: Visord, access: Access) -> FastAPI:
    """Return the API of one visord."""
    app = FastAPI(
        title="Chronovisor",
        version=__version__,
        summary="What a Chronovisor host is, does and is told to do.",
        docs_url=None,  # those pages load scripts from elsewhere; /openapi.json is what counts
        redoc_url=None,
        dependencies=[Depends(reader)],
    )
    app.state.visord = visord
    app.state.access = access
    app.add_exception_handler(ChronovisorError, _problem)
    app.add_exception_handler(RequestValidationError, _malformed)
    app.add_exception_handler(HTTPException, _refused)
    app.add_exception_handler(Exception, _fault)
    app.add_middleware(BoundedBodies)
    for module in (clock, clock_profiles, config, crx, devices, net, net_explain, worlds):
        app.include_router(module.router)

    @app.get("/v1/health", tags=["host"])
    async def health() -> Health:
        """Return whether all is well, and if not, why."""
        return visord.health()

    @app.get("/v1/events", tags=["host"], response_class=StreamingResponse)
    async def events(kind: str = "") -> StreamingResponse:
        """Stream what changes as server-sent events; `kind` is a comma-separated list of prefixes.

        Begins with the event `hello`, after which nothing is missed.
        """
        return stream.respond(visord.events, tuple(filter(None, kind.split(","))))

    @app.get("/metrics", tags=["host"], response_class=PlainTextResponse)
    async def metrics() -> PlainTextResponse:
        """Return the metrics in Prometheus' text format."""
        return PlainTextResponse(await visord.metrics(), media_type="text/plain; version=0.0.4")

    return app


def _problem(_: Request, error: Exception) -> Response:
    assert isinstance(error, ChronovisorError)
    return problems.response(error)


def _malformed(_: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    found = [
        Problem(".".join(str(part) for part in item["loc"]), item["msg"]) for item in error.errors()
    ]
    return problems.response(InvalidInput("the request is not well-formed", found))


def _refused(request: Request, error: Exception) -> Response:
    """Answer what the framework refused by itself: no such path, wrong method, unreadable body."""
    assert isinstance(error, HTTPException)
    where = f"{request.method} {request.url.path}"
    if error.status_code == 404:
        return problems.response(NotFound(f"visord has nothing at {request.url.path}"))
    refusal = InvalidInput(
        f"{where}: {error.detail}", hint="/openapi.json has all that visord does"
    )
    return problems.response(refusal, error.status_code, error.headers)


def _fault(_: Request, error: Exception) -> Response:
    text = f"visord has a fault: {type(error).__name__}: {error}"
    return problems.response(ChronovisorError(text, hint="its log has the details; please report"))
