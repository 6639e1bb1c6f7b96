"""`visorctl clock`: how this host keeps time."""

import contextlib
from pathlib import Path
from typing import Annotated

import typer

from chronovisor.cli import clock_devices, clock_profile
from chronovisor.cli.arguments import (
    CommentOption,
    FieldsArgument,
    RevisionOption,
    TryOption,
    fields,
    read_document,
    seconds,
)
from chronovisor.cli.client import Client
from chronovisor.cli.clock_text import actions_text, sample_text, status_text
from chronovisor.cli.output import Format, FormatOption, emit, emit_event
from chronovisor.errors import InvalidInput, Unavailable

app = typer.Typer(rich_markup_mode=None, no_args_is_help=True)
trx_conf = typer.Typer(rich_markup_mode=None, no_args_is_help=True)
app.add_typer(clock_profile.app, name="profile", help="PTP profiles: list, show, diff.")
app.add_typer(trx_conf, name="trx-conf", help="Passthrough options in ESXi's file format.")

app.command("devices")(clock_devices.devices)
app.command("preflight")(clock_devices.preflight)

KEY = "/v1/config/host/system/system_time"
STATES = (
    "freerunning",
    "unsynchronized",
    "acquiring",
    "tracking",
    "locked",
    "holdover",
    "faulty",
)


@app.command()
def status(
    wait: Annotated[
        str | None, typer.Option("--wait", metavar="STATE", help="Wait until the clock is so.")
    ] = None,
    timeout: Annotated[
        str, typer.Option("--timeout", metavar="TIME", help="How long to wait at most.")
    ] = "60s",
    output: FormatOption = Format.TEXT,
) -> None:
    """Show the clock's state, its offset and where time comes from."""
    client = Client()
    if wait:
        _wait_for(client, wait, seconds(timeout) or 0.0)
    emit(client.get("/v1/clock/status"), output, status_text)


def _wait_for(client: Client, state: str, timeout_s: float) -> None:
    """Return when the clock is in a state; `tracking` is met by `locked` too."""
    if state not in STATES:
        raise InvalidInput(f"{state!r} is no state of a clock", hint=f"states: {', '.join(STATES)}")
    enough = {state, "locked"} if state == "tracking" else {state}
    # Listening begins before the first look, so that no change falls between the two.
    with contextlib.suppress(TimeoutError):
        for kind, event in client.stream("/v1/events", timeout_s=timeout_s, kind="clock.state"):
            now = client.get("/v1/clock/status") if kind == "hello" else event
            if now["state"] in enough:
                return
    raise Unavailable(
        f"the clock is not {state} after {timeout_s:g} s", hint="see `visorctl clock status`"
    )


@app.command()
def watch(
    output: FormatOption = Format.TEXT,
    count: Annotated[int, typer.Option("--count", "-n", help="End after so many lines.")] = 0,
) -> None:
    """Print every offset and every change of state, as they come."""
    shown = 0
    for kind, data in Client().stream("/v1/events", kind="clock."):
        if kind == "hello":
            continue
        emit_event({"kind": kind, **data}, output, sample_text)
        shown += 1
        if shown == count:
            return


@app.command("set")
def set_fields(
    words: FieldsArgument,
    trial: TryOption = None,
    revision: RevisionOption = None,
    comment: CommentOption = "",
    output: FormatOption = Format.TEXT,
) -> None:
    """Change fields of the time settings, for example ptp_config.domain=24."""
    query = {"try_s": seconds(trial), "expected_revision": revision, "comment": comment or None}
    commit = Client().call("PATCH", KEY, fields(words or []), query=query)
    text = f"Set: completed successfully (revision {commit['revision']})"
    if trial:
        text += f"\nGoes back after {trial} unless you run: visorctl config confirm"
    emit(commit, output, lambda _: text)


@app.command()
def plan(
    words: FieldsArgument = None,
    infile: Annotated[
        Path | None, typer.Option("--infile", help="JSON or YAML file with whole settings.")
    ] = None,
    output: FormatOption = Format.TEXT,
) -> None:
    """Show what a change of the time settings would do, without doing it.

    Without a change: what differs now from the settings that hold.
    """
    if words and infile:
        raise InvalidInput("FIELD=VALUE words and --infile exclude each other")
    client = Client()
    if words:
        actions = client.call("POST", "/v1/clock/plan", {"fields": fields(words)})
    elif infile:
        actions = client.call("POST", "/v1/clock/plan", {"value": read_document(infile)})
    else:
        actions = client.get("/v1/clock/plan")
    emit(actions, output, actions_text)


@app.command()
def drift(output: FormatOption = Format.TEXT) -> None:
    """Show what differs now from the settings that hold; exit code 1 if anything does."""
    actions = Client().get("/v1/clock/plan")
    emit(actions, output, actions_text)
    if actions:
        raise typer.Exit(1)


FileArgument = Annotated[Path, typer.Argument(metavar="FILE", help="A trx.conf; - is stdin.")]


@trx_conf.command("check")
def check(file: FileArgument, output: FormatOption = Format.TEXT) -> None:
    """Judge a trx.conf; every error is named with its line and column."""
    answer = Client().call(
        "POST",
        "/v1/clock/trx-conf/check",
        _bytes(file),
        query={"name": file.name},
        content_type="text/plain",
    )
    emit(answer, output, lambda now: f"{file}: {now['options']} options, no errors")


@trx_conf.command("import")
def import_file(
    file: FileArgument, comment: CommentOption = "", output: FormatOption = Format.TEXT
) -> None:
    """Move the options of a trx.conf into the Config Store."""
    commit = Client().call(
        "POST",
        "/v1/clock/trx-conf/import",
        _bytes(file),
        query={"comment": comment or None, "name": file.name},
        content_type="text/plain",
    )
    emit(
        commit,
        output,
        lambda now: f"Import: completed successfully (revision {now['revision']})",
    )


@trx_conf.command("export")
def export() -> None:
    """Print the passthrough options that hold now as a trx.conf."""
    emit(Client().get("/v1/clock/trx-conf"), Format.TEXT)


def _bytes(file: Path) -> bytes:
    import sys

    try:
        return sys.stdin.buffer.read() if str(file) == "-" else file.read_bytes()
    except OSError as error:
        raise Unavailable(f"cannot read {file}: {error.strerror}") from None
