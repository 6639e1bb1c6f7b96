"""A host of each test's own, whose worlds are in its namespace, as visord's are."""

import itertools
import os
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from chronovisor.net.dhcp.place import Place
from chronovisor.net.dhcp.service import DhcpService
from chronovisor.worlds import Supervisor
from dhcp_guests import Host, entered
from dhcp_site import Site
from labs import short_directory

_numbers = itertools.count()


@pytest.fixture
def directory() -> Iterator[Path]:
    with short_directory() as path:
        yield path


@pytest.fixture
async def site(directory: Path) -> AsyncIterator[Site]:
    with (
        Host(f"d{os.getpid()}-{next(_numbers)}") as host,
        entered(host.namespace),
    ):
        async with Supervisor(directory / "worlds") as supervisor:
            actions: list[str] = []
            at = Place(directory / "dhcp")
            made = DhcpService(at, supervisor, lambda _, event: actions.append(event["action"]))
            yield Site(host, supervisor, made, {}, actions)
            await supervisor.stop_all("end of the test")
