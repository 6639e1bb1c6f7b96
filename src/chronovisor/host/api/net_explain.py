"""`/v1/net/explain` and `/v1/net/trace`: why something is not reached, and what packets meet."""

from typing import Annotated

from fastapi import APIRouter, Query, Request
from pydantic import BaseModel

from chronovisor.errors import InvalidInput, Problem
from chronovisor.host.api.context import visord_of
from chronovisor.net.explain import Finding, Question, Service
from chronovisor.net.settings import IpProtocol

router = APIRouter(prefix="/v1/net", tags=["net"])

_HIGHEST_PORT = 65535

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
