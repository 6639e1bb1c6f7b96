"""`/v1/worlds`: the processes that visord supervises."""

import contextlib
import json
from collections.abc import AsyncIterator
from typing import Annotated

import structlog
from fastapi import APIRouter, Depends, Query, Request
from fastapi.responses import StreamingResponse

from chronovisor.host.api.context import visord_of
from chronovisor.host.api.peer import Peer, writer
from chronovisor.worlds import LogLine, World

router = APIRouter(prefix="/v1/worlds", tags=["worlds"])

log = structlog.get_logger()

Lines = Annotated[int, Query(ge=0, le=100_000)]


@router.get("")
async def list_worlds(request: Request) -> list[World]:
    """Return every world."""
    return visord_of(request).supervisor.worlds()


@router.get("/{name}")
async def show(request: Request, name: str) -> World:
    """Return one world."""
    return visord_of(request).supervisor.get(name)


@router.get("/{name}/log")
async def log_lines(request: Request, name: str, lines: Lines = 50) -> list[str]:
    """Return the newest lines that a world wrote, oldest first."""
    return [str(line) for line in visord_of(request).supervisor.log_lines(name, lines)]


@router.get("/{name}/log/follow", response_class=StreamingResponse)
async def follow(request: Request, name: str, lines: Lines = 50) -> StreamingResponse:
    """Stream what a world writes as server-sent events `line`, beginning with the newest lines."""
    supervisor = visord_of(request).supervisor
    past = supervisor.log_lines(name, lines)
    coming = supervisor.watch_log(name)

    async def stream() -> AsyncIterator[str]:
        with contextlib.closing(coming):
            for line in past:
                yield _event(line)
            async for line in coming:
                yield _event(line)

    return StreamingResponse(stream(), media_type="text/event-stream")


def _event(line: LogLine) -> str:
    return f"event: line\ndata: {json.dumps({'text': str(line)})}\n\n"


@router.post("/{name}/restart")
async def restart(request: Request, name: str, peer: Annotated[Peer, Depends(writer)]) -> World:
    """End a world's process and start it anew; a failed world is tried again."""
    supervisor = visord_of(request).supervisor
    log.info("world restarted", name=name, by=str(peer))
    return await supervisor.restart(name)
