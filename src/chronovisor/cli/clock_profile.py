"""`visorctl clock profile`: PTP profiles as presets whose every value can be seen."""

from enum import StrEnum
from typing import Annotated, Any

import typer

from chronovisor.cli.client import Client
from chronovisor.cli.output import Format, FormatOption, emit, table

app = typer.Typer(rich_markup_mode=None, no_args_is_help=True)


class Role(StrEnum):
    """`ptp_config.role`, here without the models behind it: they take long to import."""

    CLIENT = "client"
    BOUNDARY = "boundary"


NameArgument = Annotated[str, typer.Argument(metavar="NAME", help="A profile, as `list` has it.")]
RoleOption = Annotated[
    Role, typer.Option("--role", help="Whose options: a client's or a boundary clock's.")
]
BASE = "/v1/clock/profiles"


@app.command("list")
def list_profiles(output: FormatOption = Format.TEXT) -> None:
    """List the profiles, and which of them the installed linuxptp can follow as they are."""
    emit(Client().get(BASE), output, _list)


def _list(rows: list[dict[str, Any]]) -> str:
    cells = [
        (row["name"], row["standard"], row["title"], "; ".join(row["problems"]) or "yes")
        for row in rows
    ]
    return table(cells, ["Name", "Standard", "For", "Usable here"])


@app.command()
def show(
    name: NameArgument, role: RoleOption = Role.CLIENT, output: FormatOption = Format.TEXT
) -> None:
    """Show what a profile says: each option, what else is allowed, and the clause."""
    emit(Client().get(f"{BASE}/{name}", role=role.value), output, _show)


def _show(shape: dict[str, Any]) -> str:
    one = shape["profile"]
    facts = [
        ("Profile", f"{one['name']}: {one['title']}"),
        ("Standard", one["standard"]),
        ("Identifier", one["identity"]),
        ("Unicast masters", one["unicast"]),
        ("Roles", ", ".join(one["roles"])),
        *(("Note", note) for note in one["notes"]),
        *(("Not here", problem) for problem in one["problems"]),
    ]
    head = "".join(f"{label + ':':<17}{text}\n" for label, text in facts)
    cells = [
        (row["option"], row["value"], row["allowed"], row["needs"], row["source"])
        for row in shape["options"]
    ]
    header = [f"Option of a {shape['role']}", "Value", "Allowed", "Needs", "Source"]
    return f"{head}\n{table(cells, header)}"


@app.command()
def diff(
    name: NameArgument,
    other: Annotated[str | None, typer.Argument(metavar="[OTHER]", help="Another profile.")] = None,
    role: RoleOption = Role.CLIENT,
    output: FormatOption = Format.TEXT,
) -> None:
    """Show how a profile differs from another one, or from the settings that hold."""
    found = Client().get(f"{BASE}/{name}/diff", other=other, role=role.value)
    emit(found, output, _diff)


def _diff(shape: dict[str, Any]) -> str:
    if not shape["differences"]:
        return f"nothing differs between {shape['profile']} and {shape['other']}"
    cells = [
        (
            f"{row['where']}: {row['option']}" if row["where"] else row["option"],
            row["value"] or "-",
            row["other"] or "-",
            "yes" if row["allowed"] else "no",
        )
        for row in shape["differences"]
    ]
    sides = [shape["profile"], shape["other"], f"Allowed by {shape['profile']}"]
    return table(cells, ["Option", *sides])
