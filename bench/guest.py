"""A guest with simulated NICs, for the benches that need NIC clocks."""

import sys
from pathlib import Path

from bench import CHECKOUT
from hwsim.build import MODULE, build
from qemu import Machine, debian_kernel


def said_in_guest(program: str, mark: str) -> str:
    """Run a Python module in a guest; return what its line that begins with `mark` says.

    Raises:
        RuntimeError: it failed, or wrote no such line.
    """
    kernel = debian_kernel()
    module = build(kernel).read_bytes()
    with Machine(kernel, root=Path("/"), memory_mib=1536, files={MODULE: module}) as machine:
        path = f"{CHECKOUT / 'src'}:{CHECKOUT}:{CHECKOUT / 'tests'}"
        done = machine.run(
            *(sys.executable, "-m", program),
            env={
                "CHRONOVISOR_HWSIM": f"/run/guest/files/{MODULE}",
                "CHRONOVISOR_SLOWNESS": "10",
                "PYTHONPATH": path,
            },
            cwd=str(CHECKOUT),
            deadline_s=3000.0,
        )
    found = [line for line in done.text.splitlines() if line.startswith(mark)]
    if done.code or not found:
        raise RuntimeError(f"the guest ended with {done.code}:\n{done.text[-3000:]}")
    return found[0].removeprefix(mark)
