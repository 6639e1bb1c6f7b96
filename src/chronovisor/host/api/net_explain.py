"""`/v1/net/explain` and `/v1/net/trace`: why something is not reached, and what packets meet."""

import json
from collections.abc import AsyncIterator
from dataclasses import asdict
from typing import Annotated

from fastapi import APIRouter, Depends, Query, Request
from fastapi.responses import StreamingResponse
from pydantic import BaseModel

from chronovisor.errors import ChronovisorError, InvalidInput, Problem
from chronovisor.host.api import problems
from chronovisor.host.api.context import visord_of
from chronovisor.host.api.peer import Peer, writer
from chronovisor.net.explain import Finding, Path, Question, Service, resolve
from chronovisor.net.settings import IpProtocol
from chronovisor.net.trace import Selection, Trace

router = APIRouter(prefix="/v1/net", tags=["net"])

_HIGHEST_PORT = 65535

Writer = Annotated[Peer, Depends(writer)]
ToQuery = Annotated[str, Query(alias="to", description="An address, or the id of a port.")]
FromQuery = Annotated[
    str, Query(alias="from", description="Where from: likewise. Without it, this host.")
]
ServiceQuery = Annotated[str, Query(description="`icmp`, or protocol and port, as `tcp/443`.")]


class FindingShape(BaseModel):
    """One link of the path: `ok`, `broken` or `unknown`, with evidence and what to do."""

    link: str
    end: str
    condition: str
    evidence: str
    way_out: str


class ExplanationShape(BaseModel):
    """A path link by link, in the order of its packets; `broken` is the first broken link."""

    question: str
    broken: FindingShape | None
    findings: list[FindingShape]


@router.get("/explain")
async def explain(
    request: Request, to: ToQuery, source: FromQuery = "", service: ServiceQuery = ""
) -> ExplanationShape:
    """Return how each link of the path to an address or port is, and the first broken one.

    The VMs at its ends are asked who they are by one frame each; nothing else is touched.
    """
    question = Question(to, source, service_of(service))
    found = await visord_of(request).net.explain(question)
    first = found.first_broken
    return ExplanationShape(
        question=found.question,
        broken=_shape(first) if first else None,
        findings=[_shape(one) for one in found.findings],
    )


@router.get("/trace", response_class=StreamingResponse)
async def trace(
    request: Request,
    _: Writer,
    to: ToQuery,
    source: FromQuery = "",
    service: ServiceQuery = "",
    count: Annotated[int, Query(ge=1, le=1000, description="How many packets at most.")] = 20,
    duration_s: Annotated[float, Query(gt=0, le=3600, description="For how long.")] = 30.0,
) -> StreamingResponse:
    """Stream what live packets meet in nftables, as server-sent events.

    Begins with the event `hello`, from which on packets are followed; a `step` for each rule that
    a packet meets; `end` when all have passed or time is up.
    """
    intent = visord_of(request).net.intent
    path = resolve(Question(to, source, service_of(service)), intent)
    followed = Trace(_selection(path, count))  # an error is a problem document still
    return StreamingResponse(_steps(followed, duration_s), media_type="text/event-stream")


async def _steps(followed: Trace, duration_s: float) -> AsyncIterator[str]:
    with followed:
        yield _event("hello", {})
        try:
            async for step in followed.steps(duration_s):
                yield _event("step", asdict(step))
        except ChronovisorError as error:
            yield _event("problem", problems.document(error))
        yield _event("end", {})


def _event(kind: str, data: dict[str, object]) -> str:
    return f"event: {kind}\ndata: {json.dumps(data)}\n\n"


def _selection(path: Path, count: int) -> Selection:
    """Return which packets a path is of. Raises `InvalidInput` for a port without addresses."""
    target, source, service = path.target, path.source, path.service
    if target.address is None:
        problem = Problem("to", f"port {target.port} has no address", target.text)
        raise InvalidInput(str(problem), [problem])
    return Selection(
        target.address,
        source.address if source else None,
        service.protocol if service else None,
        service.port if service else 0,
        count,
    )


def service_of(text: str) -> Service | None:
    """Return the service that a text names; None for an empty one. Raises `InvalidInput`."""
    if not text:
        return None
    word, _, number = text.partition("/")
    known = {one.value: one for one in IpProtocol}
    if word in known and word != IpProtocol.ICMP.value:
        if number.isdecimal() and 1 <= int(number) <= _HIGHEST_PORT:
            return Service(known[word], int(number))
    elif text == IpProtocol.ICMP.value:
        return Service(IpProtocol.ICMP)
    problem = Problem("service", "is no service", text, "icmp, tcp/443, udp/53, sctp/2905")
    raise InvalidInput(str(problem), [problem])


def _shape(one: Finding) -> FindingShape:
    return FindingShape(
        link=one.link,
        end=one.end,
        condition=one.condition.value,
        evidence=one.evidence,
        way_out=one.way_out,
    )
