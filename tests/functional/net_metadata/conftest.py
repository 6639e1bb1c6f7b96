"""A host with two VMs and the proxy on it."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from metadata_guests import port
from metadata_sites import Site


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    """A host with VMs 10 and 20 and the proxy serving both."""
    # pytest's directories are root's alone; the proxy, which is nobody, must get to its own.
    for path in (tmp_path, *tmp_path.parents):
        if path == Path("/") or path.stat().st_uid != os.getuid() or path.name == "tmp":
            break
        path.chmod(path.stat().st_mode | 0o011)
    here = Site(tmp_path / "metadata")
    try:
        for number in (10, 20):
            here.add_vm(number)
        here.want(port(10), port(20))
        here.start()
        for number in (10, 20):
            here.until_listens(number)
        yield here
    finally:
        here.close()
