"""Numbers as C's strtol(3), strtoul(3) and strtod(3) read them, in the C locale of LP64 Linux.

linuxptp reads option values with these, base 0 for integers, and takes a value only when all of
its text is the number.
"""

import math
import re
from fractions import Fraction

_SPACE = r"[ \t\n\v\f\r]*"
_INT = re.compile(_SPACE + r"(?P<sign>[+-]?)(?P<digits>0[xX][0-9a-fA-F]+|[0-9]+)")
_DECIMAL = re.compile(_SPACE + r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?")
_HEXADECIMAL = re.compile(
    _SPACE + r"(?P<sign>[+-]?)0[xX](?P<whole>[0-9a-fA-F]*)\.?(?P<part>[0-9a-fA-F]*)"
    r"(?:[pP](?P<power>[+-]?[0-9]+))?"
)
_NAMED = re.compile(
    _SPACE + r"(?P<sign>[+-]?)(?P<name>inf|infinity|nan(?:\([0-9a-z_]*\))?)", re.IGNORECASE
)
_LONG_MAX = 2**63 - 1
_ULONG_MAX = 2**64 - 1
_MANY_DIGITS = 80  # more than any long has, in any base


class Malformed(ValueError):
    """The text is not a number as a whole."""


class OutOfRange(ValueError):
    """The number does not fit C's type (errno ERANGE)."""


def _magnitude(text: str) -> tuple[bool, int]:
    match = _INT.fullmatch(text)
    if match is None:
        raise Malformed(text)
    digits = match["digits"]
    if digits[:2] in ("0x", "0X"):
        base, digits = 16, digits[2:]
    elif digits[0] == "0":
        base = 8
    else:
        base = 10
    digits = digits.lstrip("0") or "0"
    if base == 8 and ("8" in digits or "9" in digits):
        raise Malformed(text)
    if len(digits) > _MANY_DIGITS:
        raise OutOfRange(text)
    return match["sign"] == "-", int(digits, base)


def strtol(text: str) -> int:
    """Return the long that all of `text` is; raises Malformed or OutOfRange."""
    negative, value = _magnitude(text)
    if value > _LONG_MAX + negative:
        raise OutOfRange(text)
    return -value if negative else value


def strtoul(text: str) -> int:
    """Return the unsigned long that all of `text` is; -1 is the largest, as in C."""
    negative, value = _magnitude(text)
    if value > _ULONG_MAX:
        raise OutOfRange(text)
    return -value % (_ULONG_MAX + 1) if negative else value


def strtod(text: str) -> float:
    """Return the double that all of `text` is; raises Malformed or OutOfRange.

    Too large is out of range, and so is a number too small to be held exactly (glibc).
    """
    if match := _NAMED.fullmatch(text):
        return float(match["sign"] + ("nan" if match["name"][0] in "nN" else "inf"))
    if _DECIMAL.fullmatch(text):
        value = float(text)
        mantissa = re.split("[eE]", text)[0]
        return _in_range(text, value, any(digit in mantissa for digit in "123456789"))
    match = _HEXADECIMAL.fullmatch(text)
    if match is None or not match["whole"] + match["part"]:
        raise Malformed(text)
    try:
        value = float.fromhex(text)
    except OverflowError:
        raise OutOfRange(text) from None
    return _in_range(text, value, bool((match["whole"] + match["part"]).strip("0")))


def _in_range(text: str, value: float, nonzero: bool) -> float:
    too_small = nonzero and abs(value) < 2.2250738585072014e-308  # DBL_MIN
    if math.isinf(value) or (too_small and (value == 0 or _exact(text) != Fraction(value))):
        raise OutOfRange(text)
    return value


def _exact(text: str) -> Fraction:
    match = _HEXADECIMAL.fullmatch(text)
    if match is None:
        return Fraction(text.strip())
    digits = int(match["whole"] + match["part"], 16)
    power = int(match["power"] or 0) - 4 * len(match["part"])
    return Fraction(-digits if match["sign"] == "-" else digits) * Fraction(2) ** power
