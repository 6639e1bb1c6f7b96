"""What is wrong with a clock's role, and with the masters that it asks by unicast.

Facts of ptp4l: a port with unicast masters asks for delay responses by unicast, too; masters of
another transport than the port's are kept and never reached; a peer is asked by unicast only with
delay_mechanism P2P.
"""

from collections.abc import Iterator, Sequence

from chronovisor.clock.catalogue import Catalogue, PortOptions
from chronovisor.clock.catalogue.text import as_text
from chronovisor.clock.linuxptp.options import field_path, positions
from chronovisor.clock.ptp_settings import PtpRole, UnicastMasterTable, transport_of
from chronovisor.clock.settings import Discipline, SystemTime
from chronovisor.errors import Problem


def check_role(settings: SystemTime, catalogue: Catalogue) -> Iterator[Problem]:
    """Give what keeps this host from being a boundary clock, if it is asked to be one."""
    config = settings.ptp_config
    if config.role is not PtpRole.BOUNDARY:
        return
    if len(config.active_ports()) < 2:
        text = "a boundary clock needs two ports or more: one to follow, others to serve"
        yield Problem("ptp_config.role", text, config.role.value, PtpRole.CLIENT.value)
    if settings.discipline is Discipline.MONITOR:
        text = (
            "a boundary clock hands on the time of its own clock, which discipline monitor "
            "does not set"
        )
        yield Problem("discipline", text, "monitor", Discipline.SYSTEM_CLOCK.value)
    forbids = catalogue.canonical("slaveOnly")
    for name, value in settings.options.ptp4l.items():
        if catalogue.canonical(name) == forbids and int(as_text(value), 0):
            where = field_path("options.ptp4l", name)
            text = f"{name} {as_text(value)} keeps a boundary clock from serving anybody"
            yield Problem(where, text, as_text(value), "0, or ptp_config.role client")


def check_unicast(settings: SystemTime, ports: Sequence[PortOptions]) -> Iterator[Problem]:
    """Give what is wrong with tables of unicast masters; `ports` are the active ones, in order."""
    numbers: dict[int, str] = {}
    for (place, port), options in zip(positions(settings), ports, strict=True):
        table, number = port.unicast_master_table, port.table_id
        if table is None or number is None:
            continue
        where = f"ptp_config.port[{place}].unicast_master_table"
        first = numbers.setdefault(number, options.label)
        if first != options.label:
            text = f"{options.label}: unicast table {number} is that of {first}, too"
            yield Problem(f"{where}.table_id", text, str(number))
        yield from _transports(where, table, options)
        yield from _peer(where, table, options)


def _transports(where: str, table: UnicastMasterTable, port: PortOptions) -> Iterator[Problem]:
    own = port.options["network_transport"].text
    for place, address in enumerate(table.masters):
        if (other := transport_of(address)).lower() != own.lower():
            text = (
                f"{port.label}: master {address} is reached over {other}, "
                f"the port's network_transport is {own}"
            )
            yield Problem(f"{where}.masters[{place}]", text, address, f"an address of {own}")


def _peer(where: str, table: UnicastMasterTable, port: PortOptions) -> Iterator[Problem]:
    if not table.peer_address:
        return
    mechanism, own = (port.options[n].text for n in ("delay_mechanism", "network_transport"))
    if "P2P" not in mechanism.upper():
        text = f"{port.label}: peer_address is asked only with delay_mechanism P2P, not {mechanism}"
        yield Problem(f"{where}.peer_address", text, table.peer_address)
    if (other := transport_of(table.peer_address)).lower() != own.lower():
        text = (
            f"{port.label}: peer {table.peer_address} is reached over {other}, "
            f"the port's network_transport is {own}"
        )
        yield Problem(f"{where}.peer_address", text, table.peer_address, f"an address of {own}")
