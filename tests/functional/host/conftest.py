"""visords for the tests: one of a worker that all may ask, and ones of a test's own."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from chronovisor.cli.client import Client
from visords import KEY, Visord, short_directory, until, visord_in


@pytest.fixture
def base() -> Iterator[Path]:
    """Return an empty directory with a short path."""
    with short_directory() as path:
        yield path


@pytest.fixture
def visord(base: Path) -> Iterator[Visord]:
    """Return a visord of the test's own that is not yet started."""
    with visord_in(base) as visord:
        yield visord


@pytest.fixture(scope="session")
def _worker_visord() -> Iterator[Visord]:
    with short_directory() as path, visord_in(path) as visord:
        yield visord.start()


@pytest.fixture
def shared(_worker_visord: Visord) -> Visord:
    """Return a running visord without settings that other tests use as well, one at a time."""
    client = _worker_visord.client
    with_file = _worker_visord.trx_conf.exists()
    _worker_visord.trx_conf.unlink(missing_ok=True)
    if client.get("/v1/config/trial") is not None:
        client.call("POST", "/v1/config/trial/abandon")
    if client.get("/v1/config"):
        client.call("DELETE", KEY)
    if with_file:
        until("the file is forgotten", lambda: not _worker_visord.do("clock", "trx-conf", "export"))
    until("no world runs", lambda: not _running(client))
    return _worker_visord


def _running(client: Client) -> list[str]:
    return [world["name"] for world in client.get("/v1/worlds") if world["pid"] is not None]
