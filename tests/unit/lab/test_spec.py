"""What a lab may be."""

import pytest

from chronovisor.errors import InvalidInput
from chronovisor.lab.spec import LabSpec, Rates, Transport


def test_every_problem_is_named_at_once() -> None:
    with pytest.raises(InvalidInput) as caught:
        LabSpec(name="A b", hosts=-1, grandmasters=2, started=(1, 3), domain=128)
    assert [problem.where for problem in caught.value.problems] == [
        "name",
        "hosts",
        "domain",
        "start_grandmaster",
    ]


@pytest.mark.parametrize("name", ["", "-a", "1a", "A", "a_b", "a/b", "..", "a\n", "a" * 25])
def test_bad_names_are_refused(name: str) -> None:
    with pytest.raises(InvalidInput):
        LabSpec(name=name)


def test_json_round_trip() -> None:
    spec = LabSpec("x-1", 3, 4, (1, 4), Rates.DEFAULT, Transport.ETHERNET, 24)
    assert LabSpec.from_json(spec.to_json()) == spec


@pytest.mark.parametrize("document", [None, [], {"hosts": "many"}, {"name": "A b"}])
def test_what_is_no_record_is_refused(document: object) -> None:
    with pytest.raises(InvalidInput):
        LabSpec.from_json(document)
