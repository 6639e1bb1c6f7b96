"""CLOCK_DESCRIPTION: what a port is and where it can be reached (IEEE 1588-2019 15.5.3.1.2)."""

from dataclasses import dataclass
from struct import Struct
from typing import Self

from chronovisor.clock.ptp.datasets.data_set import DataSet, Scope, wire
from chronovisor.clock.ptp.primitives import Cursor, PortAddress, pack_octets, pack_text
from chronovisor.clock.ptp.vocabulary import ClockType, ManagementId

_CLOCK_TYPE = Struct(">H")


@wire(ManagementId.CLOCK_DESCRIPTION, Scope.PORT)
@dataclass(frozen=True, slots=True)
class ClockDescription(DataSet):
    """A port's addresses and its maker's words; `profile_identity` has six octets."""

    clock_type: ClockType
    physical_layer_protocol: str
    physical_address: bytes
    protocol_address: PortAddress
    manufacturer_identity: bytes
    product_description: str
    revision_data: str
    user_description: str
    profile_identity: bytes

    @classmethod
    def unpack(cls, data: bytes) -> Self:
        """Return the data set in a dataField; raises `ProtocolError`."""
        cursor = Cursor(data)
        clock_type = ClockType(cursor.uint16())
        layer = cursor.text()
        physical = cursor.octets(cursor.uint16())
        address = cursor.port_address()
        manufacturer = cursor.octets(4)[:3]  # the fourth is reserved
        product, revision, user = cursor.text(), cursor.text(), cursor.text()
        return cls(
            clock_type,
            layer,
            physical,
            address,
            manufacturer,
            product,
            revision,
            user,
            cursor.octets(6),
        )

    def pack(self) -> bytes:
        """Return the dataField."""
        return b"".join(
            (
                _CLOCK_TYPE.pack(self.clock_type),
                pack_text(self.physical_layer_protocol),
                pack_octets(self.physical_address),
                self.protocol_address.pack(),
                self.manufacturer_identity + b"\0",
                pack_text(self.product_description),
                pack_text(self.revision_data),
                pack_text(self.user_description),
                self.profile_identity,
            )
        )
