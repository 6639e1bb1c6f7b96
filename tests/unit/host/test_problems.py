import json

import pytest

from chronovisor import errors
from chronovisor.errors import ChronovisorError, InvalidInput, Problem
from chronovisor.host.api import problems

TREE = [
    cls
    for cls in vars(errors).values()
    if isinstance(cls, type) and issubclass(cls, ChronovisorError)
]


@pytest.mark.parametrize("cls", TREE)
@pytest.mark.parametrize("hint", [None, "do that"])
def test_every_error_comes_back_as_it_was(cls: type[ChronovisorError], hint: str | None) -> None:
    before = cls("it is broken", hint=hint)
    document = json.loads(json.dumps(problems.document(before)))
    after = problems.error(document)
    assert type(after) is cls
    assert (after.message, after.hint) == ("it is broken", hint)
    assert 400 <= document["status"] < 600


def test_every_problem_comes_back_as_it_was() -> None:
    found = (Problem("a[0].b", "is wrong", "7", "1..6"), Problem("", "so is this"))
    after = problems.error(problems.document(InvalidInput("two", found)))
    assert isinstance(after, InvalidInput)
    assert after.problems == found


def test_each_error_has_a_status_of_its_own_class() -> None:
    assert {cls for cls, _ in problems.KINDS.values()} == set(TREE)


def test_an_error_below_one_of_the_tree_is_told_as_that_one() -> None:
    class Late(errors.Conflict):
        pass

    assert problems.document(Late("too late"))["type"] == "urn:chronovisor:conflict"


@pytest.mark.parametrize(
    "document",
    [{}, {"detail": "x"}, {"type": "about:blank", "status": 404}, {"type": "urn:chronovisor:new"}],
)
def test_a_document_of_somebody_else_is_an_error_too(document: dict[str, object]) -> None:
    assert type(problems.error(document)) is ChronovisorError


def test_what_a_newer_visord_adds_is_passed_over() -> None:
    document = {
        "type": "urn:chronovisor:invalid-input",
        "detail": "x",
        "colour": "red",
        "problems": [{"where": "a", "message": "b", "severity": 9}],
    }
    after = problems.error(document)
    assert isinstance(after, InvalidInput)
    assert after.problems == (Problem("a", "b"),)


def test_the_answer_carries_text_that_is_no_unicode() -> None:
    answer = problems.response(InvalidInput("\ud800"), 400)
    assert (answer.status_code, answer.media_type) == (400, problems.MEDIA_TYPE)
    assert json.loads(bytes(answer.body)) == {
        "type": "urn:chronovisor:invalid-input",
        "title": "Invalid input",
        "status": 400,
        "detail": "\ud800",
        "problems": [],
    }
