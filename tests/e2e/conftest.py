"""One lab for all tests of a worker, brought back to the same state before each test."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from chronovisor.clock.settings import SystemTime
from chronovisor.lab.programs import host_settings
from chronovisor.lab.spec import LabSpec
from labs import Host, Lab, short_directory, until

KEY = "/v1/config/host/system/system_time"


@pytest.fixture(scope="session")
def lab(short_directory: Path) -> Iterator[Lab]:
    lab = Lab(short_directory)
    try:
        lab.do("up")
        yield lab
    finally:
        lab.remove()


@pytest.fixture
def host(lab: Lab) -> Host:
    """Return the lab's host with its first settings, tracking gm1 while gm2 is down."""
    host = Host(lab)
    lab.do("up")  # starts what a test before has killed
    lab.do("grandmaster", "gm1", "up")
    lab.do("grandmaster", "gm2", "down")
    lab.do("link", "host1", "up")
    host.trx_conf.unlink(missing_ok=True)
    settings = host_settings(LabSpec(lab.name))
    if host.api.get("/v1/config/trial") is not None:
        host.api.call("POST", "/v1/config/trial/confirm")
    if host.api.get(KEY)["value"] != settings:
        host.api.call("PUT", KEY, settings)
    _settled(host, settings)
    host.until_measured_by("E2E")
    host.until_tracking("02c500.fffe.000001")
    host.until("ptp4l is not just being started anew", lambda now: now["engine"]["pid"])
    return host


def _settled(host: Host, settings: dict[str, Any]) -> None:
    """Wait until these settings hold, and no others of a trx.conf, and nothing is left to do."""
    alone = SystemTime.model_validate(settings).model_dump(mode="json")
    until("they hold alone", lambda: host.api.get("/v1/clock/settings") == alone)
    proposal = {"value": settings}
    until("they are applied", lambda: host.api.call("POST", "/v1/clock/plan", proposal) == [])


@pytest.fixture(scope="session", name="short_directory")
def _short_directory() -> Iterator[Path]:
    with short_directory() as path:
        yield path
