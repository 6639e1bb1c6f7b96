import re

import pytest

from chronovisor import errors
from chronovisor.cli import main
from chronovisor.errors import ChronovisorError, InvalidInput, NotFound, Problem

TREE = [
    cls
    for cls in vars(errors).values()
    if isinstance(cls, type) and issubclass(cls, ChronovisorError)
]


def test_an_error_is_one_line_and_its_hint() -> None:
    assert main.describe(NotFound("no such thing")) == "visorctl: no such thing"
    assert main.describe(NotFound("no such thing", hint="look")) == (
        "visorctl: no such thing\n  hint: look"
    )


def test_one_problem_is_the_line() -> None:
    error = InvalidInput("summary", [Problem("a.b", "is wrong", "7", "1..6")], hint="look")
    assert main.describe(error) == "visorctl: a.b: is wrong (valid: 1..6)\n  hint: look"


def test_several_problems_have_a_line_each() -> None:
    error = InvalidInput("summary", [Problem("a", "is wrong"), Problem("", "so is this")])
    assert main.describe(error) == "visorctl: 2 problems\n  a: is wrong\n  so is this"


@pytest.mark.parametrize("cls", TREE)
def test_exit_codes_are_those_of_the_documentation(cls: type[ChronovisorError]) -> None:
    assert main.__doc__ is not None
    documented = {int(number) for number in re.findall(r"^ *(\d+)  ", main.__doc__, re.M)}
    code = main.exit_code(cls("x"))
    assert code in documented
    assert (code == 1) == (cls in (ChronovisorError, errors.ProtocolError))


def test_exit_codes_tell_errors_apart() -> None:
    codes = [code for _, code in main.EXIT_CODES]
    assert len(codes) == len(set(codes))
