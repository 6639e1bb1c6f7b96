"""`visorctl esxcli system ntp`: NTP in the words that an ESXi engineer knows."""

from typing import Annotated, Any

import typer

from chronovisor.cli.client import Client
from chronovisor.cli.output import Format, FormatOption, emit, pairs
from chronovisor.errors import InvalidInput

app = typer.Typer(rich_markup_mode=None, no_args_is_help=True)

KEY = "/v1/config/host/system/system_time"


@app.command("get")
def ntp_get(output: FormatOption = Format.TEXT) -> None:
    """Show the NTP service's settings."""
    client = Client()
    settings = client.get("/v1/clock/settings")
    now = client.get("/v1/clock/status")
    servers = [one["address"] for one in settings["ntp_config"]["server"]]
    rows: dict[str, Any] = {
        "Enabled": settings["enabled"] and settings["protocol"] == "ntp",
        "Fallback": settings["fallback"]["enabled"],
        "In Fallback State": now["in_fallback_state"],
        "Last Sync Time": now["last_sync_time"],
        "Servers": ", ".join(servers),
    }
    emit(rows, output, lambda shown: pairs(shown.items()))


@app.command("set")
def ntp_set(
    enabled: Annotated[
        bool | None,
        typer.Option("--enabled/--disabled", "-e", help="Have NTP keep the time, or nobody."),
    ] = None,
    server: Annotated[
        list[str] | None, typer.Option("--server", "-s", help="NTP server; may be repeated.")
    ] = None,
    reset: Annotated[bool, typer.Option("--reset", "-r", help="Forget all NTP servers.")] = False,
) -> None:
    """Change the NTP service's settings. Servers given replace those before."""
    if server and reset:
        raise InvalidInput("--server and --reset exclude each other")
    changes: dict[str, Any] = {}
    if server or reset:
        changes["ntp_config.server"] = server or []
    if enabled is not None:
        changes |= {"enabled": True, "protocol": "ntp"} if enabled else {"enabled": False}
    if not changes:
        raise InvalidInput(
            "nothing is given to set", hint="see `visorctl esxcli system ntp set --help`"
        )
    client = Client()
    if enabled is False and client.get("/v1/clock/settings")["protocol"] != "ntp":
        raise InvalidInput(
            "NTP does not keep the time here, so it cannot be disabled",
            hint="fallback.enabled=false ends the fallback to it",
        )
    client.call("PATCH", KEY, changes)
