"""One option of linuxptp in one release, and what ptp4l's own parser says of a value."""

from dataclasses import dataclass
from enum import StrEnum

from chronovisor.clock.catalogue import c_numbers
from chronovisor.clock.catalogue.release import Release


class Scope(StrEnum):
    """Where an option may stand: a `port` option also in [global], as every port's default."""

    GLOBAL = "global"
    PORT = "port"


class OptionType(StrEnum):
    """How a value is read."""

    INT = "int"
    UINT = "uint"
    DOUBLE = "double"
    ENUM = "enum"
    STRING = "string"


class Verdict(StrEnum):
    """Why ptp4l's parser refuses a line; the words are those that its message contains."""

    UNKNOWN_OPTION = "unknown option"
    BAD_VALUE = "bad value"
    MALFORMED = "malformed value"
    OUT_OF_RANGE = "out of range value"


@dataclass(frozen=True, slots=True)
class Option:
    """An option as one release knows it.

    `also` are words taken besides numbers; `read_by` the programs in which the option has an
    effect (others accept and ignore it); `alias_of` the name that replaced this one; `unit` is
    empty where there is none.
    """

    name: str
    scope: Scope
    type: OptionType
    since: Release
    description: str
    read_by: tuple[str, ...]
    default: int | float | str | None = None
    minimum: float = 0
    maximum: float = 0
    values: tuple[str, ...] = ()
    also: tuple[str, ...] = ()
    unit: str = ""
    alias_of: str = ""

    @property
    def is_number(self) -> bool:
        """Whether values are numbers in a range."""
        return self.type in (OptionType.INT, OptionType.UINT, OptionType.DOUBLE)

    def valid(self) -> str:
        """Return what is right, for a message: `0..255`, `E2E, P2P`, empty for any text."""
        if self.is_number:
            return ", ".join((f"{_bound(self.minimum)}..{_bound(self.maximum)}", *self.also))
        return ", ".join(self.values)

    def ptp4l_verdict(self, value: str) -> Verdict | None:
        """Return why ptp4l's parser would refuse this value, None if it takes it."""
        folded = _fold(value)
        if folded in map(_fold, self.also):
            return None
        if self.type is OptionType.ENUM:
            return None if folded in map(_fold, self.values) else Verdict.BAD_VALUE
        if self.type is OptionType.STRING:
            return None
        try:
            number = self.number(value)
        except c_numbers.Malformed:
            return Verdict.MALFORMED
        except c_numbers.OutOfRange:
            return Verdict.OUT_OF_RANGE
        # Compared as C does: not a number is neither below nor above.
        outside = number < self.minimum or number > self.maximum
        return Verdict.OUT_OF_RANGE if outside else None

    def number(self, value: str) -> float:
        """Return the number that a value is; raises ValueError, also for C's overflows."""
        match self.type:
            case OptionType.DOUBLE:
                return c_numbers.strtod(value)
            case OptionType.UINT:
                return c_numbers.strtoul(value)
            case _:
                return c_numbers.strtol(value)

    def same(self, one: str, other: str) -> bool:
        """Return whether two accepted values mean the same (`0x80` and `128`, `p2p` and `P2P`)."""
        if one == other:
            return True
        if self.type is OptionType.STRING:
            return False
        if self.is_number and not {_fold(one), _fold(other)} & set(map(_fold, self.also)):
            return self.number(one) == self.number(other)
        return _fold(one) == _fold(other)


def _fold(text: str) -> bytes:
    """Fold ASCII letters alone, as strcasecmp(3) does in the C locale."""
    return text.encode("utf-8", "surrogatepass").lower()


def _bound(value: float) -> str:
    names = {
        1.7976931348623157e308: "1.8e308",
        -1.7976931348623157e308: "-1.8e308",
        2.2250738585072014e-308: "2.3e-308",
    }
    return names.get(value, f"{value:g}" if isinstance(value, float) else str(value))
