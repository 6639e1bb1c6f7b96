"""PCI devices, read from /sys/bus/pci: that directory is the same in every network namespace.

Sources: the kernel's Documentation/ABI/testing/sysfs-bus-pci; PCI Code and ID Assignment (class 02h
is a network controller).
"""

import re
from dataclasses import dataclass
from pathlib import Path

DEVICES = Path("/sys/bus/pci/devices")
_ADDRESS = re.compile(r"[0-9a-f]{4,8}:[0-9a-f]{2}:[0-9a-f]{2}\.[0-7]")
_NETWORK_CLASS = "0x02"


@dataclass(frozen=True, slots=True)
class PciFunction:
    """One function of a PCI device. Ids are four hexadecimal digits, empty where not told.

    A physical function's `function` is the last digit of its address. `virtual_of` is the address
    of the physical function that a virtual one belongs to, `virtual_number` its number there.
    """

    address: str
    vendor: str = ""
    device: str = ""
    subsystem_vendor: str = ""
    subsystem_device: str = ""
    driver: str = ""
    network: bool = False
    virtual_of: str = ""
    virtual_number: int | None = None

    @property
    def function(self) -> int:
        """Return the function's number within its slot."""
        return int(self.address.rpartition(".")[2], 16)

    @property
    def identity(self) -> str:
        """Return `VID:DID` in lower case."""
        return f"{self.vendor}:{self.device}" if self.vendor else ""


def is_address(text: str) -> bool:
    """Say whether a text has the form of a PCI address with its domain."""
    return _ADDRESS.fullmatch(text) is not None


def function(address: str, devices: Path = DEVICES) -> PciFunction | None:
    """Return a PCI function, None where the kernel knows none of that address."""
    place = devices / address
    if not is_address(address) or not place.is_dir():
        return None
    physical = _target(place / "physfn")
    return PciFunction(
        address,
        vendor=_number(place / "vendor"),
        device=_number(place / "device"),
        subsystem_vendor=_number(place / "subsystem_vendor"),
        subsystem_device=_number(place / "subsystem_device"),
        driver=_target(place / "driver"),
        network=_text(place / "class").startswith(_NETWORK_CLASS),
        virtual_of=physical,
        virtual_number=_virtual_number(devices / physical, address) if physical else None,
    )


def network_functions(devices: Path = DEVICES) -> list[PciFunction]:
    """Return every network controller that the kernel knows, with or without a driver."""
    try:
        addresses = sorted(place.name for place in devices.iterdir())
    except OSError:  # a machine without PCI
        return []
    found = (function(address, devices) for address in addresses)
    return [one for one in found if one is not None and one.network]


def _virtual_number(physical: Path, address: str) -> int | None:
    for link in physical.glob("virtfn*"):
        if _target(link) == address:
            number = link.name.removeprefix("virtfn")
            return int(number) if number.isdecimal() else None
    return None


def _target(link: Path) -> str:
    try:
        return link.readlink().name
    except OSError:
        return ""


def _number(file: Path) -> str:
    text = _text(file)
    return text[2:] if re.fullmatch(r"0x[0-9a-f]{4}", text) else ""


def _text(file: Path) -> str:
    try:
        return file.read_text(encoding="ascii").strip()
    except (OSError, ValueError):  # went away, or is no text
        return ""
