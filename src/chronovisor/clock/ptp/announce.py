"""The Announce message (IEEE 1588-2019 clause 13.5)."""

from dataclasses import dataclass
from struct import Struct
from typing import Self

from chronovisor.clock.ptp.header import Header
from chronovisor.clock.ptp.identity import ClockIdentity
from chronovisor.clock.ptp.primitives import ClockQuality
from chronovisor.clock.ptp.vocabulary import ClockAccuracy, MessageType, TimeSource
from chronovisor.errors import ProtocolError

# originTimestamp (10), currentUtcOffset, reserved, grandmasterPriority1, quality,
# grandmasterPriority2, grandmasterIdentity, stepsRemoved, timeSource
_BODY = Struct(">10xhxBBBHB8sHB")
_BODY_START = 34  # behind the common header
LENGTH = _BODY_START + _BODY.size
"""Octets of an Announce without TLVs: 64 (table 43)."""


@dataclass(frozen=True, slots=True)
class Announce:
    """What a port says of its grandmaster."""

    header: Header
    current_utc_offset_s: int
    grandmaster_priority1: int
    grandmaster_clock_quality: ClockQuality
    grandmaster_priority2: int
    grandmaster_identity: ClockIdentity
    steps_removed: int
    time_source: TimeSource

    @classmethod
    def unpack(cls, data: bytes) -> Self:
        """Return the message, its TLVs left aside; raises `ProtocolError`."""
        header = Header.unpack(data)
        if header.message_type != MessageType.ANNOUNCE:
            raise ProtocolError(f"messageType {header.message_type.name} is not ANNOUNCE")
        if header.length < LENGTH:
            raise ProtocolError(f"truncated: an Announce of {header.length} octets")
        fields = _BODY.unpack_from(data, _BODY_START)
        offset, priority1, level, accuracy, variance, priority2, identity, steps, source = fields
        return cls(
            header,
            offset,
            priority1,
            ClockQuality(level, ClockAccuracy(accuracy), variance),
            priority2,
            ClockIdentity(identity),
            steps,
            TimeSource(source),
        )

    def pack(self) -> bytes:
        """Return the message without TLVs."""
        quality = self.grandmaster_clock_quality
        return self.header.pack() + _BODY.pack(
            self.current_utc_offset_s,
            self.grandmaster_priority1,
            quality.clock_class,
            quality.clock_accuracy,
            quality.offset_scaled_log_variance,
            self.grandmaster_priority2,
            self.grandmaster_identity,
            self.steps_removed,
            self.time_source,
        )
