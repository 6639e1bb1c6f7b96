from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chronovisor.config.fields import (
    assign,
    differences,
    leaves,
    lookup,
    parse_place,
    place_text,
    same,
)
from chronovisor.config.keys import KeyPath
from chronovisor.errors import InvalidInput

NAMES = st.text(st.characters(exclude_categories=["Cs"]), max_size=10)
PLACES = st.lists(NAMES | st.integers(0, 999), max_size=6).map(tuple)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=3),
    max_leaves=10,
)
PATH = KeyPath("a", "b", "c")


@given(PLACES)
def test_text_and_place_say_the_same(place: tuple[str | int, ...]) -> None:
    assert parse_place(place_text(place)) == place


def test_a_place_reads_like_code() -> None:
    assert place_text(("ptp_config", "port", 0, "device")) == "ptp_config.port[0].device"
    assert place_text(("options", "a.b")) == 'options["a.b"]'


@given(st.text(max_size=20) | st.text('ab.[]"\\01', max_size=12))
def test_any_text_is_a_place_or_refused(text: str) -> None:
    with suppress(InvalidInput):
        place = parse_place(text)
        assert parse_place(place_text(place)) == place


@pytest.mark.parametrize("text", [".a", "a..b", "a.", "a[", "a[-1]", "[x]", "a b", 'a["]', "a[0]b"])
def test_what_is_no_place(text: str) -> None:
    with pytest.raises(InvalidInput):
        parse_place(text)


@given(st.dictionaries(NAMES, VALUES, max_size=4))
def test_leaves_are_where_they_say(value: dict[str, Any]) -> None:
    for place, leaf in leaves(value):
        assert lookup(value, place) == leaf


def test_assign_makes_mappings_but_no_list_items() -> None:
    value: dict[str, Any] = {"port": [{"index": 0}]}
    assign(value, ("a", "b"), 1)
    assign(value, ("port", 0, "options", "x"), 2)
    assert value == {"port": [{"index": 0, "options": {"x": 2}}], "a": {"b": 1}}
    for place in (("port", 1, "x"), ("port", 1), ("a", "b", "c"), ("port", "x"), ("new", 0)):
        with pytest.raises(LookupError):
            assign(value, place, 1)


def test_numbers_and_booleans_are_told_apart() -> None:
    assert not same(1, True)
    assert not same(1, 1.0)
    assert same({"a": 1, "b": 2}, {"b": 2, "a": 1})


def test_differences_are_by_leaf() -> None:
    old = {"a": 1, "gone": {"x": 1}, "list": [1, 2], "same": 5}
    new = {"a": True, "list": [1, 3, 4], "same": 5, "empty": {}}
    assert [tuple(d)[1:] for d in differences(PATH, old, new)] == [
        ("a", 1, True),
        ("empty", None, {}),
        ("gone.x", 1, None),
        ("list[1]", 2, 3),
        ("list[2]", None, 4),
    ]
    assert differences(PATH, None, {"a": 1})[0][1:] == ("a", None, 1)
    assert differences(PATH, {}, None)[0][1:] == ("", {}, None)
