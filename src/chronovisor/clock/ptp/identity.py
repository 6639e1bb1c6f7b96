"""Clock and port identities (IEEE 1588-2019 clauses 5.3.4 and 5.3.5)."""

from typing import NamedTuple, Self

from chronovisor.errors import InvalidInput


class ClockIdentity(bytes):
    """Eight octets that name a clock; written `8a30ac.fffe.a7ddaf` as linuxptp writes it."""

    __slots__ = ()

    @classmethod
    def from_text(cls, text: str) -> Self:
        """Read `8a30ac.fffe.a7ddaf`, with or without the dots; raises `InvalidInput`."""
        try:
            octets = bytes.fromhex(text.replace(".", ""))
        except ValueError:
            octets = b""
        if len(octets) != 8:
            raise InvalidInput(
                f"{text!r} is not a clock identity", hint="write it like 8a30ac.fffe.a7ddaf"
            )
        return cls(octets)

    def __str__(self) -> str:
        digits = self.hex()
        return f"{digits[:6]}.{digits[6:10]}.{digits[10:]}"

    def __repr__(self) -> str:
        return f"ClockIdentity({str(self)!r})"


class PortIdentity(NamedTuple):
    """A port of a clock; written `8a30ac.fffe.a7ddaf-1`. Port 0 is no PTP port of the clock."""

    clock_identity: ClockIdentity
    port_number: int

    @classmethod
    def from_text(cls, text: str) -> Self:
        """Read `8a30ac.fffe.a7ddaf-1`; raises `InvalidInput`."""
        clock, _, port = text.rpartition("-")
        if not port.isdecimal() or int(port) > 0xFFFF:
            raise InvalidInput(
                f"{text!r} is not a port identity", hint="write it like 8a30ac.fffe.a7ddaf-1"
            )
        return cls(ClockIdentity.from_text(clock), int(port))

    def __str__(self) -> str:
        return f"{self.clock_identity}-{self.port_number}"


ALL_CLOCKS = ClockIdentity(b"\xff" * 8)
"""Addresses every clock (IEEE 1588-2019 clause 15.3.2)."""

ALL_PORTS = 0xFFFF
"""Addresses every port of a clock (IEEE 1588-2019 clause 15.3.2)."""
