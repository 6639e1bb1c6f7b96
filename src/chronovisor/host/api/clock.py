"""`/v1/clock`: how this host keeps time, what would change it, and the trx.conf file."""

from asyncio import to_thread
from typing import Annotated, Any

from fastapi import APIRouter, Body, Depends, Query, Request
from fastapi.responses import PlainTextResponse
from pydantic import BaseModel

from chronovisor.clock.plan import Action
from chronovisor.clock.settings import SystemTime
from chronovisor.clock.status import ClockStatus
from chronovisor.host.api.config import with_fields
from chronovisor.host.api.context import visord_of
from chronovisor.host.api.peer import Peer, writer
from chronovisor.host.api.shapes import CommitShape, commit_shape

router = APIRouter(prefix="/v1/clock", tags=["clock"])

FileName = Annotated[str, Query(max_length=255)]

Writer = Annotated[Peer, Depends(writer)]


class ActionShape(BaseModel):
    """One step of a plan: what it does, to what effect, and why."""

    kind: str
    action: str
    reason: str


class ProposalShape(BaseModel):
    """Settings to plan for: a whole value, or fields to change in the one that is stored."""

    value: dict[str, Any] | None = None
    fields: dict[str, Any] | None = None


class CheckShape(BaseModel):
    """The answer to a trx.conf that has no errors."""

    options: int


@router.get("/status")
async def status(request: Request) -> ClockStatus:
    """Return all that is known of the clock now."""
    return visord_of(request).clock.status()


@router.get("/settings")
def settings(request: Request) -> SystemTime:
    """Return the time settings that hold: defaults, store and trx.conf together."""
    return visord_of(request).system_time.effective()


@router.get("/plan")
async def drift(request: Request) -> list[ActionShape]:
    """Return what differs now from the settings that hold, as the actions that would mend it."""
    return [_shape(action) for action in await visord_of(request).clock.plan()]


@router.post("/plan")
async def plan(request: Request, body: Annotated[ProposalShape, Body()]) -> list[ActionShape]:
    """Return what a change of the settings would do, without changing anything."""
    visord = visord_of(request)
    value = body.value
    if value is None:
        value = with_fields(visord.system_time.stored(), body.fields or {})
    proposed = visord.feasible(value)
    return [_shape(action) for action in await visord.clock.plan(proposed)]


def _shape(action: Action) -> ActionShape:
    return ActionShape(kind=type(action).__name__, action=str(action), reason=action.reason)


@router.post("/trx-conf/check")
async def check(request: Request, name: FileName = "trx.conf") -> CheckShape:
    """Judge a trx.conf (the request's body); every error has its line and column.

    `name` is what errors call the file.
    """
    body = await request.body()
    # In a thread: a file full of errors takes seconds
    file = await to_thread(visord_of(request).system_time.check, body, name)
    return CheckShape(options=len(file.entries))


@router.post("/trx-conf/import")
async def import_trx_conf(
    request: Request, peer: Writer, comment: str = "", name: FileName = "trx.conf"
) -> CommitShape:
    """Move the options of a trx.conf (the request's body) into the store."""
    body = await request.body()
    visord = visord_of(request)
    commit = await to_thread(
        visord.system_time.import_file, body, name, author=str(peer), comment=comment
    )
    return commit_shape(visord.store.masked(commit))


@router.get("/trx-conf", response_class=PlainTextResponse)
async def export(request: Request) -> PlainTextResponse:
    """Return the passthrough options that hold now as a trx.conf."""
    return PlainTextResponse(visord_of(request).system_time.export())
