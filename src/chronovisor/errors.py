"""Every exception that Chronovisor raises on purpose, as one tree.

::

    ChronovisorError            something the operator can understand and act on
    ├── InvalidInput            what was given breaks a rule; carries every problem at once
    ├── NotFound                the named thing does not exist
    ├── Conflict                somebody else changed it first, or it is in use
    ├── Denied                  the caller may not do this
    ├── Unavailable             cannot be done now: disk full, visord not running, no answer
    ├── ToolFailed              an outside program or kernel interface refused
    └── ProtocolError           bytes from outside that are not what they claim to be

A message says what was wrong and where; `hint` says what to do. The API turns each into an
RFC 9457 problem document of the same text, `visorctl` into one line and an exit code.
"""

from collections.abc import Sequence
from dataclasses import dataclass


class ChronovisorError(Exception):
    """Something went wrong that the operator can understand and act on."""

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


@dataclass(frozen=True, slots=True)
class Problem:
    """One broken rule in something that was given to us.

    `where` is a path into the input: `ports[0].device` in a setting, `trx.conf:12:7` (line and
    column, both from 1) in a file. `value` is what stood there, as text, and `valid` says what
    would be right (empty where the message says so already).
    """

    where: str
    message: str
    value: str = ""
    valid: str = ""

    def __str__(self) -> str:
        """Return the problem as one line for people."""
        text = f"{self.where}: {self.message}" if self.where else self.message
        return f"{text} (valid: {self.valid})" if self.valid else text


class InvalidInput(ChronovisorError):
    """What was given breaks at least one rule; `problems` names every one of them."""

    def __init__(
        self, message: str, problems: Sequence[Problem] = (), *, hint: str | None = None
    ) -> None:
        super().__init__(message, hint=hint)
        self.problems = tuple(problems)


class NotFound(ChronovisorError):
    """The named thing does not exist."""


class Conflict(ChronovisorError):
    """The state is not what the caller believed: changed meanwhile, or in use by another."""


class Denied(ChronovisorError):
    """The caller is known but may not do this."""


class Unavailable(ChronovisorError):
    """It cannot be done now and may work later: disk full, no answer, daemon not running."""


class ToolFailed(ChronovisorError):
    """An outside program or a kernel interface refused what we asked of it."""


class ProtocolError(ChronovisorError):
    """Bytes from outside break the format they claim to follow."""
