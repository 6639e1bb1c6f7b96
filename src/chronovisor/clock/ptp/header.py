"""The header every PTP message begins with (IEEE 1588-2019 clause 13.3)."""

from struct import Struct
from typing import NamedTuple, Self

from chronovisor.clock.ptp.identity import ClockIdentity, PortIdentity
from chronovisor.clock.ptp.primitives import NS_PER_TIME_INTERVAL, time_interval
from chronovisor.clock.ptp.vocabulary import MessageType
from chronovisor.errors import ProtocolError

LAYOUT = Struct(">BBHBBHqI8sHHBb")

VERSION_PTP = 2
"""versionPTP of IEEE 1588-2008 and 2019 alike; they differ in minorVersionPTP."""

CONTROL = {
    MessageType.SYNC: 0,
    MessageType.DELAY_REQ: 1,
    MessageType.FOLLOW_UP: 2,
    MessageType.DELAY_RESP: 3,
    MessageType.MANAGEMENT: 4,
}
"""controlField by messageType, 5 for all others (table 42)."""


class Header(NamedTuple):
    """The common header. A NamedTuple: one is made for each message received.

    `sdo_id` has 12 bits; its upper four are what linuxptp calls transportSpecific. `flags` is the
    flagField as a big-endian number.
    """

    message_type: MessageType
    length: int
    domain_number: int
    source: PortIdentity
    sequence_id: int
    sdo_id: int = 0
    minor_version: int = 0
    flags: int = 0
    correction_ns: float = 0.0
    log_message_interval: int = 0x7F

    @classmethod
    def unpack(cls, data: bytes) -> Self:
        """Return the header of a message; raises `ProtocolError`.

        `length` is checked: the message has at least that many octets, and at most as many count.
        """
        if len(data) < LAYOUT.size:
            raise ProtocolError(f"truncated: {len(data)} octets are no PTP header")
        first, second, length, domain, sdo, flags, correction, _, clock, port, seq, _, interval = (
            LAYOUT.unpack_from(data)
        )
        if second & 0xF != VERSION_PTP:  # clause 13.3.2.4
            raise ProtocolError(f"PTP version {second & 0xF}; 2 is spoken here")
        if not LAYOUT.size <= length <= len(data):  # clause 13.3.2.6
            raise ProtocolError(f"truncated: messageLength {length}, {len(data)} octets received")
        try:
            message_type = MessageType(first & 0xF)
        except ValueError as reason:
            raise ProtocolError(f"messageType {first & 0xF} is reserved") from reason
        return cls(
            message_type,
            length,
            domain,
            PortIdentity(ClockIdentity(clock), port),
            seq,
            (first & 0xF0) << 4 | sdo,
            second >> 4,
            flags,
            correction * NS_PER_TIME_INTERVAL,
            interval,
        )

    def pack(self) -> bytes:
        """Return the 34 octets on the wire."""
        return LAYOUT.pack(
            self.sdo_id >> 4 & 0xF0 | self.message_type,
            self.minor_version << 4 | VERSION_PTP,
            self.length,
            self.domain_number,
            self.sdo_id & 0xFF,
            self.flags,
            time_interval(self.correction_ns),
            0,
            *self.source,
            self.sequence_id,
            CONTROL.get(self.message_type, 5),
            self.log_message_interval,
        )
