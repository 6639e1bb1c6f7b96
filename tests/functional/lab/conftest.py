"""Labs of a test's own, always removed, and with nothing left of them."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from labs import Lab

NewLab = Callable[[str | None], Lab]


@pytest.fixture
def new_lab(tmp_path: Path) -> Iterator[NewLab]:
    """Return what makes another lab, not yet up."""
    made: list[Lab] = []

    def make(name: str | None) -> Lab:
        made.append(Lab(tmp_path / "labs", name))
        return made[-1]

    yield make
    for lab in made:
        lab.remove()


@pytest.fixture
def lab(new_lab: NewLab) -> Lab:
    """Return a lab that is not yet up."""
    return new_lab(None)
