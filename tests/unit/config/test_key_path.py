from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chronovisor.config import KeyPath
from chronovisor.errors import InvalidInput

NAMES = st.from_regex(r"[a-z][a-z0-9_]{0,20}", fullmatch=True)
INSTANCES = st.none() | st.text(min_size=1, max_size=128).filter(
    lambda text: text.isprintable() and "/" not in text
)


@given(component=NAMES, group=NAMES, key=NAMES, instance=INSTANCES)
def test_text_and_path_say_the_same(
    component: str, group: str, key: str, instance: str | None
) -> None:
    path = KeyPath(component, group, key, instance)
    assert KeyPath.parse(str(path)) == path


@given(st.text() | st.text(alphabet="ab_/ \n\0é", max_size=20))
def test_any_text_is_a_path_or_refused(text: str) -> None:
    with suppress(InvalidInput):
        path = KeyPath.parse(text)
        assert str(path) == text or text.startswith("esx/")


def test_esx_is_host() -> None:
    assert KeyPath.parse("esx/system/system_time") == KeyPath("host", "system", "system_time")


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("Host/system/system_time", ["component"]),
        ("host/sys-tem/9", ["group", "key"]),
        ("host/system/system_time\n", ["key"]),
        ("host/system/system_time/", ["instance"]),
        ("host/system/system_time/a\tb", ["instance"]),
        ("host/system/system_time/" + "x" * 129, ["instance"]),
        ("X/Y/Z/\x00", ["component", "group", "key", "instance"]),
        ("host/system", [""]),
        ("", [""]),
        ("a/b/c/d/e", [""]),
    ],
)
def test_every_part_that_breaks_the_rules_is_named(text: str, parts: list[str]) -> None:
    with pytest.raises(InvalidInput) as caught:
        KeyPath.parse(text)
    assert [problem.where for problem in caught.value.problems] == parts


def test_paths_sort_by_part_and_a_key_before_its_instances() -> None:
    texts = ["a/b/c", "a/b/c/x", "a/b/c/y", "a/b/d", "a/c/a", "b/a/a"]
    assert [str(path) for path in sorted(map(KeyPath.parse, reversed(texts)))] == texts
