"""What the tests in the guest share. Outside a guest nothing here is collected."""

import contextlib
import itertools
import os
import re
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from hwsim.devices import Namespace, Nic, Port, new_namespace, run, simulated

if "CHRONOVISOR_HWSIM" not in os.environ:
    collect_ignore_glob = ["test_*.py"]

Simulate = Callable[..., list[Port]]
MakeNamespace = Callable[[], Namespace]

_COMPLAINT = re.compile(r"BUG:|WARNING:|Call Trace|refcount_t|Oops")


@pytest.fixture(autouse=True)
def a_content_kernel() -> Iterator[None]:
    """Fail a test at whose end the kernel complains."""
    subprocess.run(["dmesg", "--clear"], check=True)
    yield
    said = run("dmesg")
    assert not _COMPLAINT.search(said), said


@pytest.fixture(autouse=True)
def a_free_system_clock() -> None:
    """Begin each test with a system clock that no test before it steers."""
    run("phc_ctl", "CLOCK_REALTIME", "freq", "0")


@pytest.fixture
def simulate() -> Iterator[Simulate]:
    """Return what makes the test's cards, called once: `hw0, hw1 = simulate(Nic(), Nic())`."""
    with contextlib.ExitStack() as stack:

        def make(*nics: Nic) -> list[Port]:
            return stack.enter_context(simulated(*nics))

        yield make


@pytest.fixture
def namespace(simulate: Simulate, tmp_path: Path) -> Iterator[MakeNamespace]:
    """Return what makes a network namespace of the test's own."""
    del simulate, tmp_path  # asked for so that cards and logs go after the namespaces
    numbers = itertools.count()
    with contextlib.ExitStack() as stack:

        def make() -> Namespace:
            return stack.enter_context(new_namespace(f"hwsim{next(numbers)}"))

        yield make
