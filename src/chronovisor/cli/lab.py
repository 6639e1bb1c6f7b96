"""`visorctl lab`: a small data centre in network namespaces, to try all of this on one machine."""

import asyncio
import os
import sys
from collections.abc import Mapping
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from chronovisor.cli.client import Client
from chronovisor.cli.output import Format, FormatOption, emit, table
from chronovisor.errors import ChronovisorError, ToolFailed
from chronovisor.host.directories import SOCKET_VARIABLE
from chronovisor.lab import lifecycle, programs, tools
from chronovisor.lab.observe import NodeState
from chronovisor.lab.record import LABS, LabDirectory
from chronovisor.lab.spec import LabSpec, Rates, Transport
from chronovisor.lab.topology import Kind

app = typer.Typer(rich_markup_mode=None, no_args_is_help=True)

NameOption = Annotated[str, typer.Option("--name", help="Which lab.")]
DirectoryOption = Annotated[
    Path, typer.Option("--directory", help="Where labs keep their files.", envvar="CHRONOVISOR_LAB")
]


class Way(StrEnum):
    """Up or down."""

    UP = "up"
    DOWN = "down"


WayArgument = Annotated[Way, typer.Argument(help="up or down.")]


@app.command()
def up(
    name: NameOption = "lab",
    hosts: Annotated[int, typer.Option("--hosts", help="How many hosts.")] = 1,
    grandmasters: Annotated[int, typer.Option("--grandmasters", help="How many clocks.")] = 2,
    start: Annotated[
        list[int] | None,
        typer.Option(
            "--start-grandmaster",
            metavar="N",
            help="Which of them begin up, once for each [default: 1]; the higher the better.",
        ),
    ] = None,
    fast: Annotated[
        bool, typer.Option("--fast/--default-rates", help="How often PTP messages are sent.")
    ] = True,
    transport: Annotated[
        Transport, typer.Option("--transport", help="What carries PTP messages.")
    ] = Transport.UDP_IPV4,
    domain: Annotated[int, typer.Option("--domain", help="PTP domain number.")] = 0,
    directory: DirectoryOption = LABS,
) -> None:
    """Build and start a lab; with one that is up, start what has ended in it."""
    started = (1,) if grandmasters > 0 else ()
    spec = LabSpec(
        name=name,
        hosts=hosts,
        grandmasters=grandmasters,
        started=tuple(sorted(set(start))) if start else started,
        rates=Rates.FAST if fast else Rates.DEFAULT,
        transport=transport,
        domain=domain,
    )
    changed = asyncio.run(
        lifecycle.up(LabDirectory(directory, name), spec, configure=_configure, report=_report)
    )
    _report(f"lab {name!r} is up" if changed else f"lab {name!r} is up already; nothing changed")


def _configure(socket: Path, settings: Mapping[str, object]) -> None:
    query = {"comment": "first settings of a host in the lab"}
    Client(socket).call("PUT", "/v1/config/host/system/system_time", settings, query=query)


def _report(text: str) -> None:
    sys.stderr.write(f"lab: {text}\n")
    sys.stderr.flush()


@app.command()
def down(name: NameOption = "lab", directory: DirectoryOption = LABS) -> None:
    """Remove a lab: processes, namespaces, files; also what a killed one left."""
    found = asyncio.run(lifecycle.down(LabDirectory(directory, name)))
    _report(f"lab {name!r} is removed" if found else f"there is no lab {name!r}; nothing to do")


@app.command()
def status(
    name: NameOption = "lab",
    directory: DirectoryOption = LABS,
    output: FormatOption = Format.TEXT,
) -> None:
    """Show the nodes of a lab, and what the hosts say of their clocks."""
    tools.require()
    known, seen = lifecycle.status(LabDirectory(directory, name))
    listed = [node.to_json() | {"clock": None} for node in seen]
    for row in listed:
        if row["socket"] and row["state"] == NodeState.RUNNING:
            row["clock"] = _clock(Path(str(row["socket"])))
    whole = all(node.state is not NodeState.FAILED for node in seen)
    state = "up" if known.complete and whole else "partial"
    emit({"state": state} | known.spec.to_json() | {"nodes": listed}, output, _text)


def _clock(socket: Path) -> str:
    try:
        return str(Client(socket).get("/v1/clock/status")["state"])
    except ChronovisorError as error:
        return error.message


def _text(lab: dict[str, Any]) -> str:
    columns = ("name", "kind", "state", "pid", "link", "ipv4", "clock")
    rows = [[node[column] for column in columns] for node in lab["nodes"]]
    head = f"lab {lab['name']}: {lab['state']}, {lab['transport']}, {lab['rates']} rates"
    titles = ["Name", "Kind", "State", "PID", "Link", "Address", "Clock"]
    return f"{head}\n\n{table(rows, titles)}"


@app.command()
def exec(
    host: Annotated[str, typer.Argument(help="The node to run it on.")],
    command: Annotated[list[str], typer.Argument(metavar="CMD...", help="After --.")],
    name: NameOption = "lab",
    directory: DirectoryOption = LABS,
) -> None:
    """Run a command on a node; visorctl asks its visord there. Its exit code is the command's."""
    tools.require()
    place = LabDirectory(directory, name)
    node = lifecycle.find(lifecycle.read(place).spec, host)
    argv = programs.enter(node.namespace, tuple(command))
    environment = os.environ | {"PATH": programs.search_path(os.environ.get("PATH", os.defpath))}
    environment.pop(SOCKET_VARIABLE, None)
    if node.kind is Kind.HOST:
        environment[SOCKET_VARIABLE] = str(programs.socket(place.node(node.name)))
    try:
        os.execvpe(argv[0], argv, environment)
    except OSError as error:
        raise ToolFailed(f"cannot run {argv[0]}: {error.strerror}") from error


@app.command()
def grandmaster(
    which: Annotated[str, typer.Argument(metavar="NAME", help="gm1, gm2, …")],
    way: WayArgument,
    name: NameOption = "lab",
    directory: DirectoryOption = LABS,
) -> None:
    """Bring a grandmaster up or down; the one with the highest number is the best."""
    place, running = LabDirectory(directory, name), way is Way.UP
    changed = asyncio.run(lifecycle.set_grandmaster(place, which, running=running))
    _report(f"{which} is {way.value}" + ("" if changed else " already"))


@app.command()
def link(
    node: Annotated[str, typer.Argument(metavar="NODE", help="host1, gm1, …")],
    way: WayArgument,
    name: NameOption = "lab",
    directory: DirectoryOption = LABS,
) -> None:
    """Plug a node's cable in or out."""
    lifecycle.set_link(LabDirectory(directory, name), node, up=way is Way.UP)
    _report(f"the link of {node} is {way.value}")
