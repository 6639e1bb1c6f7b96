"""docs/reference/cli.md: what `visorctl` and `visord` print with `--help`."""

import os
import re
from collections.abc import Iterator
from typing import Any

import typer
from pages.markdown import code, table
from typer.testing import CliRunner

from chronovisor.cli import main as visorctl
from chronovisor.host import main as visord

WIDTH = 100
"""Columns of the terminal that help is wrapped for."""


def page() -> Iterator[str]:
    """Yield the page's parts."""
    yield "# Command lines"
    yield (
        "What `visorctl` and `visord` print with `--help`, command by command. How they are used "
        "is in the [how-to guides](../README.md)."
    )
    yield "## Exit codes of visorctl"
    yield table(("Code", "Meaning"), _exit_codes())
    yield (
        "`visorctl clock drift` and `visorctl host health` also end with 1 when something differs "
        "or is not well; `visorctl lab exec` ends with the exit code of its command."
    )
    group = visorctl.build(list(visorctl.GROUPS))
    for words in _commands(typer.main.get_command(group), ("visorctl",)):
        yield f"## {' '.join(words)}"
        yield code(_help(group, words))
    yield "## visord"
    yield code(_visord_help())
    yield (
        "visord ends with 0 after SIGTERM or SIGINT, with 1 when it cannot start (one line on "
        "stderr says why), and with 2 when its command line is wrong."
    )


def _exit_codes() -> Iterator[tuple[str, str]]:
    for line in (visorctl.__doc__ or "").splitlines():
        if match := re.fullmatch(r" *(\d+)  +(.+)", line):
            yield match[1], match[2]


def _commands(command: Any, words: tuple[str, ...]) -> Iterator[tuple[str, ...]]:
    """Yield the words of every command below and including one, as `--help` lists them."""
    yield words
    for name, inner in getattr(command, "commands", {}).items():
        if not inner.hidden:
            yield from _commands(inner, (*words, name))


def _help(group: typer.Typer, words: tuple[str, ...]) -> str:
    arguments = [*words[1:], "--help"]
    done = CliRunner().invoke(
        group, arguments, prog_name=words[0], terminal_width=WIDTH, max_content_width=WIDTH
    )
    if done.exit_code != 0:
        raise RuntimeError(f"{' '.join(words)} --help: {done.output}")
    return done.output


def _visord_help() -> str:
    before = os.environ.get("COLUMNS")
    os.environ["COLUMNS"] = str(WIDTH + 2)  # argparse keeps two columns free
    try:
        return visord.parser().format_help()
    finally:
        del os.environ["COLUMNS"]
        if before is not None:
            os.environ["COLUMNS"] = before
