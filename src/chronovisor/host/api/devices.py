"""`/v1/clock/devices`: the NICs of this host, their modules, and preflights of them."""

from asyncio import to_thread
from typing import Annotated, Any

from fastapi import APIRouter, Body, Depends, Request
from fastapi import Path as PathParameter
from pydantic import BaseModel, Field

from chronovisor.clock.devices import modules
from chronovisor.clock.devices.inventory import Nic, inventory
from chronovisor.clock.settings import PATH
from chronovisor.config import Change, KeyPath
from chronovisor.errors import Conflict, InvalidInput
from chronovisor.host.api.config import with_fields
from chronovisor.host.api.context import visord_of
from chronovisor.host.api.peer import Peer, writer
from chronovisor.host.api.shapes import CommitShape, commit_shape
from chronovisor.host.preflights import COUNT_MAX, LISTEN_MAX_S, Orders
from chronovisor.host.visord import Visord

router = APIRouter(prefix="/v1/clock/devices", tags=["clock"])

Writer = Annotated[Peer, Depends(writer)]
DeviceName = Annotated[str, PathParameter(max_length=15, pattern=r"^[^\s/]+$")]


class OrdersShape(BaseModel):
    """How a preflight is run.

    `force` exercises a NIC that ptp4l or the host's own management uses, and disturbs it.
    """

    count: Annotated[int, Field(ge=1, le=COUNT_MAX, description="Messages to send")] = 100
    listen_s: Annotated[float, Field(ge=0, le=LISTEN_MAX_S, description="Seconds to listen")] = 5.0
    force: bool = False


class StartedShape(BaseModel):
    """A preflight that was begun; its progress and outcome come as events of this kind."""

    device: str
    events: str


class LoadedShape(BaseModel):
    """What came of loading the module of a NIC without a driver; `problem` is empty if all well."""

    pci_address: str
    model: str
    module: str
    problem: str


@router.get("")
async def devices(request: Request) -> list[Nic]:
    """Return every NIC of this host's network namespace, and PCI ones without a device in it."""
    return await to_thread(inventory, visord_of(request).device_list.listed)


@router.post("/load")
async def load(request: Request, _: Writer) -> list[LoadedShape]:
    """Load the kernel modules of listed NICs that have no driver."""
    done = await to_thread(modules.load, visord_of(request).device_list.listed)
    return [
        LoadedShape(
            pci_address=one.pci_address, model=one.model, module=one.module, problem=one.problem
        )
        for one in done
    ]


@router.post("/{device}/preflight", status_code=202)
async def preflight(
    request: Request, device: DeviceName, _: Writer, body: Annotated[OrdersShape, Body()]
) -> StartedShape:
    """Begin to exercise a NIC; a NIC that the running clock uses is refused unless forced."""
    visord = visord_of(request)
    if not body.force:
        _refuse_the_clocks_own(visord, device)
    visord.preflights.start(device, Orders(body.count, body.listen_s, body.force))
    return StartedShape(device=device, events="clock.preflight")


def _refuse_the_clocks_own(visord: Visord, device: str) -> None:
    if device in visord.ptp_devices():
        raise Conflict(
            f"{device}: the clock of this host uses it, and a preflight would disturb that",
            hint="disable the clock for the time, or use --force",
        )


@router.get("/{device}/preflight")
async def outcome(request: Request, device: DeviceName) -> dict[str, Any]:
    """Return the report of the last preflight of a NIC since visord started."""
    return visord_of(request).preflights.outcome(device)


@router.post("/{device}/preflight/apply")
async def apply(request: Request, device: DeviceName, peer: Writer) -> CommitShape | None:
    """Write what the last preflight of a NIC found into the settings; null if nothing changes.

    An option that is set already is raised, never lowered: other ports may need it so.
    """
    visord = visord_of(request)
    report = visord.preflights.outcome(device)
    if not report["options"]:
        text = f"{device}: the preflight found nothing to set: {report['verdict']}"
        raise InvalidInput(text, hint=f"`visorctl clock preflight {device}` shows why")
    return await to_thread(_applied, visord, report, peer)


def _applied(visord: Visord, report: dict[str, Any], peer: Peer) -> CommitShape | None:
    path = KeyPath.parse(PATH)
    entry = visord.store.get(path)
    value = visord.system_time.stored()
    now = value.get("options", {}).get("ptp4l", {})
    wanted = {
        f"options.ptp4l.{name}": least
        for name, least in report["options"].items()
        if _number(now.get(name)) < least
    }
    if not wanted:
        return None
    value = with_fields(value, wanted)
    visord.refuse_impossible(path, value)
    change = Change(path, value, entry.revision if entry else 0)
    comment = f"preflight of {report['device']}"
    return commit_shape(
        visord.store.masked(visord.store.commit([change], author=str(peer), comment=comment))
    )


def _number(value: object) -> int:
    try:
        return int(str(value), 0)
    except ValueError:  # none is set
        return -1
