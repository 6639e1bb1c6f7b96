"""`/v1/crx`: the worlds that are containers.

There is nothing here that runs a command in one: visord starts what its settings say and nothing
that a client sends. `exec_prefix` tells a client on this host, with the rights for it, how to.
"""

from fastapi import APIRouter, Request

from chronovisor.host.api.context import visord_of
from chronovisor.worlds import ContainerReport

router = APIRouter(prefix="/v1/crx", tags=["crx"])


@router.get("")
async def list_containers(request: Request) -> list[ContainerReport]:
    """Return every world that is a container."""
    return visord_of(request).supervisor.containers()


@router.get("/{name}")
async def inspect(request: Request, name: str) -> ContainerReport:
    """Return one container: what was asked for, and what the kernel says holds."""
    return visord_of(request).supervisor.container(name)
