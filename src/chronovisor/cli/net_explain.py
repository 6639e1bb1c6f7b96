"""`visorctl net explain` and `visorctl net trace`: why something is not reached."""

from typing import Annotated, Any

import typer

from chronovisor.cli.client import Client
from chronovisor.cli.output import Format, FormatOption, emit, table
from chronovisor.errors import InvalidInput

TargetArgument = Annotated[str, typer.Argument(metavar="IP|PORT", help="Address, or port's id.")]
SourceOption = Annotated[
    str, typer.Option("--from", metavar="IP|PORT", help="Where from; this host if not given.")
]
TcpOption = Annotated[int | None, typer.Option("--tcp", metavar="PORT", help="By TCP, to PORT.")]
UdpOption = Annotated[int | None, typer.Option("--udp", metavar="PORT", help="By UDP, to PORT.")]
IcmpOption = Annotated[bool, typer.Option("--icmp", help="By ping.")]


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
