"""QEMU guests of a test's own, under TCG: real kernels where this machine's cannot do the work.

    from qemu import Machine, debian_kernel

    with Machine(debian_kernel(), root=Path("/")) as machine:
        print(machine.check("uname", "-r").text)

`kernels` fetches a Debian kernel, its modules and headers without installing them; `initramfs`
makes what starts the guest; `machine` runs QEMU and commands inside the guest. CONTRIBUTING.md
shows how to use them.
"""

from qemu.kernels import Kernel, cache, debian_kernel
from qemu.machine import Finished, Machine, MachineError, Nic

__all__ = ["Finished", "Kernel", "Machine", "MachineError", "Nic", "cache", "debian_kernel"]
