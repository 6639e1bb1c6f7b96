"""`visorctl host`: visord's own health, events and metrics."""

import json
from typing import Annotated, Any

import typer

from chronovisor.cli.client import Client
from chronovisor.cli.output import Format, FormatOption, emit, emit_event, table

app = typer.Typer(rich_markup_mode=None, no_args_is_help=True)

NOT_WELL = 1
"""Exit code of `health` when a part is not well."""


@app.command()
def health(output: FormatOption = Format.TEXT) -> None:
    """Show whether all is well, and if not, why; exit code 1 if not."""
    now = Client().get("/v1/health")
    emit(now, output, _health)
    if now["condition"] != "ok":
        raise typer.Exit(NOT_WELL)


def _health(now: dict[str, Any]) -> str:
    rows = [(part["name"], part["condition"], part["reason"]) for part in now["parts"]]
    return f"{now['condition']}\n\n" + table(rows, ["Part", "Condition", "Reason"])


@app.command()
def events(
    kind: Annotated[str, typer.Option("--kind", help="Only these kinds, comma-separated.")] = "",
    output: FormatOption = Format.TEXT,
) -> None:
    """Print what happens, as it happens."""
    for name, data in Client().stream("/v1/events", kind=kind):
        emit_event(
            {"event": name, **data},
            output,
            lambda event: f"{event.pop('event')} {json.dumps(event)}",
        )


@app.command()
def metrics() -> None:
    """Print the metrics in Prometheus' text format."""
    emit(Client().get("/metrics"), Format.TEXT)
