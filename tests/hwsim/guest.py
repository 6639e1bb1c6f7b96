"""The guest with simulated NICs, and Python programs of this checkout in it."""

import contextlib
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

from hwsim.build import MODULE, build
from qemu import Finished, Machine, debian_kernel

CHECKOUT = Path(__file__).parents[2]
MEMORY_MIB = 2048
SLOWNESS = 10
"""How many times longer programs may take under TCG; tests/visords.py stretches its deadlines."""

DEADLINE_S = 3600.0


@contextlib.contextmanager
def booted() -> Iterator[Machine]:
    """Build the module and boot a guest that has it, and this machine's files."""
    kernel = debian_kernel()
    module = build(kernel).read_bytes()
    with Machine(kernel, root=Path("/"), memory_mib=MEMORY_MIB, files={MODULE: module}) as machine:
        yield machine


def python(
    machine: Machine, *words: str, told: Callable[[bytes], object] | None = None
) -> Finished:
    """Run Python in the guest, in this checkout and with its code; `told` gets its output."""
    places = (CHECKOUT / "src", CHECKOUT / "tests", CHECKOUT)  # not what is installed
    return machine.run(
        *(sys.executable, *words),
        env={
            "PATH": os.environ["PATH"],
            "CHRONOVISOR_HWSIM": f"/run/guest/files/{MODULE}",
            "CHRONOVISOR_SLOWNESS": str(SLOWNESS),
            "PYTHONPATH": ":".join(map(str, places)),
        },
        cwd=str(CHECKOUT),
        deadline_s=DEADLINE_S,
        told=told,
    )
