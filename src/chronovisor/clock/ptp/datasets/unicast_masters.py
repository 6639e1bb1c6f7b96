"""UNICAST_MASTER_TABLE_NP: the masters a unicast port asks (linuxptp since 4.0)."""

from dataclasses import dataclass
from struct import Struct
from typing import Any, Self

from chronovisor.clock.ptp.datasets.data_set import DataSet, Scope, wire
from chronovisor.clock.ptp.identity import ClockIdentity, PortIdentity
from chronovisor.clock.ptp.primitives import ClockQuality, Cursor, PortAddress
from chronovisor.clock.ptp.vocabulary import ClockAccuracy, ManagementId, UnicastState

_COUNT = Struct(">H")
_HEAD = Struct(">8sHBBHBBBB")


@dataclass(frozen=True, slots=True)
class UnicastMaster:
    """One master of the table; identity and quality are zeros until it has announced itself."""

    port_identity: PortIdentity
    clock_quality: ClockQuality
    selected: bool
    state: UnicastState
    priority1: int
    priority2: int
    address: PortAddress

    @classmethod
    def read(cls, cursor: Cursor) -> Self:
        """Return the next master of a table; raises `ProtocolError`."""
        raw: tuple[Any, ...] = cursor.fields(_HEAD)
        clock, port, level, accuracy, variance, selected, state, priority1, priority2 = raw
        return cls(
            PortIdentity(ClockIdentity(clock), port),
            ClockQuality(level, ClockAccuracy(accuracy), variance),
            selected != 0,
            UnicastState(state),
            priority1,
            priority2,
            cursor.port_address(),
        )

    def pack(self) -> bytes:
        """Return the octets on the wire."""
        quality = self.clock_quality
        head = _HEAD.pack(
            *self.port_identity,
            quality.clock_class,
            quality.clock_accuracy,
            quality.offset_scaled_log_variance,
            self.selected,
            self.state,
            self.priority1,
            self.priority2,
        )
        return head + self.address.pack()


@wire(ManagementId.UNICAST_MASTER_TABLE_NP, Scope.PORT)
@dataclass(frozen=True, slots=True)
class UnicastMasterTableNp(DataSet):
    """The masters a port asks; empty on a port that is no unicast client."""

    masters: tuple[UnicastMaster, ...]

    @classmethod
    def unpack(cls, data: bytes) -> Self:
        """Return the data set in a dataField; raises `ProtocolError`."""
        cursor = Cursor(data)
        return cls(tuple(UnicastMaster.read(cursor) for _ in range(cursor.uint16())))

    def pack(self) -> bytes:
        """Return the dataField."""
        return _COUNT.pack(len(self.masters)) + b"".join(m.pack() for m in self.masters)
