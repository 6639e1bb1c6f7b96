"""`visorctl esxcli system ptp`: the words that an ESXi engineer knows, with real values."""

from typing import Annotated, Any

import typer

from chronovisor.cli import esxcli_ntp
from chronovisor.cli.client import Client
from chronovisor.cli.esxcli_stats import statistics
from chronovisor.cli.output import Format, FormatOption, emit, pairs, table
from chronovisor.errors import InvalidInput

app = typer.Typer(rich_markup_mode=None, no_args_is_help=True)
system = typer.Typer(rich_markup_mode=None, no_args_is_help=True)
ptp = typer.Typer(rich_markup_mode=None, no_args_is_help=True)
port = typer.Typer(rich_markup_mode=None, no_args_is_help=True)
stats = typer.Typer(rich_markup_mode=None, no_args_is_help=True)
app.add_typer(system, name="system", help="The host.")
system.add_typer(esxcli_ntp.app, name="ntp", help="Network Time Protocol.")
system.add_typer(ptp, name="ptp", help="Precision Time Protocol.")
ptp.add_typer(port, name="port", help="PTP ports.")
ptp.add_typer(stats, name="stats", help="PTP statistics.")

KEY = "/v1/config/host/system/system_time"
DEVICE_TYPES = {
    "none": "none",
    "virtual-nic": "virtual_nic",
    "pci-passthru-nic": "pci_passthru_nic",
}


@ptp.command("get")
def ptp_get(output: FormatOption = Format.TEXT) -> None:
    """Show the PTP service's settings."""
    settings = _settings(Client())
    rows = {
        "Domain": settings["ptp_config"]["domain"],
        "Enabled": settings["enabled"],
        "Log Level": settings["log_level"],
        "Ports": len(settings["ptp_config"]["port"]),
    }
    emit(rows, output, lambda now: pairs(now.items()))


@ptp.command("set")
def ptp_set(
    enabled: Annotated[
        bool | None, typer.Option("--enabled/--disabled", "-e", help="Run the PTP service.")
    ] = None,
    domain: Annotated[int | None, typer.Option("--domain", "-n", help="PTP domain.")] = None,
    log_level: Annotated[
        int | None, typer.Option("--log-level", "-l", help="0 (least) to 7 (most).")
    ] = None,
) -> None:
    """Change the PTP service's settings."""
    given = {"enabled": enabled, "ptp_config.domain": domain, "log_level": log_level}
    changes = {name: value for name, value in given.items() if value is not None}
    if not changes:
        raise InvalidInput(
            "nothing is given to set", hint="see `visorctl esxcli system ptp set --help`"
        )
    Client().call("PATCH", KEY, changes)


@port.command("get")
def port_get(output: FormatOption = Format.TEXT) -> None:
    """List the PTP ports."""
    client = Client()
    states = {now["index"]: now for now in client.get("/v1/clock/status")["ports"]}
    rows = [
        _port_row(one, states.get(one["index"])) for one in _settings(client)["ptp_config"]["port"]
    ]
    emit(rows, output, _ports_text)


def _port_row(settings: dict[str, Any], now: dict[str, Any] | None) -> dict[str, Any]:
    return {
        "Port": settings["index"],
        "Device Type": settings["device_type"].replace("_", "-"),
        "Device": settings["device"],
        "State": now["state"] if now else "",
        "IP Address": now["address"] if now else "",
        "Time Stamping": settings["time_stamping"],
        "Transport": settings["network_transport"],
        "Delay Mechanism": settings["delay_mechanism"],
    }


def _ports_text(rows: list[dict[str, Any]]) -> str:
    return table([list(row.values()) for row in rows], list(rows[0])) if rows else ""


@port.command("set")
def port_set(
    index: Annotated[int, typer.Option("--port", "-p", help="Index of the port.")],
    device: Annotated[str | None, typer.Option("--device", "-d", help="Network device.")] = None,
    device_type: Annotated[
        str | None,
        typer.Option("--device-type", "-t", help="virtual-nic, pci-passthru-nic or none."),
    ] = None,
) -> None:
    """Change a PTP port, or add it."""
    if device_type is not None and device_type not in DEVICE_TYPES:
        raise InvalidInput(
            f"{device_type!r} is no device type", hint=f"valid: {', '.join(DEVICE_TYPES)}"
        )
    client = Client()
    revision = client.get("/v1/health")["store_revision"]  # before the ports, which so are no older
    ports = _stored_ports(client)
    entry: dict[str, Any] = ports.setdefault(index, {"index": index})
    if device is not None:
        entry["device"] = device
    if device_type is not None:
        entry["device_type"] = DEVICE_TYPES[device_type]
        if device_type == "none":
            entry.pop("device", None)
    value = [ports[number] for number in sorted(ports)]
    query = {"expected_revision": revision}
    client.call("PATCH", KEY, {"ptp_config.port": value}, query=query)


def _stored_ports(client: Client) -> dict[int, dict[str, Any]]:
    stored = [row for row in client.get("/v1/config") if row["path"] == "host/system/system_time"]
    ports = stored[0]["value"].get("ptp_config", {}).get("port", []) if stored else []
    return {one["index"]: one for one in ports}


@stats.command("get")
def stats_get(output: FormatOption = Format.TEXT) -> None:
    """Show the PTP statistics, a row each."""
    rows = statistics(Client().get("/v1/clock/status"))
    emit(rows, output, lambda now: table(now.items(), ["Name", "Value"]))


def _settings(client: Client) -> dict[str, Any]:
    settings: dict[str, Any] = client.get("/v1/clock/settings")
    return settings
