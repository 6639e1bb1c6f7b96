"""`visorctl crx`: the worlds that are containers, in docker's manner."""

import os
import sys
from typing import Annotated, Any, NoReturn

import typer

from chronovisor.cli import world
from chronovisor.cli.client import Client
from chronovisor.cli.output import Format, FormatOption, emit, flatten, pairs, table
from chronovisor.errors import Conflict, Denied, InvalidInput, ToolFailed

app = typer.Typer(rich_markup_mode=None, no_args_is_help=True)

NameArgument = Annotated[str, typer.Argument(help="The container's name, which is its world's.")]

_ENVIRONMENT = ("TERM", "LANG", "LC_ALL")
_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


@app.command()
def ps(output: FormatOption = Format.TEXT) -> None:
    """List the containers, also those that do not run."""
    emit(
        Client().get("/v1/crx"),
        output,
        lambda rows: table(
            [
                (
                    row["name"],
                    row["state"],
                    row["pid"],
                    _duration(row["uptime_s"]),
                    _network(row["sandbox"]),
                    _mebibytes(row["resident_bytes"]),
                    row["argv"][0],
                )
                for row in rows
            ],
            ["Name", "State", "PID", "Up", "Network", "Memory", "Program"],
        ),
    )


@app.command()
def inspect(name: NameArgument, output: FormatOption = Format.TEXT) -> None:
    """Show what a container was given, and what the kernel says holds."""
    container = Client().get(f"/v1/crx/{name}")
    emit(container, output, lambda found: pairs(flatten(found)))


app.command()(world.logs)


@app.command("exec")
def execute(
    name: NameArgument,
    command: Annotated[
        list[str], typer.Argument(help="The command and its arguments, after --.", metavar="CMD")
    ],
    tty: Annotated[
        bool | None,
        typer.Option(
            "--tty/--no-tty", "-t/-T", help="With a terminal. Default: if this command has one."
        ),
    ] = None,
) -> None:
    """Run a command inside a container, as root on the same host; end with its exit code.

    The command has the container's own rights and no more.
    """
    container = Client().get(f"/v1/crx/{name}")
    if container["pid"] is None:
        raise Conflict(
            f"container {name} is {container['state']}: {container['reason']}",
            hint=f"visorctl world restart {name}",
        )
    if os.geteuid() != 0:
        raise Denied("only root may run a command in a container", hint="use sudo")
    if any("\0" in word for word in command):
        raise InvalidInput("a command holds no NUL byte")
    with_tty = tty if tty is not None else sys.stdin.isatty() and sys.stdout.isatty()
    flags = ["--tty"] if with_tty else []
    _become([*container["exec_prefix"], *flags, name, *command])


def _become(argv: list[str]) -> NoReturn:
    # The runtime itself, not visord, runs it: so the terminal, signals and exit code are direct.
    env = {key: os.environ[key] for key in _ENVIRONMENT if key in os.environ}
    try:
        os.execve(argv[0], argv, {"PATH": _PATH, **env})
    except OSError as error:
        raise ToolFailed(f"cannot run {argv[0]}: {error.strerror}") from error


def _network(sandbox: dict[str, Any]) -> str:
    network = sandbox["network"]
    if network is None:
        return "host"
    return ",".join(nic["name"] for nic in network["nics"]) or "none"


def _duration(seconds: float | None) -> str | None:
    if seconds is None:
        return None
    for unit, length_s in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * length_s:
            return f"{seconds / length_s:.0f} {unit}"
    return f"{seconds:.0f} s"


def _mebibytes(count: int | None) -> str | None:
    return None if count is None else f"{count / (1 << 20):.1f} MiB"
