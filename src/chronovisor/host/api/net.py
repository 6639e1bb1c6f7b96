"""`/v1/net`: the VM ports of this host and what it would take to make them right.

Ports, networks and security groups are set through `/v1/config/host/net/…`.
"""

from fastapi import APIRouter, Request
from pydantic import BaseModel

from chronovisor.errors import NotFound
from chronovisor.host.api.context import visord_of
from chronovisor.net.figures import PortCondition
from chronovisor.net.intent import Intent
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


class StatusShape(BaseModel):
    """The plane as a whole. `ports` counts them; `problem` is empty while all is well."""

    enabled: bool
    problem: str
    ports: int
    wired: int


@router.get("/status")
async def status(request: Request) -> StatusShape:
    """Return whether this host connects VMs, and how that is."""
    net = visord_of(request).net
    counts = net.conditions()
    return StatusShape(
        enabled=net.enabled,
        problem=net.problem,
        ports=sum(counts.values()),
        wired=counts[PortCondition.WIRED],
    )


@router.get("/ports")
def ports(request: Request) -> list[PortShape]:
    """Return every port, also those that are refused or disabled."""
    net = visord_of(request).net
    intent = net.intent  # in a thread: another one may hold a moment later
    known = _known(intent)
    prefix = f"{PORTS}/"
    unread = {key.removeprefix(prefix) for key in intent.refused if key.startswith(prefix)}
    rows = [_shape(identifier, port, intent, net) for identifier, port in known.items()]
    rows += [_unread(request, identifier) for identifier in unread - known.keys()]
    return sorted(rows, key=lambda one: one.id)


@router.get("/ports/{identifier}")
async def port(request: Request, identifier: str) -> PortShape:
    """Return one port."""
    net = visord_of(request).net
    intent = net.intent
    known = _known(intent)
    if identifier in known:
        return _shape(identifier, known[identifier], intent, net)
    if f"{PORTS}/{identifier}" in intent.refused:
        return _unread(request, identifier)
    raise NotFound(f"there is no port {identifier}", hint="`visorctl net port list` shows them")


def _known(intent: Intent) -> dict[str, Port]:
    return {**intent.refused_ports, **intent.disabled, **intent.ports}


def _unread(request: Request, identifier: str) -> PortShape:
    """Return a port of an older store that is no port by today's schema, as far as it can be read.

    Nothing but text is taken over: what is wrong with it may be anything.
    """
    visord = visord_of(request)
    entry = visord.store.get(f"{PORTS}/{identifier}")
    value = entry.value if entry else {}
    problems = visord.net.intent.refused.get(f"{PORTS}/{identifier}", ())
    return PortShape(
        id=identifier,
        device=_text(value.get("device")),
        mac=_text(value.get("mac")),
        network=_text(value.get("network")),
        addresses=_texts(value.get("addresses")),
        security_groups=_texts(value.get("security_groups")),
        enabled=value.get("enabled") is not False,
        wired=False,
        problem="; ".join(str(one).removeprefix(f"{PORTS}/{identifier}: ") for one in problems),
    )


def _text(found: object) -> str:
    return found if isinstance(found, str) else ""


def _texts(found: object) -> list[str]:
    return [one for one in found if isinstance(one, str)] if isinstance(found, list) else []


def _shape(identifier: str, port: Port, intent: Intent, net: NetPlane) -> PortShape:
    state = net.states().get(identifier)
    refused = intent.refused.get(f"{PORTS}/{identifier}", ())
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
