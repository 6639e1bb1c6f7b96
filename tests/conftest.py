"""What every tier shares."""

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings

# How long an example takes is the machine's business: tests assert no times.
settings.register_profile("untimed", deadline=None)
settings.load_profile("untimed")


@pytest.hookimpl(optionalhook=True)  # guests run tests without xdist
def pytest_xdist_auto_num_workers() -> int:
    """Return the workers of `-n auto`: more than processors, for tests wait more than they work."""
    return (os.cpu_count() or 1) * 3 // 2


@pytest.fixture
def tmp_path() -> Iterator[Path]:
    """Return a directory of the test's own with a short name.

    Unix sockets lie below it, and their paths hold 107 bytes (unix(7)); pytest's own directories
    take most of that, above all with several workers.
    """
    directory = Path(tempfile.mkdtemp(prefix="cv-"))
    yield directory
    shutil.rmtree(directory, ignore_errors=True)
