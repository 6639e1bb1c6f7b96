"""The management message and its two TLVs (IEEE 1588-2019 clauses 15.4 and 15.5).

`ManagementMessage.unpack` runs for each notification, so it reads header, body and TLV head with
one precompiled layout and makes plain tuples.
"""

from struct import Struct
from typing import NamedTuple, Self

from chronovisor.clock.ptp.header import VERSION_PTP
from chronovisor.clock.ptp.identity import ClockIdentity, PortIdentity
from chronovisor.clock.ptp.primitives import Cursor, pack_text
from chronovisor.clock.ptp.vocabulary import (
    ManagementAction,
    ManagementError,
    ManagementId,
    MessageType,
    TlvType,
)
from chronovisor.errors import ProtocolError

# Common header, clause 13.3.1: messageType, version, length, domain, minorSdoId, (flags,
# correction, 4 reserved), source, sequenceId, controlField, logMessageInterval; then clause 15.4.1:
# target, startingBoundaryHops, boundaryHops, actionField, reserved; then clause 14.1: tlvType,
# lengthField, managementId (or managementErrorId).
_LAYOUT = Struct(">BBHBB2x8x4x8sHHBb8sHBBBxHHH")
_TLV_START = 48  # clause 15.4.1, table 56
_DATA_START = _TLV_START + 6
_CONTROL_MANAGEMENT = 4  # table 42
_NO_INTERVAL = 0x7F  # clause 13.3.2.14
_ACTIONS = tuple(ManagementAction)
_ERROR_REST = Struct(">H4x")


class ErrorStatus(NamedTuple):
    """The refusal of a request (MANAGEMENT_ERROR_STATUS TLV, clause 15.5.4)."""

    error: ManagementError
    management_id: int
    display: str = ""

    @classmethod
    def read(cls, error: int, data: bytes) -> Self:
        """Return the refusal from the TLV's first number and the octets behind it."""
        if len(data) < _ERROR_REST.size:
            raise ProtocolError(f"MANAGEMENT_ERROR_STATUS: truncated, {len(data) + 2} octets")
        (management_id,) = _ERROR_REST.unpack_from(data)
        rest = data[_ERROR_REST.size :]
        return cls(ManagementError(error), management_id, Cursor(rest).text() if rest else "")

    def pack(self) -> bytes:
        """Return the octets behind the TLV's first number."""
        text = pack_text(self.display) if self.display else b""
        return _ERROR_REST.pack(self.management_id) + text + b"\0" * (len(text) % 2)


class ManagementMessage(NamedTuple):
    """One request or reply. `body` is the dataField of the TLV, or the refusal in its place."""

    action: ManagementAction
    management_id: int
    body: bytes | ErrorStatus
    source: PortIdentity
    target: PortIdentity
    sequence_id: int
    domain_number: int = 0
    sdo_id: int = 0
    minor_version: int = 0
    starting_boundary_hops: int = 0
    boundary_hops: int = 0

    @classmethod
    def unpack(cls, data: bytes) -> Self:
        """Return the message; raises `ProtocolError`. TLVs behind the first one are ignored."""
        if len(data) < _DATA_START:
            raise ProtocolError(f"truncated: {len(data)} octets are no management message")
        (
            first,
            version,
            length,
            domain,
            sdo,
            source,
            source_port,
            sequence_id,
            _,
            _,
            target,
            target_port,
            starting_hops,
            hops,
            action,
            tlv_type,
            tlv_length,
            number,
        ) = _LAYOUT.unpack_from(data)
        if first & 0xF != MessageType.MANAGEMENT:  # table 36
            raise ProtocolError(f"messageType {first & 0xF} is not Management")
        if version & 0xF != VERSION_PTP:  # clause 13.3.2.4
            raise ProtocolError(f"PTP version {version & 0xF}; 2 is spoken here")
        if length > len(data):  # clause 13.3.2.6
            raise ProtocolError(f"truncated: messageLength {length}, {len(data)} octets received")
        end = _TLV_START + 4 + tlv_length
        if end > length:
            raise ProtocolError(f"truncated: the TLV ends at {end}, the message at {length}")
        if tlv_length < 2 or tlv_length % 2:  # clause 14.1: even; an id is in each
            raise ProtocolError(f"lengthField {tlv_length} of a management TLV")
        if action & 0xF >= len(_ACTIONS):  # table 57
            raise ProtocolError(f"actionField {action & 0xF} is reserved")
        body: bytes | ErrorStatus = data[_DATA_START:end]
        if tlv_type == TlvType.MANAGEMENT_ERROR_STATUS:
            body = ErrorStatus.read(number, data[_DATA_START:end])
            number = body.management_id
        elif tlv_type != TlvType.MANAGEMENT:
            raise ProtocolError(f"tlvType 0x{tlv_type:04x} is no management TLV")
        return cls(
            _ACTIONS[action & 0xF],
            number,
            body,
            PortIdentity(ClockIdentity(source), source_port),
            PortIdentity(ClockIdentity(target), target_port),
            sequence_id,
            domain,
            (first & 0xF0) << 4 | sdo,
            version >> 4,
            starting_hops,
            hops,
        )

    def pack(self) -> bytes:
        """Return the message; `body` must have an even number of octets (clause 14.1)."""
        if isinstance(self.body, ErrorStatus):
            kind, number, body = (
                TlvType.MANAGEMENT_ERROR_STATUS,
                int(self.body.error),
                self.body.pack(),
            )
        else:
            kind, number, body = TlvType.MANAGEMENT, self.management_id, self.body
        head = _LAYOUT.pack(
            self.sdo_id >> 4 & 0xF0 | MessageType.MANAGEMENT,
            self.minor_version << 4 | VERSION_PTP,
            _DATA_START + len(body),
            self.domain_number,
            self.sdo_id & 0xFF,
            *self.source,
            self.sequence_id,
            _CONTROL_MANAGEMENT,
            _NO_INTERVAL,
            *self.target,
            self.starting_boundary_hops,
            self.boundary_hops,
            self.action,
            kind,
            2 + len(body),
            number,
        )
        return head + body


def describe(management_id: int) -> str:
    """Return the name of a management id for people."""
    return ManagementId(management_id).name
