"""The command `visorctl`.

Only the group that a command line names is imported, so that `--help` and every command start at
once. Exit codes are part of the interface:

====  ==========================================================
 0    done
 1    an error without a code of its own
 2    the command line is wrong
 3    the input breaks a rule; every problem is printed
 4    the named thing does not exist
 5    conflict: changed meanwhile, or in use
 6    not allowed
 7    not possible now: visord is not running, disk full, time-out
 8    an outside program or the kernel refused
130   interrupted
====  ==========================================================
"""

import importlib
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from chronovisor import __version__
from chronovisor.errors import (
    ChronovisorError,
    Conflict,
    Denied,
    InvalidInput,
    NotFound,
    ToolFailed,
    Unavailable,
)
from chronovisor.host.directories import SOCKET_VARIABLE

EXIT_CODES: tuple[tuple[type[ChronovisorError], int], ...] = (
    (InvalidInput, 3),
    (NotFound, 4),
    (Conflict, 5),
    (Denied, 6),
    (Unavailable, 7),
    (ToolFailed, 8),
    (ChronovisorError, 1),
)

GROUPS = {
    "clock": "Precise time: status, plan, trx.conf.",
    "config": "The Config Store: get, set, history, rollback.",
    "crx": "Worlds in containers: ps, inspect, exec, logs.",
    "depot": "Depots: offline bundles, directories and web servers with packages.",
    "esxcli": "The words of ESXi: system ptp.",
    "host": "This host: health, events, metrics.",
    "image": "The packages of this host: install, remove, list, status.",
    "lab": "A small data centre in network namespaces.",
    "net": "VM ports: routed, fenced, served.",
    "vib": "Packages as files: create, sign, verify, show, extract, diff.",
    "world": "Supervised processes: list, show, logs, restart.",
}


def build(words: Sequence[str]) -> typer.Typer:
    """Return the application with those groups loaded that `words` name."""
    app = typer.Typer(
        name="visorctl",
        help="Look after a Chronovisor host.",
        no_args_is_help=True,
        rich_markup_mode=None,
        pretty_exceptions_enable=False,
    )
    app.callback()(_root)
    for name, summary in GROUPS.items():
        if name in words:
            group: typer.Typer = importlib.import_module(f"chronovisor.cli.{name}").app
        else:
            group = typer.Typer(rich_markup_mode=None)
            group.callback()(lambda: None)
        app.add_typer(group, name=name, help=summary, no_args_is_help=True)
    return app


def _print_version(asked: bool) -> None:
    if asked:
        typer.echo(f"visorctl {__version__}")
        raise typer.Exit


def _root(
    socket: Annotated[
        Path | None, typer.Option("--socket", metavar="PATH", help="visord's Unix socket.")
    ] = None,
    # The callback makes it work without a command, which the group otherwise asks for.
    version: Annotated[  # noqa: ARG001
        bool,
        typer.Option(
            "--version",
            help="Print the version and end.",
            is_eager=True,
            callback=_print_version,
        ),
    ] = False,
) -> None:
    if socket:
        os.environ[SOCKET_VARIABLE] = str(socket)


def describe(error: ChronovisorError) -> str:
    """Return an error as `visorctl` prints it: one line, or one for each of several problems."""
    problems = error.problems if isinstance(error, InvalidInput) else ()
    if len(problems) > 1:
        lines = [f"visorctl: {len(problems)} problems", *(f"  {problem}" for problem in problems)]
    else:
        lines = [f"visorctl: {problems[0] if problems else error.message}"]
    if error.hint:
        lines.append(f"  hint: {error.hint}")
    return "\n".join(lines)


def exit_code(error: ChronovisorError) -> int:
    """Return the exit code that stands for an error."""
    return next(code for cls, code in EXIT_CODES if isinstance(error, cls))


def main() -> None:
    """Run `visorctl` with the process's own arguments."""
    completing = "_VISORCTL_COMPLETE" in os.environ
    try:
        build(list(GROUPS) if completing else sys.argv[1:])()
    except ChronovisorError as error:
        sys.stderr.write(describe(error) + "\n")
        sys.exit(exit_code(error))
    except KeyboardInterrupt:
        sys.exit(130)
    except BrokenPipeError:
        # the reader went away, as `visorctl … | head` does; Python's own flush would complain
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
