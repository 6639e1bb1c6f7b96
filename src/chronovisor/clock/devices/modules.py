"""Kernel modules of NICs that have no driver, loaded by modprobe(8)."""

import shutil
import subprocess
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from chronovisor.clock.devices import pci
from chronovisor.clock.devices.listing import DeviceList
from chronovisor.clock.devices.pci import PciFunction

LOADED_S = 60.0
"""How long a module may take; drivers of NICs wait for firmware."""

Modprobe = Callable[[str], str]


@dataclass(frozen=True, slots=True)
class Loaded:
    """What came of loading the module of one NIC; `problem` is empty when it has a driver now."""

    pci_address: str
    model: str
    module: str
    problem: str = ""


def load(
    listed: DeviceList,
    functions: Callable[[], Iterable[PciFunction]] = pci.network_functions,
    modprobe: Modprobe | None = None,
) -> list[Loaded]:
    """Load the modules of listed NICs without a driver, each module once."""
    modprobe = modprobe or run_modprobe
    lacking = [one for one in functions() if not one.driver and listed.kind(one.identity)]
    problems: dict[str, str] = {}
    for function in lacking:
        module = _module(function, listed)
        if module not in problems:
            problems[module] = modprobe(module)
    bound = {one.address: one.driver for one in functions()}
    return [
        Loaded(
            one.address,
            _model(one, listed),
            _module(one, listed),
            _outcome(problems[_module(one, listed)], bound.get(one.address, "")),
        )
        for one in lacking
    ]


def _outcome(problem: str, driver: str) -> str:
    if problem or driver:
        return problem
    return "the module is loaded, but does not take this device; the kernel's log says why"


def _module(function: PciFunction, listed: DeviceList) -> str:
    driver = listed.driver(function.identity)
    return driver.module if driver else ""


def _model(function: PciFunction, listed: DeviceList) -> str:
    kind = listed.kind(function.identity)
    return kind.name if kind else ""


def run_modprobe(module: str) -> str:
    """Load a module; return what is wrong, empty when it is loaded."""
    program = shutil.which("modprobe", path="/usr/sbin:/sbin:/usr/bin:/bin")
    if program is None:
        return f"cannot load {module}: there is no modprobe here; install kmod"
    try:
        done = subprocess.run(
            [program, "--", module],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=LOADED_S,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return f"cannot load {module}: {error}"
    if done.returncode == 0:
        return ""
    said = done.stderr.strip().splitlines()
    why = said[-1].removeprefix("modprobe: ") if said else f"exit code {done.returncode}"
    return f"cannot load {module}: {why}; install the kernel package that has it"
