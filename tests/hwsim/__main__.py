"""Boots a guest with simulated NICs and runs pytest in it: `python -m hwsim [PYTEST ARGUMENTS]`."""

import os
import sys
from pathlib import Path

from hwsim.build import MODULE, build
from qemu import Machine, debian_kernel

CHECKOUT = Path(__file__).parents[2]
IN_GUEST = "CHRONOVISOR_HWSIM"
"""Environment variable that names the module's file; set in the guest alone."""

MEMORY_MIB = 2048
SLOWNESS = 10
"""How many times longer programs may take under TCG; tests/visords.py stretches its deadlines."""

DEADLINE_S = 3600.0


def main(arguments: list[str]) -> int:
    """Return pytest's exit code."""
    kernel = debian_kernel()
    module = build(kernel).read_bytes()
    where = () if any(word.startswith("tests/") for word in arguments) else ("tests/hwsim",)
    with Machine(kernel, root=Path("/"), memory_mib=MEMORY_MIB, files={MODULE: module}) as machine:
        print(f"hwsim: guest with kernel {kernel.release} is up", flush=True)
        done = machine.run(
            *(sys.executable, "-m", "pytest", "-p", "no:cacheprovider", *where, *arguments),
            env={
                "PATH": os.environ["PATH"],
                IN_GUEST: f"/run/guest/files/{MODULE}",
                "CHRONOVISOR_SLOWNESS": str(SLOWNESS),
                "PYTHONPATH": f"{CHECKOUT / 'src'}:{CHECKOUT / 'tests'}",  # not what is installed
            },
            cwd=str(CHECKOUT),
            deadline_s=DEADLINE_S,
            told=_show,
        )
        if done.code > 1:
            print(machine.console.read_text(errors="replace")[-3000:])
    return done.code


def _show(said: bytes) -> None:
    sys.stdout.buffer.write(said)
    sys.stdout.buffer.flush()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
