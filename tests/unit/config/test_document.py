from contextlib import suppress
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import BaseModel

from chronovisor.config import Change, ConfigStore, KeyPath, Registry
from chronovisor.config.document import SIZE_MAX, document_text, staged_document
from chronovisor.errors import InvalidInput

PATH = "host/test/sample"
HEAD = "chronovisor_config: 1\nsettings:\n"


class Anything(BaseModel):
    data: dict[str, Any] = {}


ANYTHING = Registry()
ANYTHING.register("host/test/any", Anything, instances=True, description="Anything")

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63)
    | st.floats(allow_nan=False, allow_infinity=False)
    | TEXT
    | st.sampled_from(["no", "1:30", "2026-01-01", "0x1", "<<", "~", "1e3", "!x", "&a", "- b"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=8,
)


@given(value=st.dictionaries(TEXT, VALUES, max_size=3), instance=TEXT)
@settings(max_examples=150)
def test_what_is_written_reads_back_the_same(value: dict[str, Any], instance: str) -> None:
    if not instance or "/" in instance or not instance.isprintable():
        instance = "x"
    path = KeyPath("host", "test", "any", instance)
    values: dict[KeyPath, dict[str, Any] | None] = {path: {"data": value}}
    text = document_text(values, 1)
    assert staged_document(ANYTHING, {}, text) == values
    assert document_text(values, 1) == text


@given(st.text(max_size=60) | st.text("ab: -[]{}&*!|>'\"\n#?%@,\t0\r\x85", max_size=40))
@settings(max_examples=300)
def test_any_text_is_read_or_refused(text: str) -> None:
    for document in (text, HEAD + text, f"{HEAD}  host/test/any/x:\n    data: {text}"):
        with suppress(InvalidInput):
            staged_document(ANYTHING, {}, document)


def refused(store: ConfigStore, text: str) -> list[str]:
    with pytest.raises(InvalidInput) as caught:
        store.import_document(text, author="a", replace=False)
    assert store.revision == 0
    return [str(problem) for problem in caught.value.problems]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "line 1: the document is empty"),
        ("- a", "line 1: the document is a list"),
        (HEAD + "  a: [", "line 4: is not YAML"),
        ("a: b\nc: d: e", "line 2: is not YAML: mapping values are not allowed"),
        ("a\x00b", "line 1: is not YAML"),
        ("a: 1\nb: \ud800", "line 2: has a character that is not Unicode"),
        ("settings: {}", "line 1: chronovisor_config is missing"),
        ("chronovisor_config: 2\nsettings: {}", "line 1: chronovisor_config is 2"),
        ("chronovisor_config: 1\nsettigns: {}", "line 2: unknown name 'settigns'; did you mean se"),
        (HEAD + "  a: &x 1\n  b: *x", "line 3: anchors (&) and aliases (*) are not taken"),
        (
            HEAD + "  a: !!python/object/apply:os.system [x]",
            "line 3: the tag tag:yaml.org,2002:pyt",
        ),
        (HEAD + "  a: !!python/name:os.system x", "could not determine a constructor"),
        (HEAD + "  a: !!binary aGk=", "line 3: 'aGk=' is read as a bytes; quote text"),
        (HEAD + "  a: 2026-11-21", "line 3: '2026-11-21' is read as a date; quote text"),
        (HEAD + "  a: 2026-99-99", "line 3: '2026-99-99' cannot be read; quote text"),
        (HEAD + "  a: " + "9" * 5000, "cannot be read; quote text"),
        (HEAD + "  a: {}\n  b: {}\n  a: {}", "line 5: settings.a is given more than once"),
        (HEAD + "  ? [a]\n  : 1", "line 3: a name cannot be a mapping or a list"),
        (HEAD + "  a: " + "[" * 500, "nested deeper than"),
        ("a: 1\n---\nb: 2", "is not YAML: but found another document"),
        ("x" * (SIZE_MAX + 1), "more than"),
        (HEAD + "  host/test/sampel: {}", "line 3: there is no key host/test/sampel (valid: did"),
        (HEAD + "  host/test: {}", "line 3: host/test: 2 part(s) instead of 3 or 4"),
        (
            HEAD + f"  {PATH}:\n    rate: 1\n    label: [x]",
            f"line 5: {PATH}: label: a list is not te",
        ),
        (
            HEAD + f"  {PATH}: {{}}\n  esx/test/sample: {{}}",
            f"line 4: {PATH} is given more than on",
        ),
        (HEAD + f"  {PATH}:", f"line 3: {PATH}: null is not a mapping"),
        (HEAD + f"  {PATH}:\n    rate: .inf", f"line 4: {PATH}: rate: inf is not a finite number"),
    ],
)
def test_a_refusal_names_the_line(store: ConfigStore, text: str, message: str) -> None:
    found = refused(store, text)
    assert any(message in problem for problem in found), found


def test_all_problems_come_at_once(store: ConfigStore) -> None:
    text = f"{HEAD}  {PATH}:\n    rate: 99\n    lable: x\n  nope/a/b: {{}}\nextra: 1\n"
    found = refused(store, text)
    assert sorted(problem.split(":")[0] for problem in found) == [f"line {n}" for n in (4, 5, 6, 7)]


def test_a_bomb_of_aliases_is_refused_before_it_grows(store: ConfigStore) -> None:
    lines = ["a0: &a0 [x,x,x,x,x,x,x,x,x]"]
    lines += [f"a{n}: &a{n} [{','.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 30)]
    assert all("anchors" in problem for problem in refused(store, "\n".join(lines)))


def test_both_loaders_refuse_depth_alike(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("chronovisor.config.document._Loader", yaml.SafeLoader)
    with pytest.raises(InvalidInput, match="nested deeper"):
        staged_document(ANYTHING, {}, "[" * 100_000)


def test_import_replaces_or_adds(store: ConfigStore) -> None:
    store.commit([Change("host/test/many/a", {"rate": 1})], author="a")
    document = f"{HEAD}  {PATH}: {{rate: 2}}\n"
    added = store.import_document(document, author="b", replace=False)
    assert added.kind == "import"
    assert [str(e.path) for e in store.entries()] == ["host/test/many/a", PATH]
    store.import_document(document, author="b", replace=True)
    assert [str(e.path) for e in store.entries()] == [PATH]


def test_an_export_restores_the_store_it_came_from(store: ConfigStore) -> None:
    value = {"token": "s", "peers": [{"address": "x", "password": "p"}], "options": {"a": True}}
    store.commit([Change(PATH, value), Change("host/test/many/ü x", {})], author="a")
    masked, before = store.export_document(), store.entries()
    assert store.import_document(masked, author="a", replace=True).revision == 1, "no change"
    store.commit([Change(e.path, None) for e in before], author="a")
    with pytest.raises(InvalidInput, match="mask"):
        store.import_document(masked, author="a", replace=True)
    store.rollback(1, author="a")
    assert [e.value for e in store.entries()] == [e.value for e in before]
