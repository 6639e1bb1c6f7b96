"""`visorctl net`: VM ports of this host, routed without L2."""

from typing import Annotated, Any

import typer

from chronovisor.cli import net_explain
from chronovisor.cli.arguments import (
    CommentOption,
    FieldsArgument,
    RevisionOption,
    TryOption,
    fields,
    seconds,
)
from chronovisor.cli.client import Client
from chronovisor.cli.output import Format, FormatOption, emit, flatten, pairs, table
from chronovisor.errors import Conflict

app = typer.Typer(rich_markup_mode=None, no_args_is_help=True)
port = typer.Typer(rich_markup_mode=None, no_args_is_help=True)
firewall = typer.Typer(rich_markup_mode=None, no_args_is_help=True)
app.add_typer(port, name="port", help="Interfaces of VMs.")
app.add_typer(firewall, name="firewall", help="What guards them.")
app.command()(net_explain.explain)
app.command()(net_explain.trace)

PORTS = "/v1/config/host/net/ports"
VM_NETWORKING = "/v1/config/host/net/vm_networking"

IdArgument = Annotated[str, typer.Argument(metavar="ID", help="The port's id.")]


@app.command()
def enable(
    words: FieldsArgument = None, trial: TryOption = None, output: FormatOption = Format.TEXT
) -> None:
    """Let this host connect VMs; taps that no port claims are closed from now on."""
    body = {"enabled": True, **fields(words or [])}
    commit = Client().call("PATCH", VM_NETWORKING, body, query={"try_s": seconds(trial)})
    emit(commit, output, lambda done: _done("Enable", done))


@app.command()
def disable(output: FormatOption = Format.TEXT) -> None:
    """Leave VM networking alone; what is wired stays as it is."""
    commit = Client().call("PATCH", VM_NETWORKING, {"enabled": False})
    emit(commit, output, lambda done: _done("Disable", done))


@port.command("add")
def port_add(
    identifier: IdArgument,
    device: Annotated[str, typer.Option("--device", "-d", help="Its tap on this host.")],
    mac: Annotated[str, typer.Option("--mac", "-m", help="The VM's MAC address.")],
    network: Annotated[str, typer.Option("--network", "-n", help="Id of its network.")],
    address: Annotated[
        list[str] | None, typer.Option("--address", "-a", help="An address; may be repeated.")
    ] = None,
    group: Annotated[
        list[str] | None, typer.Option("--group", "-g", help="A security group; may be repeated.")
    ] = None,
    words: FieldsArgument = None,
    comment: CommentOption = "",
    output: FormatOption = Format.TEXT,
) -> None:
    """Add a port. Its tap may come later."""
    value = {
        "device": device,
        "mac": mac,
        "network": network,
        "addresses": address or [],
        "security_groups": group or [],
        **fields(words or []),
    }
    commit = _add(Client(), identifier, value, comment)
    emit(commit, output, lambda done: _done("Add", done))


def _add(client: Client, identifier: str, value: dict[str, Any], comment: str) -> Any:
    """Store a port that is not there yet."""
    query = {"instance": identifier, "comment": comment or None, "expected_key_revision": 0}
    try:
        return client.call("PUT", PORTS, value, query=query)
    except Conflict:
        if not client.get("/v1/config", prefix=f"host/net/ports/{identifier}"):
            raise  # something else is in the way: a change on trial
        raise Conflict(
            f"there is a port {identifier} already",
            hint=f"change it with `visorctl net port set {identifier} FIELD=VALUE`",
        ) from None


@port.command("set")
def port_set(
    identifier: IdArgument,
    words: FieldsArgument,
    trial: TryOption = None,
    revision: RevisionOption = None,
    comment: CommentOption = "",
    output: FormatOption = Format.TEXT,
) -> None:
    """Change fields of a port, for example addresses='["10.0.0.5"]'."""
    client = Client()
    client.get(PORTS, instance=identifier)  # a port that is not there is not made by this
    query = {
        "instance": identifier,
        "try_s": seconds(trial),
        "expected_revision": revision,
        "comment": comment or None,
    }
    commit = client.call("PATCH", PORTS, fields(words or []), query=query)
    emit(commit, output, lambda done: _done("Set", done))


@port.command("remove")
def port_remove(identifier: IdArgument, output: FormatOption = Format.TEXT) -> None:
    """Remove a port; its tap is closed."""
    client = Client()
    client.get(PORTS, instance=identifier)
    commit = client.call("DELETE", PORTS, query={"instance": identifier})
    emit(commit, output, lambda done: _done("Remove", done))


@port.command("list")
def port_list(output: FormatOption = Format.TEXT) -> None:
    """List the ports and how they are."""
    emit(Client().get("/v1/net/ports"), output, _ports)


def _ports(rows: list[dict[str, Any]]) -> str:
    cells = [
        (
            row["id"],
            row["device"],
            row["mac"],
            row["network"],
            ", ".join(row["addresses"]),
            "yes" if row["wired"] else "no",
            row["problem"],
        )
        for row in rows
    ]
    return table(cells, ["Port", "Device", "MAC", "Network", "Addresses", "Wired", "Problem"])


@port.command("show")
def port_show(identifier: IdArgument, output: FormatOption = Format.TEXT) -> None:
    """Show a port: its settings and how it is."""
    client = Client()
    now = client.get(f"/v1/net/ports/{identifier}")
    now["settings"] = client.get(PORTS, instance=identifier)["value"]
    emit(now, output, lambda row: pairs(flatten(row)))


@app.command()
def drift(output: FormatOption = Format.TEXT) -> None:
    """Show what differs now from what is wanted, changing nothing; exit code 1 if anything does."""
    client = Client()
    enabled = client.get("/v1/net/status")["enabled"]
    steps = client.get("/v1/net/plan")
    emit(steps, output, lambda rows: _drift(rows, enabled=enabled))
    if steps:
        raise typer.Exit(1)


def _drift(rows: list[dict[str, Any]], *, enabled: bool) -> str:
    if not enabled:
        return "VM networking is disabled on this host; nothing was compared"
    if not rows:
        return "nothing differs"
    return table([list(row.values()) for row in rows], ["Part", "Action", "Reason"])


@firewall.command("base")
def firewall_base(
    pattern: Annotated[
        list[str] | None, typer.Option("--pattern", help="Names of VMs' devices; may be repeated.")
    ] = None,
) -> None:
    """Print the rules that close every VM's tap until visord opens it, for `nft -f -` at boot."""
    from chronovisor.net.firewall import static

    emit(static.text(tuple(pattern) if pattern else static.TAP_PATTERNS), Format.TEXT)


def _done(verb: str, commit: dict[str, Any]) -> str:
    return f"{verb}: completed successfully (revision {commit['revision']})"
