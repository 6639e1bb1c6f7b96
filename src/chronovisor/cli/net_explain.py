"""`visorctl net explain` and `visorctl net trace`: why something is not reached."""

from typing import Annotated, Any

import typer

from chronovisor.cli.arguments import seconds
from chronovisor.cli.client import Client
from chronovisor.cli.output import Format, FormatOption, emit, emit_event, table
from chronovisor.errors import InvalidInput
from chronovisor.host.api import problems

TargetArgument = Annotated[str, typer.Argument(metavar="IP|PORT", help="Address, or port's id.")]
SourceOption = Annotated[
    str, typer.Option("--from", metavar="IP|PORT", help="Where from; this host if not given.")
]
TcpOption = Annotated[int | None, typer.Option("--tcp", metavar="PORT", help="By TCP, to PORT.")]
UdpOption = Annotated[int | None, typer.Option("--udp", metavar="PORT", help="By UDP, to PORT.")]
_DEVICES = (("in", "device_in"), ("out", "device_out"))
IcmpOption = Annotated[bool, typer.Option("--icmp", help="By ping.")]
TimeoutOption = Annotated[str, typer.Option("--timeout", metavar="TIME", help="For how long.")]


def explain(
    target: TargetArgument,
    source: SourceOption = "",
    tcp: TcpOption = None,
    udp: UdpOption = None,
    icmp: IcmpOption = False,
    output: FormatOption = Format.TEXT,
) -> None:
    """Walk the path to an address or port; name the first broken link; exit code 1 if one is."""
    query = {"to": target, "from": source or None, "service": service(tcp, udp, icmp)}
    found = Client().get("/v1/net/explain", **query)
    emit(found, output, _explanation)
    if found["broken"]:
        raise typer.Exit(1)


def trace(
    target: TargetArgument,
    source: SourceOption = "",
    tcp: TcpOption = None,
    udp: UdpOption = None,
    icmp: IcmpOption = False,
    count: Annotated[int, typer.Option("--count", help="How many packets at most.")] = 20,
    timeout: TimeoutOption = "30s",
    output: FormatOption = Format.TEXT,
) -> None:
    """Follow live packets to an address or port, and the answers, through every firewall rule."""
    query: dict[str, Any] = {
        "to": target,
        "from": source or None,
        "service": service(tcp, udp, icmp),
        "count": count,
        "duration_s": seconds(timeout),
    }
    seen: dict[int, str] = {}
    for kind, data in Client().stream("/v1/net/trace", **query):
        if kind == "hello":
            typer.echo(f"following packets to {target}", err=True)
        elif kind == "problem":
            raise problems.error(data)
        elif kind == "end":
            break
        else:
            seen[data["packet"]] = data["verdict"]
            emit_event(data, output, _step)
    typer.echo(f"{len(seen)} packets, {list(seen.values()).count('drop')} dropped", err=True)


def _step(step: dict[str, Any]) -> str:
    """Return a step as a line, under one that says which packet it is where a hook begins."""
    place = f"{step['table']} {step['chain']}"
    said = f"   {place:40}  {step['verdict']:24}  {step['rule']}"
    meaning = f"  [{step['meaning']}]" if step["meaning"] else ""
    lines = [said.rstrip() + meaning]
    if step["headers"]:
        devices = [f"{word} {step[key]}" for word, key in _DEVICES if step[key]]
        lines.insert(0, f"packet {step['packet']}: {', '.join([step['headers'], *devices])}")
    return "\n".join(lines)


def service(tcp: int | None, udp: int | None, icmp: bool) -> str | None:
    """Return the service that options name, as the API has it. Raises `InvalidInput`."""
    named = [
        *([f"tcp/{tcp}"] if tcp is not None else []),
        *([f"udp/{udp}"] if udp is not None else []),
        *(["icmp"] if icmp else []),
    ]
    if len(named) > 1:
        raise InvalidInput("--tcp, --udp and --icmp exclude each other")
    return named[0] if named else None


def _explanation(found: dict[str, Any]) -> str:
    """Return the verdict first, then the whole path."""
    broken = found["broken"]
    if broken is None:
        lines = [f"{found['question']}: nothing is broken"]
    else:
        where = f" of {broken['end']}" if broken["end"] else ""
        lines = [
            f"{found['question']}: broken at {broken['link']}{where}",
            f"   {broken['evidence']}",
            f"   way out: {broken['way_out']}",
        ]
    columns = ("link", "end", "condition", "evidence")
    rows = [[one[name] for name in columns] for one in found["findings"]]
    return "\n".join([*lines, "", table(rows, ["Link", "Of", "State", "Evidence"])])
