"""Labs of a test's own, always removed, and with nothing left of them."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest

from labs import Lab, short_directory

NewLab = Callable[[str | None], Lab]


@pytest.fixture
def new_lab() -> Iterator[NewLab]:
    """Return what makes another lab, not yet up."""
    with short_directory() as directory, ExitStack() as cleanup:

        def make(name: str | None) -> Lab:
            lab = Lab(directory / "labs", name)
            cleanup.callback(lab.remove)
            return lab

        yield make


@pytest.fixture
def lab(new_lab: NewLab) -> Lab:
    """Return a lab that is not yet up."""
    return new_lab(None)
