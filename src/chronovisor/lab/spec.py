"""What a lab is made of, as its operator asked for it."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum

from pydantic import TypeAdapter, ValidationError

from chronovisor.errors import InvalidInput, Problem

NAME = re.compile(r"[a-z][a-z0-9-]*\Z")
LONGEST_NAME = 24  # sockets lie below the lab's directory, and sun_path holds 107 bytes (unix(7))
MOST_HOSTS = 64
MOST_GRANDMASTERS = 8


class Transport(StrEnum):
    """What carries PTP messages in the lab (ptp4l `network_transport`)."""

    UDP_IPV4 = "UDPv4"
    UDP_IPV6 = "UDPv6"
    ETHERNET = "L2"


class Rates(StrEnum):
    """How often PTP messages are sent.

    `fast` gives the first offset after 2.4 s instead of 14 s (measured, ptp4l 3.1.1).
    """

    FAST = "fast"
    DEFAULT = "default"


FAST_OPTIONS: dict[str, int] = {
    "logSyncInterval": -3,
    "logMinDelayReqInterval": -3,
    "logMinPdelayReqInterval": -3,
    "logAnnounceInterval": -2,
}
"""ptp4l's options at fast rates, as logarithms of seconds to the base of 2."""


@dataclass(frozen=True, slots=True)
class LabSpec:
    """A lab as it was asked for; `started` has the numbers of the grandmasters that begin up.

    Raises `InvalidInput` with every problem at once.
    """

    name: str = "lab"
    hosts: int = 1
    grandmasters: int = 2
    started: tuple[int, ...] = (1,)
    rates: Rates = Rates.FAST
    transport: Transport = Transport.UDP_IPV4
    domain: int = 0

    def __post_init__(self) -> None:
        """Refuse what cannot be built."""
        problems = [*_problems(self)]
        if problems:
            raise InvalidInput("such a lab cannot be built", problems)

    def to_json(self) -> dict[str, object]:
        """Return the spec as a JSON object."""
        document = _ADAPTER.dump_python(self, mode="json")
        assert isinstance(document, dict)
        return document

    @classmethod
    def from_json(cls, document: object) -> "LabSpec":
        """Return the spec that `to_json` made `document` of; raise `InvalidInput` if none did."""
        try:
            return _ADAPTER.validate_python(document)
        except ValidationError as error:
            raise InvalidInput(f"not the record of a lab: {error}") from None


def check_name(name: str) -> None:
    """Raise `InvalidInput` if no lab can have this name."""
    problems = [*_name_problems(name)]
    if problems:
        raise InvalidInput("a lab cannot have this name", problems)


def _name_problems(name: str) -> Iterator[Problem]:
    if not NAME.match(name) or len(name) > LONGEST_NAME:
        valid = f"1 to {LONGEST_NAME} of a-z, 0-9 and -, beginning with a letter"
        yield Problem("name", f"{name!r} is not a lab's name", name, valid)


def _problems(spec: LabSpec) -> Iterator[Problem]:
    yield from _name_problems(spec.name)
    for where, value, low, high in (
        ("hosts", spec.hosts, 0, MOST_HOSTS),
        ("grandmasters", spec.grandmasters, 0, MOST_GRANDMASTERS),
        ("domain", spec.domain, 0, 127),  # IEEE 1588-2019 table 2
    ):
        if not low <= value <= high:
            yield Problem(where, f"{value} is out of range", str(value), f"{low} to {high}")
    for number in spec.started:
        if not 1 <= number <= spec.grandmasters:
            valid = f"1 to {spec.grandmasters}" if spec.grandmasters > 0 else ""
            yield Problem(
                "start_grandmaster", f"there is no grandmaster {number}", str(number), valid
            )


_ADAPTER = TypeAdapter(LabSpec)
