from typing import Any

import pytest

from chronovisor.errors import InvalidInput
from chronovisor.host.api.config import with_fields


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({}, {"a": {"b": 1}, "c": [{"d": 2}]}),
        ({"a.b": 5}, {"a": {"b": 5}, "c": [{"d": 2}]}),
        ({"c[0].d": 5}, {"a": {"b": 1}, "c": [{"d": 5}]}),
        ({"c": []}, {"a": {"b": 1}, "c": []}),
        ({"x.y.z": None}, {"a": {"b": 1}, "c": [{"d": 2}], "x": {"y": {"z": None}}}),
        ({'a["q.r"]': 3}, {"a": {"b": 1, "q.r": 3}, "c": [{"d": 2}]}),
        ({"a": {}, "a.b": 3}, {"a": {"b": 3}, "c": [{"d": 2}]}),
    ],
)
def test_fields_are_set_by_their_places(fields: dict[str, Any], expected: object) -> None:
    assert with_fields({"a": {"b": 1}, "c": [{"d": 2}]}, fields) == expected


def test_every_field_that_cannot_be_set_is_named() -> None:
    wrong = ["", "a.b.c", "c[1].d", "c.d", "e[0]", "a..b", "[0]", "a[", 'a["x']
    with pytest.raises(InvalidInput) as caught:
        with_fields({"a": {"b": 1}, "c": [{"d": 2}]}, {**dict.fromkeys(wrong, 1), "a.b": 2})
    assert [problem.where for problem in caught.value.problems] == wrong
