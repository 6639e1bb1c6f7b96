"""`visorctl clock devices` and `preflight`: the NICs of this host, and whether they keep time."""

import sys
from typing import Annotated, Any

import typer

from chronovisor import errors
from chronovisor.cli.arguments import seconds
from chronovisor.cli.client import Client
from chronovisor.cli.output import Format, FormatOption, emit, pairs, table
from chronovisor.errors import ChronovisorError, NotFound

DEVICES = "/v1/clock/devices"


def devices(
    name: Annotated[
        str, typer.Argument(metavar="[DEVICE]", help="One device, with all that is known of it.")
    ] = "",
    load: Annotated[
        bool, typer.Option("--load", help="Load the kernel modules of NICs without a driver first.")
    ] = False,
    output: FormatOption = Format.TEXT,
) -> None:
    """List the NICs of this host: what each is, can stamp, and shares."""
    client = Client()
    problems = []
    if load:
        for one in client.call("POST", f"{DEVICES}/load"):
            words = one["problem"] or f"{one['module']} is loaded"
            sys.stderr.write(f"{one['pci_address']} ({one['model']}): {words}\n")
            problems += [one["problem"]] if one["problem"] else []
    rows = client.get(DEVICES)
    if name:
        row = next((one for one in rows if name in (one["name"], one["pci_address"])), None)
        if row is None:
            hint = "`visorctl clock devices` lists them"
            raise NotFound(f"there is no network device {name} on this host", hint=hint)
        emit(row, output, _one)
    else:
        emit(rows, output, _all)
    if problems:
        raise typer.Exit(8)


def _all(rows: list[dict[str, Any]]) -> str:
    cells = [
        (
            row["name"] or "-",
            row["pci_address"] or row["kind"] or "-",
            row["driver"] or "-",
            row["model"] or "-",
            "up" if row["link_up"] else "down",
            row["place"] or "host",
            _stamps(row),
            "-" if row["phc_index"] is None else f"/dev/ptp{row['phc_index']}",
            len(row["notices"]) or "",
        )
        for row in rows
    ]
    places = ("Link", "Place", "Stamps", "Clock", "Notices")
    header = ["Device", "PCI or kind", "Driver", "Model", *places]
    shown = table(cells, header)
    more = "\nNotices: visorctl clock devices DEVICE" if any(row["notices"] for row in rows) else ""
    return shown + more


def _stamps(row: dict[str, Any]) -> str:
    if row["hardware_stamps"]:
        return "hardware"
    return "software" if row["software_stamps"] else "none"


def _one(row: dict[str, Any]) -> str:
    plain = {name: value for name, value in row.items() if not isinstance(value, list)}
    lists = {
        name: ", ".join(value)
        for name, value in row.items()
        if isinstance(value, list) and name != "notices"
    }
    lines = [pairs((name, value) for name, value in {**plain, **lists}.items() if value != "")]
    return "\n".join([*lines, *(f"   notice: {text}" for text in row["notices"])])


def preflight(
    device: Annotated[str, typer.Argument(metavar="DEVICE", help="The NIC to exercise.")],
    count: Annotated[int, typer.Option("--count", "-n", help="Messages to send.")] = 100,
    listen: Annotated[str, typer.Option("--listen", help="How long to listen.")] = "5s",
    force: Annotated[
        bool,
        typer.Option("--force", help="Also a NIC that ptp4l or management uses; disturbs it."),
    ] = False,
    apply: Annotated[
        bool, typer.Option("--apply", help="Write what was found into the time settings.")
    ] = False,
    output: FormatOption = Format.TEXT,
) -> None:
    """Exercise a NIC that is free, rather than believe it; exit code 1 if it fails."""
    client = Client()
    orders = {"count": count, "listen_s": seconds(listen) or 0.0, "force": force}
    report = _followed(client, device, orders)
    if apply and report["options"]:
        commit = client.call("POST", f"{DEVICES}/{device}/preflight/apply")
        report["applied_revision"] = commit["revision"] if commit else None
    emit(report, output, lambda found: _report(found, applied=apply))
    if report["verdict"] == "failed":
        raise typer.Exit(1)


def _followed(client: Client, device: str, orders: dict[str, Any]) -> dict[str, Any]:
    """Begin a preflight and return its report; listening begins first, so nothing is missed."""
    shown = ""
    for kind, event in client.stream("/v1/events", kind="clock.preflight"):
        if kind == "hello":
            client.call("POST", f"{DEVICES}/{device}/preflight", orders)
        elif event.get("device") != device:
            continue
        elif "report" in event:
            return dict(event["report"])
        elif "error" in event:
            raise _error(event["error"])
        elif sys.stderr.isatty():
            now = f"{event['step']} {event['done']}/{event['of']}"
            if now != shown:
                sys.stderr.write(f"\r\033[K{now}")
                sys.stderr.flush()
                shown = now
    raise AssertionError("a stream ends with an exception only")


def _error(said: dict[str, Any]) -> ChronovisorError:
    if sys.stderr.isatty():
        sys.stderr.write("\r\033[K")
    found = getattr(errors, said["kind"], ChronovisorError)
    error: ChronovisorError = found(said["message"], hint=said["hint"])
    return error


def _report(found: dict[str, Any], *, applied: bool) -> str:
    if sys.stderr.isatty():
        sys.stderr.write("\r\033[K")
    rows = [(one["check"], one["verdict"], one["text"]) for one in found["findings"]]
    lines = [f"{found['device']}: {found['verdict']}", table(rows, ["Check", "Verdict", "Finding"])]
    wanted = [f"options.ptp4l.{name}={value}" for name, value in found["options"].items()]
    if wanted and not applied:
        lines.append(f"To set: visorctl clock set {' '.join(wanted)}   (or --apply)")
    elif applied and found.get("applied_revision") is not None:
        lines.append(f"Apply: completed successfully (revision {found['applied_revision']})")
    elif applied:
        lines.append("Apply: nothing to change")
    return "\n".join(lines)
