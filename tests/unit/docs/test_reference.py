"""The generated pages of docs/reference are what the code says now."""

import difflib
from functools import cache

import pytest
import reference


@cache
def made() -> dict[str, str]:
    return reference.pages()


@pytest.mark.parametrize("name", ["cli.md", "settings.md", "options.md", "api.md", "metrics.md"])
def test_page_is_up_to_date(name: str) -> None:
    file = reference.DIRECTORY / name
    there = file.read_text("utf-8") if file.is_file() else ""
    lines = difflib.unified_diff(there.splitlines(), made()[name].splitlines(), lineterm="", n=0)
    changes = "\n".join(list(lines)[:40])
    assert not changes, f"docs/reference/{name} is stale; run `make docs` and commit it\n{changes}"


def test_there_is_no_other_page() -> None:
    assert {file.name for file in reference.DIRECTORY.iterdir()} == set(made())


def test_every_field_has_a_meaning() -> None:
    rows = [line.split(" | ") for line in made()["settings.md"].splitlines() if "| `" in line]
    assert rows
    assert not [row[0] for row in rows if not row[-1].strip(" |")]
