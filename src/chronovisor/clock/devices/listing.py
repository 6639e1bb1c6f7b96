"""The device list: what is known of a kind of NIC beforehand, `VID:DID → driver, module, quirks`.

It is data: `devices.yaml` beside this module, and a file of the operator's in the same format that
adds entries or replaces them. A file is taken whole or not at all, with every problem and its line.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, ValidationError

from chronovisor.config.document import Lines, read_plain
from chronovisor.config.fields import Place, parse_place
from chronovisor.config.problems import problems_of
from chronovisor.config.settings import Settings
from chronovisor.errors import InvalidInput, Problem

FILE = "devices.yaml"
_ID = re.compile(r"[0-9a-f]{4}:[0-9a-f]{4}")
_NAME = r"^[A-Za-z0-9_][A-Za-z0-9_-]{0,63}$"
SIZE_MAX = 1 << 20
"""Most bytes that a list may have; the shipped one has 10,000."""


class Quirk(Settings):
    """Something to know of a driver or device, and where it is known from."""

    text: Annotated[str, Field(min_length=1, max_length=400)]
    source: Annotated[str, Field(min_length=1, max_length=400)]
    options: Annotated[
        dict[str, int], Field(description="ptp4l options that it needs, at least so large")
    ] = {}


class Driver(Settings):
    """What is known of a driver."""

    module: Annotated[str, Field(pattern=_NAME, description="What modprobe loads")]
    time_stamping: Annotated[
        Literal["hardware", "software"], Field(description="What its devices can do at best")
    ]
    mock: Annotated[bool, Field(description="No clock of its own: for trying out")] = False
    lacking: Annotated[
        str, Field(max_length=400, description="Why a device may lack hardware stamps")
    ] = ""
    clock_function: Annotated[
        int | None,
        Field(ge=0, le=7, description="PCI function that a pci_passthru_nic has to be"),
    ] = None
    clock_function_source: Annotated[str, Field(max_length=400)] = ""
    quirks: Annotated[tuple[Quirk, ...], Field(max_length=32)] = ()


class Kind(Settings):
    """What is known of a kind of device."""

    driver: Annotated[str, Field(pattern=_NAME)]
    name: Annotated[str, Field(min_length=1, max_length=100)]
    quirks: Annotated[tuple[Quirk, ...], Field(max_length=32)] = ()


class _Document(Settings):
    chronovisor_devices: Literal[1]
    drivers: dict[str, Driver] = {}
    devices: dict[str, Kind] = {}


@dataclass(frozen=True, slots=True)
class DeviceList:
    """Drivers by name, kinds of devices by `vid:did` in lower case."""

    drivers: Mapping[str, Driver] = field(default_factory=dict)
    kinds: Mapping[str, Kind] = field(default_factory=dict)

    def kind(self, identity: str) -> Kind | None:
        """Return what is known of `vid:did`, None where it is not listed."""
        return self.kinds.get(identity)

    def driver(self, identity: str, name: str = "") -> Driver | None:
        """Return what is known of a device's driver: the listed one, else the one in use."""
        kind = self.kinds.get(identity)
        return self.drivers.get(kind.driver if kind else name)

    def quirks(self, identity: str, name: str = "") -> tuple[Quirk, ...]:
        """Return what is to be known of a device, its driver's quirks first."""
        driver, kind = self.driver(identity, name), self.kind(identity)
        return (*(driver.quirks if driver else ()), *(kind.quirks if kind else ()))


@cache
def shipped() -> DeviceList:
    """Return the list that comes with Chronovisor."""
    text = resources.files(__package__).joinpath(FILE).read_text("utf-8")
    return read(text, DeviceList(), FILE)


def load(path: Path) -> DeviceList:
    """Return the shipped list with an operator's file laid over it, which need not exist.

    Raises `InvalidInput` with every problem of the file.
    """
    try:
        with path.open("rb") as file:
            content = file.read(SIZE_MAX + 1)
    except FileNotFoundError:
        return shipped()
    except OSError as error:
        raise InvalidInput(f"cannot read {path.name}: {error.strerror}") from error
    return read_bytes(content, shipped(), path.name)


def read_bytes(content: bytes, below: DeviceList, name: str) -> DeviceList:
    """Return the list in a file's content, laid over another. Raises `InvalidInput`."""
    if len(content) > SIZE_MAX:
        raise _refused(name, [Problem("", f"has more than {SIZE_MAX} bytes")])
    try:
        text = content.decode()
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise _refused(name, [Problem(f"line {line}", "is no text in UTF-8")]) from error
    return read(text, below, name)


def read(text: str, below: DeviceList, name: str) -> DeviceList:
    """Return the list in a text, laid over another. Raises `InvalidInput`."""
    try:
        value, lines = read_plain(text)
    except InvalidInput as error:
        raise _refused(name, error.problems) from error
    problems = list(_ids(value, lines))
    try:
        document = _Document.model_validate(value)
    except ValidationError as error:
        # The key of a mapping is judged by `_ids`; pydantic has nothing to say of it
        problems += [_with_line(one, lines) for one in problems_of(error, _Document, value)]
        raise _refused(name, problems) from error
    drivers = {**below.drivers, **document.drivers}
    problems += _drivers(document, drivers, lines)
    if problems:
        raise _refused(name, problems)
    kinds = {identity.lower(): kind for identity, kind in document.devices.items()}
    return DeviceList(drivers, {**below.kinds, **kinds})


def _ids(value: Any, lines: Lines) -> Iterator[Problem]:
    devices = value.get("devices") if isinstance(value, dict) else None
    seen: dict[str, str] = {}
    for identity in devices if isinstance(devices, dict) else ():
        where = f"line {lines[('devices', identity)]}"
        if not _ID.fullmatch(identity.lower()):
            yield Problem(where, f"{identity[:40]!r} is no VID:DID", identity, "as in 8086:1593")
        elif first := seen.get(identity.lower()):
            yield Problem(where, f"{identity} and {first} are the same device", identity)
        seen.setdefault(identity.lower(), identity)


def _drivers(document: _Document, drivers: Mapping[str, Driver], lines: Lines) -> Iterator[Problem]:
    for name in document.drivers:
        if not re.match(_NAME, name):
            place = f"line {lines[('drivers', name)]}"
            yield Problem(place, f"{name[:40]!r} is no name of a driver", name)
    for identity, kind in document.devices.items():
        if kind.driver not in drivers:
            line = lines.get(("devices", identity, "driver"), lines[("devices", identity)])
            text = f"{identity}: driver {kind.driver} is not listed"
            valid = ", ".join(sorted(drivers)) or "an entry in drivers"
            yield Problem(f"line {line}", text, kind.driver, valid)


def _with_line(problem: Problem, lines: Lines) -> Problem:
    try:
        place: Place = parse_place(problem.where)
    except InvalidInput:
        place = ()
    while place and place not in lines:
        place = place[:-1]
    where = f"line {lines.get(place, 1)}" + (f": {problem.where}" if problem.where else "")
    return Problem(where, problem.message, problem.value, problem.valid)


def _refused(name: str, problems: Any) -> InvalidInput:
    named = [
        Problem(f"{name}: {one.where}".rstrip(": "), one.message, one.value, one.valid)
        for one in problems
    ]
    count = "1 problem" if len(named) == 1 else f"{len(named)} problems"
    return InvalidInput(f"{name} was refused: {count}: {named[0]}", named)
