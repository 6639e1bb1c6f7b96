"""`visorctl world`: the processes that visord supervises."""

from typing import Annotated, Any

import typer

from chronovisor.cli.client import Client
from chronovisor.cli.output import Format, FormatOption, emit, flatten, pairs, table

app = typer.Typer(rich_markup_mode=None, no_args_is_help=True)

NameArgument = Annotated[str, typer.Argument(help="The world's name, for example ptp4l.")]


@app.command("list")
def list_worlds(output: FormatOption = Format.TEXT) -> None:
    """List the worlds and what they do."""
    emit(
        Client().get("/v1/worlds"),
        output,
        lambda rows: table(
            [
                (row["name"], row["state"], _kind(row), row["pid"], row["restarts"], row["reason"])
                for row in rows
            ],
            ["Name", "State", "Kind", "PID", "Restarts", "Reason"],
        ),
    )


def _kind(world: dict[str, Any]) -> str:
    return "container" if world["sandboxed"] else "process"


@app.command()
def show(name: NameArgument, output: FormatOption = Format.TEXT) -> None:
    """Show a world with its limits and last lines."""
    emit(Client().get(f"/v1/worlds/{name}"), output, _world)


def _world(world: dict[str, Any]) -> str:
    lines = world.pop("last_lines")
    text = pairs(flatten(world))
    return text + "\n   last lines:\n" + "\n".join(f"      {line}" for line in lines)


@app.command()
def logs(
    name: NameArgument,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on as lines come.")] = False,
    lines: Annotated[int, typer.Option("--lines", "-n", help="How many to begin with.")] = 50,
) -> None:
    """Print what a world wrote."""
    client = Client()
    if follow:
        for kind, line in client.stream(f"/v1/worlds/{name}/log/follow", lines=lines):
            if kind == "line":
                emit(line["text"], Format.TEXT)
    else:
        emit("\n".join(client.get(f"/v1/worlds/{name}/log", lines=lines)), Format.TEXT)


@app.command()
def restart(name: NameArgument, output: FormatOption = Format.TEXT) -> None:
    """End a world's process and start it anew; a failed world is tried again."""
    world = Client().call("POST", f"/v1/worlds/{name}/restart")
    emit(world, output, lambda now: f"{now['name']}: {now['state']}, pid {now['pid']}")
