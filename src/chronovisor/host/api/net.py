"""`/v1/net`: the VM ports of this host and what it would take to make them right.

Ports, networks and security groups are set through `/v1/config/host/net/…`.
"""

from fastapi import APIRouter, Request
from pydantic import BaseModel

from chronovisor.errors import NotFound
from chronovisor.host.api.context import visord_of
from chronovisor.net.plane import NetPlane
from chronovisor.net.settings import PORTS, Port

router = APIRouter(prefix="/v1/net", tags=["net"])


class PortShape(BaseModel):
    """A port as it is wanted and as it is. `problem` is empty while all is well."""

    id: str
    device: str
    mac: str
    network: str
    addresses: list[str]
    security_groups: list[str]
    enabled: bool
    wired: bool
    problem: str


class StepShape(BaseModel):
    """One step of a plan: which part of the plane would do what, and why."""

    part: str
    action: str
    reason: str


@router.get("/ports")
async def ports(request: Request) -> list[PortShape]:
    """Return every port, also those that are refused or disabled."""
    net = visord_of(request).net
    known = {**net.intent.refused_ports, **net.intent.disabled, **net.intent.ports}
    return [_shape(identifier, known[identifier], net) for identifier in sorted(known)]


@router.get("/ports/{identifier}")
async def port(request: Request, identifier: str) -> PortShape:
    """Return one port."""
    net = visord_of(request).net
    for known in (net.intent.ports, net.intent.disabled, net.intent.refused_ports):
        if identifier in known:
            return _shape(identifier, known[identifier], net)
    raise NotFound(f"there is no port {identifier}", hint="`visorctl net port list` shows them")


def _shape(identifier: str, port: Port, net: NetPlane) -> PortShape:
    state = net.states().get(identifier)
    refused = net.intent.refused.get(f"{PORTS}/{identifier}", ())
    problem = "; ".join(one.message for one in refused) or (state.problem if state else "")
    if not net.enabled:
        problem = problem or "VM networking is disabled on this host"
    return PortShape(
        id=identifier,
        device=port.device,
        mac=port.mac,
        network=port.network,
        addresses=[str(address) for address in port.addresses],
        security_groups=list(port.security_groups),
        enabled=port.enabled,
        wired=bool(state and state.wired and net.enabled),
        problem=problem,
    )


@router.get("/plan")
async def plan(request: Request) -> list[StepShape]:
    """Return what differs now from what is wanted, as the steps that would mend it."""
    return [
        StepShape(part=step.part, action=step.action, reason=step.reason)
        for step in await visord_of(request).net.plan()
    ]
