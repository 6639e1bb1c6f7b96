"""What the pages written by hand point at is there: files, commands and their options."""

import itertools
import re
import shlex
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import typer

from chronovisor.cli import main as visorctl
from chronovisor.host import main as visord

ROOT = Path(__file__).parents[3]
PAGES = sorted(
    file
    for file in (*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"))
    if file.parent.name != "reference"
)
_LINK = re.compile(r"\]\(([^)#]+)(?:#[^)]*)?\)")
_SHELL = re.compile(r"^```sh\n(.*?)^```", re.DOTALL | re.MULTILINE)
_SESSION = re.compile(r"^```console\n(.*?)^```", re.DOTALL | re.MULTILINE)
_QUOTED = re.compile(r"`((?:visorctl|visord) [^`]+)`")
_ENDS = re.compile(r"[|;&<>]|&&|[0-9]?[<>].+")


def ids(value: object) -> str:
    return str(value.relative_to(ROOT)) if isinstance(value, Path) else str(value)


@pytest.mark.parametrize("page", PAGES, ids=ids)
def test_links_lead_to_files(page: Path) -> None:
    targets = [target for target in _LINK.findall(page.read_text()) if "://" not in target]
    assert not [target for target in targets if not (page.parent / target).exists()]


@pytest.mark.parametrize("page", PAGES, ids=ids)
def test_commands_exist_with_their_options(page: Path) -> None:
    found = commands(page.read_text())
    assert not {" ".join(words): flaw for words in found if (flaw := flaw_of(*words))}


def commands(text: str) -> Iterator[tuple[str, ...]]:
    """Yield the command lines of visorctl and visord in a page, as words."""
    text = text.replace("\\\n", " ")
    lines = [line for block in _SHELL.findall(text) for line in block.splitlines()]
    session = [line for block in _SESSION.findall(text) for line in block.splitlines()]
    lines += [line[2:] for line in session if line.startswith("# ")]
    for line in (*lines, *_QUOTED.findall(text)):
        words = list(itertools.takewhile(lambda word: not _ENDS.fullmatch(word), shlex.split(line)))
        while words:
            if Path(words[0]).name in ("visorctl", "visord"):
                yield (Path(words[0]).name, *words[1:])
            inner = words.index("--") + 1 if "--" in words else len(words)
            words = words[inner:]  # what `visorctl lab exec HOST --` runs


@cache
def root() -> Any:
    return typer.main.get_command(visorctl.build(list(visorctl.GROUPS)))


def flaw_of(program: str, *given: str) -> str:
    """Return what is wrong with a command line; words with … or CAPITALS stand for anything."""
    words = list(given)
    if program == "visord":
        known = {option for action in visord.parser()._actions for option in action.option_strings}
        return ", ".join(option_names(words) - known)
    command, options = root(), {"--help"}
    while words:
        options |= {name for one in command.params for name in (*one.opts, *one.secondary_opts)}
        if words[0].startswith("-") or not getattr(command, "commands", None):
            break
        word = words.pop(0)
        if word == "…" or word.isupper():
            return ""
        if word not in command.commands:
            return f"there is no {word!r}"
        command = command.commands[word]
    if command.params:
        options |= {name for one in command.params for name in (*one.opts, *one.secondary_opts)}
    if "--" in words:
        words = words[: words.index("--")]
    return ", ".join(sorted(option_names(words) - options))


def option_names(words: list[str]) -> set[str]:
    names = (word.partition("=")[0] for word in words if re.match(r"--?[a-zA-Z]", word))
    return set(names)
