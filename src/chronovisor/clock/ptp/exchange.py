"""Requests under way: which replies are awaited, and what has come of them."""

import asyncio
from collections.abc import Callable
from typing import Any, Generic, TypeVar

from chronovisor.clock.ptp.datasets import DataSet, DefaultDataSet, Scope
from chronovisor.clock.ptp.datasets.data_set import encode
from chronovisor.clock.ptp.identity import ALL_CLOCKS, ALL_PORTS, ClockIdentity, PortIdentity
from chronovisor.clock.ptp.management import ErrorStatus, ManagementMessage
from chronovisor.clock.ptp.vocabulary import ManagementAction
from chronovisor.errors import ProtocolError

# Where the sequenceId stands in the common header (IEEE 1588-2019 table 35).
_SEQUENCE_START = 30
_SEQUENCE_END = 32
# Enough for what does not change of a clock with many ports; what changes comes and goes.
_MOST_KNOWN = 256

DataSetT = TypeVar("DataSetT", bound=DataSet)


class Request(Generic[DataSetT]):
    """One request and the replies to it, by port number."""

    __slots__ = ("_head", "_known", "_tail", "action", "error", "kind", "port", "values")

    def __init__(
        self,
        kind: type[DataSetT],
        source: PortIdentity,
        *,
        action: ManagementAction = ManagementAction.GET,
        value: DataSet | None = None,
        port: int = ALL_PORTS,
        domain_number: int = 0,
        transport_specific: int = 0,
    ) -> None:
        packet = ManagementMessage(
            action,
            kind.management_id,
            b"" if value is None else encode(value),
            source,
            PortIdentity(ALL_CLOCKS, port),
            0,
            domain_number,
            transport_specific << 8,
        ).pack()
        self.kind = kind
        self.action = action
        self.port = port
        self._head = packet[:_SEQUENCE_START]
        self._tail = packet[_SEQUENCE_END:]
        self._known: dict[bytes, tuple[PortIdentity, DataSetT]] = {}
        self.values: dict[int, tuple[PortIdentity, DataSetT]] = {}
        self.error: ErrorStatus | None = None

    def again(self) -> "Request[DataSetT]":
        """Return the same request without replies; what it has decoded once it knows again."""
        twin: Request[DataSetT] = Request.__new__(Request)
        twin.kind, twin.action, twin.port = self.kind, self.action, self.port
        twin._head, twin._tail, twin._known = self._head, self._tail, self._known
        twin.values = {}
        twin.error = None
        return twin

    def packet(self, key: bytes) -> bytes:
        """Return the datagram to send; `key` is its sequenceId, two octets."""
        return self._head + key + self._tail

    def recall(self, data: bytes) -> bool:
        """Take a reply that has come before but for its sequenceId; say whether it has.

        Most of a status stays as it was, and to compare costs a tenth of checking and decoding.
        """
        known = self._known.get(data[:_SEQUENCE_START] + data[_SEQUENCE_END:])
        if known is None:
            return False
        self.values[known[0].port_number] = known
        return True

    def accept(self, message: ManagementMessage, data: bytes) -> None:
        """Take a reply; raises `ProtocolError` for one that does not answer this request."""
        if message.management_id != self.kind.management_id:
            raise ProtocolError(
                f"answers 0x{message.management_id:04x}, not {self.kind.management_id.name}"
            )
        wanted = _REPLY_TO[self.action]
        if message.action is not wanted:
            raise ProtocolError(f"action {message.action.name}, not {wanted.name}")
        if isinstance(message.body, ErrorStatus):
            self.error = message.body
            return
        port = message.source.port_number
        if self.kind.scope is Scope.PORT and (port == 0 or self.port not in (port, ALL_PORTS)):
            raise ProtocolError(f"answers for port {port}")
        value = message.source, self.kind.unpack(message.body)
        self.values[port] = value
        if len(self._known) >= _MOST_KNOWN:
            self._known.clear()
        self._known[data[:_SEQUENCE_START] + data[_SEQUENCE_END:]] = value


_REPLY_TO = {
    ManagementAction.GET: ManagementAction.RESPONSE,
    ManagementAction.SET: ManagementAction.RESPONSE,
    ManagementAction.COMMAND: ManagementAction.ACKNOWLEDGE,
}


class Batch:
    """Requests sent together, by sequenceId; `done` is set when nothing is missing.

    Of a request to all ports as many replies are missing as the clock has ports, which the reply
    to DEFAULT_DATA_SET in the same batch says.
    """

    __slots__ = ("_clock", "_number_ports", "done", "missing", "requests")

    def __init__(self, requests: dict[bytes, Request[Any]], done: "asyncio.Future[None]") -> None:
        self.requests = requests
        self.done = done
        self.missing = set(requests)
        self._clock: ClockIdentity | None = None
        self._number_ports: int | None = None

    def accept(self, key: bytes, data: bytes, check: Callable[[ManagementMessage], None]) -> None:
        """Take a reply; raises `ProtocolError` for one that is not awaited.

        `check` judges the message; one that is known already has been judged.
        """
        request = self.requests[key]
        if not request.recall(data):
            message = ManagementMessage.unpack(data)
            check(message)
            clock = message.source.clock_identity
            if self._clock is not None and clock != self._clock:
                raise ProtocolError(f"comes from clock {clock}; {self._clock} was asked")
            request.accept(message, data)
            self._clock = clock
        if request.kind is DefaultDataSet and request.values:
            ((_, default),) = request.values.values()
            self._number_ports = default.number_ports
            for other in self.missing - {key}:
                self._settle(other)
        self._settle(key)
        if not self.missing and not self.done.done():
            self.done.set_result(None)

    def _settle(self, key: bytes) -> None:
        request = self.requests[key]
        if request.error is None:
            if request.kind.scope is Scope.PORT and request.port == ALL_PORTS:
                if self._number_ports is None or len(request.values) < self._number_ports:
                    return
            elif not request.values:
                return
        self.missing.discard(key)

    def unanswered(self) -> str:
        """Return the names of what has not been answered in full."""
        return ", ".join(
            request.kind.management_id.name
            for key, request in self.requests.items()
            if key in self.missing
        )
