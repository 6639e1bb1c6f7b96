"""Numbers are read as the C library reads them; the C library itself is asked."""

import ctypes
import math
from collections.abc import Callable

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from chronovisor.clock.catalogue.c_numbers import Malformed, OutOfRange, strtod, strtol, strtoul

LIBC = ctypes.CDLL(None, use_errno=True)
ERANGE = 34
DIGITS = st.text(alphabet="0123456789abcdefABCDEFxXpP.+-eE _infaINFNA()", max_size=12)
EXTREMES = st.sampled_from((2**31, 2**32, 2**63, 2**64)).flatmap(
    lambda edge: st.integers(-edge - 2, -edge + 2) | st.integers(edge - 2, edge + 2)
)
INTS = DIGITS | (st.integers() | EXTREMES).flatmap(
    lambda n: st.sampled_from((f"{n:d}", f"{n:#x}", f"{n:+d}", f" {n}", f"0{abs(n):o}", f"{n} "))
)
FLOATS = DIGITS | st.floats().flatmap(lambda x: st.sampled_from((repr(x), x.hex(), f"{x:e}")))


def ask(function: str, kind: type, text: str) -> float | str:
    """Return what the C function makes of the text, or why it does not take it."""
    call = getattr(LIBC, function)
    call.restype = kind
    end = ctypes.c_char_p()
    raw = text.encode()
    ctypes.set_errno(0)
    bases = () if function == "strtod" else (0,)
    value: float = call(ctypes.c_char_p(raw), ctypes.byref(end), *bases)
    if end.value or not raw or end.value == raw:
        return "malformed"
    return "out of range" if ctypes.get_errno() == ERANGE else value


def ours(function: Callable[[str], float], text: str) -> float | str:
    try:
        return function(text)
    except Malformed:
        return "malformed"
    except OutOfRange:
        return "out of range"


def is_same(one: float | str, other: float | str) -> bool:
    both_nan = all(isinstance(x, float) and math.isnan(x) for x in (one, other))
    return both_nan or one == other


@given(INTS)
@example("0x")
@example("08")
@example("-0x10")
@example("0" * 500 + "7")
@example("9" * 500)
@example("-9223372036854775808")
@example("-9223372036854775809")
def test_strtol(text: str) -> None:
    assert ours(strtol, text) == ask("strtol", ctypes.c_long, text)


@given(INTS)
@example("-1")
@example("-18446744073709551615")
@example("18446744073709551616")
def test_strtoul(text: str) -> None:
    assert ours(strtoul, text) == ask("strtoul", ctypes.c_ulong, text)


@given(FLOATS)
@example("1e-310")
@example("0x1p-1074")
@example("0x1.8p-1074")
@example("1e999")
@example("0x1p99999")
@example("nan(12_a)")
@example("-INFINITY")
@example(".")
@example("0x.p1")
@example("1e99999999999999999999")
@example("0e-99999999999999999999")
@example("4.9406564584124654e-324")
def test_strtod(text: str) -> None:
    assert is_same(ours(strtod, text), ask("strtod", ctypes.c_double, text))


@pytest.mark.parametrize("text", ["٣", "１", "1_000", "0o17"])
def test_what_python_takes_and_c_does_not(text: str) -> None:
    for function in (strtol, strtoul, strtod):
        with pytest.raises(Malformed):
            function(text)
