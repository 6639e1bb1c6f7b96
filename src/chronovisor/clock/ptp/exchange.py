"""Requests, and what has come of them: which replies are awaited and which are there.

A status is read often and little of it changes, so this path is lean: the octets of a request are
made once, and a reply that has come before is known by its octets.
"""

import asyncio
from collections.abc import Callable, Sequence
from typing import Any, Generic, TypeVar

from chronovisor.clock.ptp.datasets import DataSet, DefaultDataSet, Scope
from chronovisor.clock.ptp.datasets.data_set import encode
from chronovisor.clock.ptp.identity import ALL_CLOCKS, ALL_PORTS, ClockIdentity, PortIdentity
from chronovisor.clock.ptp.management import ErrorStatus, ManagementMessage
from chronovisor.clock.ptp.vocabulary import ManagementAction
from chronovisor.errors import ProtocolError, ToolFailed

# Where the sequenceId stands in the common header (IEEE 1588-2019 table 35).
SEQUENCE_START = 30
SEQUENCE_END = 32
# Enough for what does not change of a clock with many ports; what changes comes and goes.
_MOST_KNOWN = 256

_REPLY_TO = {
    ManagementAction.GET: ManagementAction.RESPONSE,
    ManagementAction.SET: ManagementAction.RESPONSE,
    ManagementAction.COMMAND: ManagementAction.ACKNOWLEDGE,
}

DataSetT = TypeVar("DataSetT", bound=DataSet)

Value = tuple[int, PortIdentity, DataSetT]
"""A data set with who sent it; the port number once more, for it is asked for most."""


class Request(Generic[DataSetT]):
    """One request, to be sent any number of times."""

    __slots__ = ("action", "head", "kind", "known", "port", "tail", "tells_ports", "to_all_ports")

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
        self.to_all_ports = port == ALL_PORTS and kind.scope is Scope.PORT
        self.tells_ports = kind is DefaultDataSet
        self.head = packet[:SEQUENCE_START]
        self.tail = packet[SEQUENCE_END:]
        self.known: dict[bytes, Value[DataSetT]] = {}

    def decode(self, message: ManagementMessage) -> Value[DataSetT] | ErrorStatus:
        """Return what a reply says; raises `ProtocolError` if it does not answer this request."""
        if message.management_id != self.kind.management_id:
            raise ProtocolError(
                f"answers 0x{message.management_id:04x}, not {self.kind.management_id.name}"
            )
        wanted = _REPLY_TO[self.action]
        if message.action is not wanted:
            raise ProtocolError(f"action {message.action.name}, not {wanted.name}")
        if isinstance(message.body, ErrorStatus):
            return message.body
        port = message.source.port_number
        if self.kind.scope is Scope.PORT and (port == 0 or self.port not in (port, ALL_PORTS)):
            raise ProtocolError(f"answers for port {port}")
        return port, message.source, self.kind.unpack(message.body)

    def remember(self, data: bytes, value: Value[DataSetT]) -> None:
        """Know these octets again, whatever their sequenceId."""
        if len(self.known) >= _MOST_KNOWN:
            self.known.clear()
        self.known[data[:SEQUENCE_START] + data[SEQUENCE_END:]] = value


class Answer(Generic[DataSetT]):
    """The replies to a request, by port number, or its refusal."""

    __slots__ = ("batch", "error", "is_complete", "request", "values")

    def __init__(self, request: Request[DataSetT], batch: "Batch") -> None:
        self.request = request
        self.batch = batch
        self.values: dict[int, Value[DataSetT]] = {}
        self.error: ErrorStatus | None = None
        self.is_complete = False

    @property
    def value(self) -> DataSetT:
        """The data set of a request that has one reply."""
        for value in self.values.values():
            return value[2]
        raise LookupError(f"{self.request.kind.__name__} has not been answered")

    def recall(self, data: bytes) -> bool:
        """Take a reply that has come before but for its sequenceId; say whether it has.

        Equal octets have been judged already. To compare costs a tenth of judging and decoding.
        """
        value = self.request.known.get(data[:SEQUENCE_START] + data[SEQUENCE_END:])
        if value is None:
            return False
        self._add(value)
        return True

    def accept(
        self, data: bytes, message: ManagementMessage, judge: Callable[[ManagementMessage], None]
    ) -> None:
        """Take a reply; raises `ProtocolError` for one that is not the one awaited."""
        judge(message)
        clock, batch = message.source.clock_identity, self.batch
        if batch.clock is not None and clock != batch.clock:
            raise ProtocolError(f"comes from clock {clock}; {batch.clock} was asked")
        value = self.request.decode(message)
        batch.clock = clock
        if isinstance(value, ErrorStatus):
            self.error = value
            self._complete()
        else:
            self.request.remember(data, value)
            self._add(value)

    def _add(self, value: Value[DataSetT]) -> None:
        self.values[value[0]] = value
        request, batch = self.request, self.batch
        if request.to_all_ports:
            ports = batch.number_ports
            if ports is None or len(self.values) < ports:
                return
        elif request.tells_ports:
            batch.tell_ports(value[2].number_ports)  # type: ignore[attr-defined]  # DefaultDataSet
        self._complete()

    def _complete(self) -> None:
        if not self.is_complete:
            self.is_complete = True
            self.batch.complete_one()

    def complete_with(self, number_ports: int) -> None:
        """Count again, now that the number of ports is known."""
        if self.request.to_all_ports and len(self.values) >= number_ports:
            self._complete()


class Batch:
    """Answers to requests that were sent together; `missing` of them are not complete.

    A request to all ports has as many replies as the clock has ports, which the reply to
    DEFAULT_DATA_SET in the same batch says.
    """

    __slots__ = ("_done", "answers", "clock", "missing", "number_ports")

    def __init__(self, requests: Sequence[Request[Any]]) -> None:
        self.answers = [Answer(request, self) for request in requests]
        self.missing = len(requests)
        self.clock: ClockIdentity | None = None
        self.number_ports: int | None = None
        self._done: asyncio.Future[None] | None = None

    def tell_ports(self, number_ports: int) -> None:
        """Learn how many ports there are; some may have replied before."""
        if self.number_ports is None:
            self.number_ports = number_ports
            for answer in self.answers:
                if answer.values:
                    answer.complete_with(number_ports)

    def complete_one(self) -> None:
        """Count an answer as complete."""
        self.missing -= 1
        if not self.missing and self._done is not None and not self._done.done():
            self._done.set_result(None)

    def wait(self, loop: asyncio.AbstractEventLoop) -> "asyncio.Future[None]":
        """Return what is set when nothing is missing any more; most batches need none."""
        self._done = loop.create_future()
        return self._done

    def fail(self, reason: Exception) -> None:
        """End the wait with an error."""
        if self._done is not None and not self._done.done():
            self._done.set_exception(reason)

    def take_answers(self) -> list[Answer[Any]]:
        """Return the answers and let go of them: no cycle is left to the garbage collector."""
        answers, self.answers = self.answers, []
        return answers

    def unanswered(self) -> str:
        """Return the names of what has not been answered in full."""
        waiting = (a.request.kind.management_id.name for a in self.answers if not a.is_complete)
        return ", ".join(waiting)


def refusal(answer: Answer[Any]) -> ToolFailed:
    """Return the error for a request that ptp4l has refused."""
    assert answer.error is not None
    name, error = answer.request.kind.management_id.name, answer.error
    words = f" ({error.display})" if error.display else ""
    return ToolFailed(
        f"ptp4l refused {answer.request.action.name} {name}: {error.error.name}{words}"
    )
