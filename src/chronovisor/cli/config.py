"""`visorctl config`: the Config Store, with the verbs of ESXi's configstorecli."""

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from chronovisor.cli.arguments import (
    CommentOption,
    ComponentOption,
    FieldsArgument,
    GroupOption,
    InstanceOption,
    KeyOption,
    RevisionOption,
    TryOption,
    fields,
    json_value,
    read_document,
    read_text,
    seconds,
)
from chronovisor.cli.client import Client
from chronovisor.cli.output import Format, FormatOption, emit, emit_event, table
from chronovisor.errors import InvalidInput

app = typer.Typer(rich_markup_mode=None, no_args_is_help=True)
current = typer.Typer(rich_markup_mode=None, no_args_is_help=True)
schema = typer.Typer(rich_markup_mode=None, no_args_is_help=True)
app.add_typer(current, name="current", help="Values as they are stored now.")
app.add_typer(schema, name="schema", help="What can be stored.")

SecretsOption = Annotated[
    bool, typer.Option("--show-secrets", help="Show secrets instead of masking them.")
]


@schema.command("get")
def schema_get(
    component: ComponentOption,
    group: GroupOption,
    key: KeyOption,
    output: FormatOption = Format.JSON,
) -> None:
    """Print a key's JSON Schema."""
    emit(Client().get(f"/v1/config/schema/{component}/{group}/{key}"), output)


@schema.command("list")
def schema_list(output: FormatOption = Format.TEXT) -> None:
    """List the keys that can be set."""
    keys = Client().get("/v1/config/keys")
    emit(
        keys,
        output,
        lambda rows: table(
            [(row["path"], row["instances"], row["description"]) for row in rows],
            ["Key", "Instances", "Description"],
        ),
    )


@current.command("get")
def current_get(
    component: ComponentOption,
    group: GroupOption,
    key: KeyOption,
    instance: InstanceOption = None,
    effective: Annotated[
        bool, typer.Option("--effective", help="Show every field with its origin.")
    ] = False,
    secrets: SecretsOption = False,
    output: FormatOption = Format.TEXT,
) -> None:
    """Print a value."""
    path = f"/v1/config/{component}/{group}/{key}"
    if effective:
        origins = Client().get(f"{path}/effective", instance=instance, secrets=secrets)
        emit(origins, output, _origins)
    else:
        entry = Client().get(path, instance=instance, secrets=secrets)
        emit(entry["value"], Format.JSON if output is Format.TEXT else output)


def _origins(rows: list[dict[str, Any]]) -> str:
    cells = [(row["field"], json.dumps(row["value"]), row["origin"]) for row in rows]
    return table(cells, ["Field", "Value", "Origin"])


@current.command("set")
def current_set(
    component: ComponentOption,
    group: GroupOption,
    key: KeyOption,
    words: FieldsArgument = None,
    instance: InstanceOption = None,
    infile: Annotated[
        Path | None, typer.Option("--infile", help="JSON or YAML file with the whole value.")
    ] = None,
    value: Annotated[
        str | None, typer.Option("--value", metavar="JSON", help="The whole value.")
    ] = None,
    trial: TryOption = None,
    revision: RevisionOption = None,
    comment: CommentOption = "",
    output: FormatOption = Format.TEXT,
) -> None:
    """Set a whole value, or change single fields of it."""
    if sum(bool(way) for way in (words, infile, value)) != 1:
        raise InvalidInput(
            "nothing, or more than one thing, is given to set",
            hint="give either FIELD=VALUE words, --infile or --value",
        )
    query = _query(instance, trial, revision, comment)
    path = f"/v1/config/{component}/{group}/{key}"
    if words:
        commit = Client().call("PATCH", path, fields(words), query=query)
    else:
        body = read_document(infile) if infile else json_value(value or "")
        commit = Client().call("PUT", path, body, query=query)
    emit(commit, output, lambda done: _done("Set", done, trial))


@current.command("delete")
def current_delete(
    component: ComponentOption,
    group: GroupOption,
    key: KeyOption,
    instance: InstanceOption = None,
    trial: TryOption = None,
    revision: RevisionOption = None,
    comment: CommentOption = "",
    output: FormatOption = Format.TEXT,
) -> None:
    """Delete a value; the defaults hold again."""
    query = _query(instance, trial, revision, comment)
    commit = Client().call("DELETE", f"/v1/config/{component}/{group}/{key}", query=query)
    emit(commit, output, lambda done: _done("Delete", done, trial))


def _query(
    instance: str | None, trial: str | None, revision: int | None, comment: str
) -> dict[str, Any]:
    return {
        "instance": instance,
        "try_s": seconds(trial),
        "expected_revision": revision,
        "comment": comment or None,
    }


def _done(verb: str, commit: dict[str, Any], trial: str | None = None) -> str:
    text = f"{verb}: completed successfully (revision {commit['revision']})"
    if trial:
        text += f"\nGoes back after {trial} unless you run: visorctl config confirm"
    return text


@app.command("list")
def list_values(
    prefix: Annotated[str, typer.Argument(help="Only keys below, for example host/system.")] = "",
    output: FormatOption = Format.TEXT,
) -> None:
    """List the stored keys."""
    entries = Client().get("/v1/config", prefix=prefix)
    emit(
        entries,
        output,
        lambda rows: table(
            [(row["path"], row["revision"], row["changed_at"]) for row in rows],
            ["Key", "Revision", "Changed"],
        ),
    )


@app.command()
def history(
    path: Annotated[str | None, typer.Argument(help="Only changes of this key.")] = None,
    limit: Annotated[int, typer.Option("--limit", "-n", help="At most so many.")] = 20,
    output: FormatOption = Format.TEXT,
) -> None:
    """List the changes, newest first."""
    emit(Client().get("/v1/config/history", path=path, limit=limit), output, _commits)


def _commits(rows: list[dict[str, Any]]) -> str:
    cells = [
        [row[name] for name in ("revision", "at", "kind", "author")]
        + [", ".join(row["paths"]), row["comment"]]
        for row in rows
    ]
    return table(cells, ["Revision", "Time", "Kind", "Author", "Keys", "Comment"])


@app.command()
def diff(
    a: Annotated[int, typer.Argument(help="The older revision.")],
    b: Annotated[int, typer.Argument(help="The newer revision.")],
    output: FormatOption = Format.TEXT,
) -> None:
    """Show what differs between two revisions."""
    emit(
        Client().get("/v1/config/diff", a=a, b=b),
        output,
        lambda rows: table(
            [
                (row["path"], row["field"], json.dumps(row["old"]), json.dumps(row["new"]))
                for row in rows
            ],
            ["Key", "Field", "Old", "New"],
        ),
    )


@app.command()
def rollback(
    revision: Annotated[int, typer.Argument(help="The revision whose values come back.")],
    path: Annotated[str | None, typer.Option("--path", help="Only this key.")] = None,
    output: FormatOption = Format.TEXT,
) -> None:
    """Bring back the values of an earlier revision, as a new change."""
    body = {"revision": revision, "path": path}
    commit = Client().call("POST", "/v1/config/rollback", body)
    emit(commit, output, lambda done: _done("Rollback", done))


@app.command()
def confirm(output: FormatOption = Format.TEXT) -> None:
    """Keep the change that is on trial."""
    commit = Client().call("POST", "/v1/config/trial/confirm")
    emit(commit, output, lambda done: _done("Confirm", done))


@app.command()
def trial(output: FormatOption = Format.TEXT) -> None:
    """Show the change that is on trial, if there is one."""
    emit(
        Client().get("/v1/config/trial"), output, lambda now: "none" if now is None else _trial(now)
    )


def _trial(now: dict[str, Any]) -> str:
    return (
        f"revision {now['revision']} is on trial: {now['seconds_left']:.0f} s left, "
        f"then the values of revision {now['base_revision']} come back"
    )


@app.command()
def watch(output: FormatOption = Format.TEXT) -> None:
    """Print every change as it is made."""
    for kind, commit in Client().stream("/v1/events", kind="config."):
        if kind == "config.commit":
            emit_event(commit, output, _change)


def _change(commit: dict[str, Any]) -> str:
    return f"{commit['revision']} {commit['kind']} {', '.join(commit['paths'])}"


@app.command("export")
def export_document(secrets: SecretsOption = False) -> None:
    """Print the whole store as one YAML document."""
    emit(Client().get("/v1/config/document", secrets=secrets), Format.TEXT)


@app.command("import")
def import_document(
    infile: Annotated[Path, typer.Argument(help="A document that `export` wrote; - is stdin.")],
    replace: Annotated[
        bool, typer.Option("--replace", help="Delete the keys that the document does not have.")
    ] = False,
    revision: RevisionOption = None,
    output: FormatOption = Format.TEXT,
) -> None:
    """Set every key of a YAML document in one change."""
    query = {"replace": replace, "expected_revision": revision}
    text = read_text(infile).encode()
    client = Client()
    commit = client.call(
        "PUT", "/v1/config/document", text, query=query, content_type="application/yaml"
    )
    emit(commit, output, lambda done: _done("Import", done))
