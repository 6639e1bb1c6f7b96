"""What every management data set has: an id, a layout, `pack`, `unpack`; and their registry.

A data set of fixed layout names its `struct` format in `@wire` and, where a field is more than a
number, overrides `from_wire` and `to_wire`. One of variable layout overrides `pack` and `unpack`.
A reply may be longer than the layout (a newer release has grown it): the rest is ignored. A
shorter one is a `ProtocolError`.
"""

from collections.abc import Callable
from enum import Enum
from struct import Struct, error
from typing import Any, ClassVar, Self, TypeVar

from chronovisor.clock.ptp.vocabulary import ManagementId
from chronovisor.errors import InvalidInput, ProtocolError

Raw = tuple[Any, ...]
"""What a `struct` layout yields: ints and bytes in the order of the layout."""

REGISTRY: dict[int, type["DataSet"]] = {}
"""Every data set by its management id."""


class Scope(Enum):
    """Whom a data set describes, and so who answers for it (IEEE 1588-2019 table 59)."""

    CLOCK = "clock"
    PORT = "port"


class DataSet:
    """The dataField of one management TLV (IEEE 1588-2019 clause 15.5.3)."""

    __slots__: tuple[str, ...] = ()

    management_id: ClassVar[ManagementId]
    scope: ClassVar[Scope]
    layout: ClassVar[Struct]

    @classmethod
    def from_wire(cls, raw: Raw) -> Self:
        """Return the data set of the fields of its layout; raises `ProtocolError`."""
        return cls(*raw)

    def to_wire(self) -> Raw:
        """Return the fields of the layout."""
        return tuple(getattr(self, name) for name in self.__slots__)

    @classmethod
    def unpack(cls, data: bytes) -> Self:
        """Return the data set in a dataField; raises `ProtocolError`."""
        layout = cls.layout
        if len(data) < layout.size:
            raise ProtocolError(
                f"{cls.management_id.name}: truncated, {len(data)} of {layout.size} octets"
            )
        return cls.from_wire(layout.unpack_from(data))

    def pack(self) -> bytes:
        """Return the dataField; `encode` is the way to call it with values from outside."""
        return self.layout.pack(*self.to_wire())


def encode(value: DataSet) -> bytes:
    """Return the dataField, even as clause 14.1 asks; raises `InvalidInput` if it does not fit."""
    try:
        data = value.pack()
    except (error, OverflowError) as reason:
        raise InvalidInput(f"{value!r} does not fit its message: {reason}") from reason
    return data + b"\0" if len(data) % 2 else data


DataSetT = TypeVar("DataSetT", bound=DataSet)


def wire(
    management_id: ManagementId, scope: Scope, layout: str = ">"
) -> Callable[[type[DataSetT]], type[DataSetT]]:
    """Give a data set its id and layout and enter it in the registry.

    Stands above `@dataclass(slots=True)`, which makes a class anew and would lose both.
    """

    def register(kind: type[DataSetT]) -> type[DataSetT]:
        kind.management_id = management_id
        kind.scope = scope
        kind.layout = Struct(layout)
        REGISTRY[management_id] = kind
        return kind

    return register


class _Named(dict[int, Any]):
    """Members of an enumeration by value; quicker than calling it for every message."""

    def __init__(self, kind: type[Enum]) -> None:
        super().__init__((member.value, member) for member in kind)
        self._kind = kind

    def __missing__(self, value: int) -> Any:
        try:
            member = self[value] = self._kind(value)
        except ValueError as reason:
            raise ProtocolError(f"{value} is no {self._kind.__name__}") from reason
        return member


_EnumT = TypeVar("_EnumT", bound=Enum)


def named(kind: type[_EnumT]) -> dict[int, _EnumT]:
    """Return the members of an enumeration by value; one that has none is a `ProtocolError`."""
    return _Named(kind)
