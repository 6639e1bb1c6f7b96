"""The simulated network cards: made anew for each test, and told what to do while it runs.

Ports are cabled in pairs: 0 to 1, 2 to 3. `simulated` loads the module with what they are; the
attributes of a `Port` are files of the module, each of which may be written at any time.
"""

import contextlib
import functools
import itertools
import os
import shlex
import socket
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

CONTROL = Path("/sys/kernel/debug/hwsim")
DOMAIN = 1
LINES = 25
"""Lines of a process's log that a failed test shows."""

OWN = -2
"""A port with a clock of its own, which no other has."""


@dataclass(frozen=True, slots=True)
class Nic:
    """What a port is. Ids default to an Intel I210, which has one port and one clock.

    `phc` numbers the clock; ports of one number share it; None: no hardware stamps. `slot` and
    `function` are its PCI address 0001:00:<slot>.<function>; `vf_of` is the number of the port
    whose virtual function it is.
    """

    error_ppb: int = 0
    phc: int | None = OWN
    driver: str = "igb"
    firmware: str = "3.16, 0x800004ff"
    vendor: int = 0x8086
    device: int = 0x1533
    subsystem_vendor: int = 0x8086
    subsystem_device: int = 0x0001
    slot: int | None = None
    function: int = 0
    vf_of: int | None = None


@dataclass(frozen=True, slots=True)
class Port:
    """One end of a cable, whether its device is plugged in or not."""

    number: int
    nic: Nic
    phc_number: int | None

    @property
    def name(self) -> str:
        """The network device."""
        return f"hw{self.number}"

    @property
    def pci_address(self) -> str:
        """Where sysfs has it below /sys/bus/pci/devices."""
        slot = self.number + 1 if self.nic.slot is None else self.nic.slot
        return f"{DOMAIN:04x}:00:{slot:02x}.{self.nic.function}"

    @property
    def pci(self) -> Path:
        """Its PCI device in sysfs."""
        return Path("/sys/bus/pci/devices") / self.pci_address

    @property
    def clock(self) -> str:
        """Its clock's name, `ptp0`, while it is plugged in."""
        assert self.phc_number is not None, f"{self.name} has no clock"
        return (CONTROL / f"phc{self.phc_number}" / "name").read_text().strip()

    def do(
        self,
        *,
        delay_ns: int | None = None,
        delay_variation_ns: int | None = None,
        tx_stamp_lost_every: int | None = None,
        tx_stamp_late_ns: int | None = None,
        rx_stamp_lost_every: int | None = None,
        packet_lost_every: int | None = None,
        cable: bool | None = None,
    ) -> None:
        """Change how it behaves from now on; what is None stays.

        Delays are those of what this port sends; the variation is added, evenly distributed.
        `…_every` n loses every n-th, 0 none. Late stamps come that much after transmission.
        Pulling the cable takes the carrier of both ends.
        """
        given = {name: value for name, value in locals().items() if name != "self"}
        for name, value in given.items():
            if value is not None:
                (CONTROL / f"port{self.number}" / name).write_text(f"{int(value)}\n")

    def set_error_ppb(self, error_ppb: int) -> None:
        """Make its clock's oscillator wrong by this much."""
        (CONTROL / f"phc{self.phc_number}" / "error_ppb").write_text(f"{error_ppb}\n")

    def unplug(self) -> None:
        """Remove the device from its bus, as hot-unplugging does."""
        (self.pci / "remove").write_text("1\n")

    def replug(self) -> None:
        """Bring all removed devices back, with clocks that start anew."""
        Path("/sys/bus/pci/rescan").write_text("1\n")


def parameters(nics: tuple[Nic, ...]) -> list[str]:
    """Return the module's parameters."""
    clocks = phc_numbers(nics)
    errors = [0] * (max((c for c in clocks if c is not None), default=0) + 1)
    for clock, nic in zip(clocks, nics, strict=True):
        if clock is not None:
            errors[clock] = errors[clock] or nic.error_ppb
    devfn = [(n + 1 if c.slot is None else c.slot) << 3 | c.function for n, c in enumerate(nics)]
    lists = {
        "phc": [-1 if clock is None else clock for clock in clocks],
        "error_ppb": errors,
        "devfn": devfn,
        "vf_of": [-1 if nic.vf_of is None else nic.vf_of for nic in nics],
    }
    for name in ("vendor", "device", "subsystem_vendor", "subsystem_device", "driver"):
        lists[name] = [getattr(nic, name) for nic in nics]
    words = [f"{name}={','.join(map(str, values))}" for name, values in lists.items()]
    # A comma separates values, and spaces need quotes of the kernel's own.
    versions = ",".join(nic.firmware.replace(",", "") for nic in nics)
    return [f"ports={len(nics)}", *words, f'firmware="{versions}"']


def phc_numbers(nics: tuple[Nic, ...]) -> list[int | None]:
    """Return the number of each port's clock; one of its own gets what nobody asked for."""
    asked = {nic.phc for nic in nics}
    free = (number for number in itertools.count() if number not in asked)
    return [next(free) if nic.phc == OWN else nic.phc for nic in nics]


_SO_TIMESTAMP = 29
"""socket(7); Python knows no name for it."""


@functools.cache
def _stamping_stays_on() -> socket.socket:
    """Return a socket that has received packets stamped for as long as this process lives.

    The kernel turns that on with the first socket that asks for it and off with the last, and QEMU
    may panic the guest over that: CONTRIBUTING.md, "Guests of QEMU".
    """
    asking = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    asking.setsockopt(socket.SOL_SOCKET, _SO_TIMESTAMP, 1)
    return asking


@contextlib.contextmanager
def simulated(*nics: Nic) -> Iterator[list[Port]]:
    """Make ports that are what `nics` say, two for each cable, and take them away in the end."""
    _stamping_stays_on()
    module = os.environ["CHRONOVISOR_HWSIM"]
    subprocess.run(["insmod", module, *parameters(nics)], check=True)
    try:
        yield [
            Port(number, nic, clock)
            for number, (nic, clock) in enumerate(zip(nics, phc_numbers(nics), strict=True))
        ]
    finally:
        _unload()


def _unload() -> None:
    """Unload the module; a process that has just ended may hold a clock for a moment longer."""
    deadline = time.monotonic() + 10
    while (done := subprocess.run(["rmmod", "hwsim"], capture_output=True, text=True)).returncode:
        assert time.monotonic() < deadline, done.stderr
        time.sleep(0.05)


@dataclass(slots=True)
class Namespace:
    """A network namespace with the ports that were moved into it, each up with its addresses."""

    name: str
    processes: list["subprocess.Popen[bytes]"] = field(default_factory=list)
    logs: dict[Path, str] = field(default_factory=dict)

    def argv(self, *words: str) -> list[str]:
        """Return a command that runs inside; /sys and its cgroups stay those of all."""
        return ["nsenter", f"--net=/run/netns/{self.name}", "--", *words]

    def take(self, port: Port, *addresses: str) -> None:
        """Move a port in, give it addresses and bring it up."""
        run("ip", "link", "set", port.name, "netns", self.name)
        for address in addresses:
            run("ip", "-n", self.name, "address", "add", address, "dev", port.name, "nodad")
        run("ip", "-n", self.name, "link", "set", port.name, "up")

    def start(self, *words: str, log: Path) -> "subprocess.Popen[bytes]":
        """Start a process inside that ends with the test at the latest."""
        with log.open("ab") as file:
            process = subprocess.Popen(
                self.argv(*words), stdin=subprocess.DEVNULL, stdout=file, stderr=file
            )
        self.processes.append(process)
        self.logs[log] = shlex.join(words)
        return process

    def remove(self) -> None:
        """End its processes and give its devices back to where they came from.

        What the processes said last is printed, and so shown where a test fails.
        """
        for log, words in self.logs.items():
            print(f"--- {words}", *log.read_text(errors="replace").splitlines()[-LINES:], sep="\n")
        for process in self.processes:
            process.kill()
            process.wait()
        run("ip", "netns", "delete", self.name)


def run(*words: str) -> str:
    """Run a command that has to succeed; return its output."""
    done = subprocess.run(words, stdin=subprocess.DEVNULL, capture_output=True, text=True)
    assert done.returncode == 0, f"{' '.join(words)}: exit code {done.returncode}\n{done.stderr}"
    return done.stdout


@contextlib.contextmanager
def new_namespace(name: str) -> Iterator[Namespace]:
    """Make a network namespace, and take it away with its processes in the end."""
    made = Namespace(name)
    run("ip", "netns", "add", name)
    try:
        run("ip", "-n", name, "link", "set", "lo", "up")
        yield made
    finally:
        made.remove()
