"""The options with which ptp4l runs, from typed settings and passthrough options.

Each value keeps the place in the settings that it comes from, so that a problem with it can be
named there; the same values are then written to the file.

Whose clock serves whom: in role `client` a host only follows. It gets clientOnly 1 (slaveOnly
before 4.0) unless a passthrough option asks for more: clientOnly 0, serverOnly 1 on a port, or
gmCapable 0, which excludes it. With several ports ptp4l is a boundary clock; clientOnly keeps that
one from serving too, and its ports are redundant paths to a master. In role `boundary` it serves
on the ports on which it does not follow.

Several ports with hardware time stamps may sit on different NICs, each with its own clock.
boundary_clock_jbod 1 lets ptp4l take them; phc2sys then keeps all of them together. Where all
ports are known to share one clock, neither is needed.
"""

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass

from chronovisor.clock.catalogue import Catalogue, Given, PortOptions, Release
from chronovisor.clock.catalogue.ownership import PORT_SETTINGS
from chronovisor.clock.catalogue.text import as_text
from chronovisor.clock.linuxptp.paths import Paths
from chronovisor.clock.profiles import expand
from chronovisor.clock.ptp_settings import PtpRole
from chronovisor.clock.settings import Discipline, Options, PtpPort, SystemTime
from chronovisor.config.fields import place_text

SUMMARY_LOG2_S = 6
"""Log lines of the servo are summed up over 64 s: the log is for people, states come from data
sets. Beware that ptp4l writes other lines for a sum than for a single measurement."""

HARDWARE_STAMPING = ("hardware", "onestep", "p2p1step")
_READ_ONLY_SOCKET_SINCE = Release(4, 0)

Clocks = Mapping[str, int]
"""Number of the hardware clock (PHC) behind each device, as far as it is known."""


@dataclass(frozen=True, slots=True)
class Ptp4lOptions:
    """All that ptp4l is told: [global] by canonical name, and each active port's section."""

    whole: Mapping[str, Given]
    ports: tuple[PortOptions, ...]


def positions(settings: SystemTime) -> list[tuple[int, PtpPort]]:
    """Return the active ports in the order of their index, each with its place in `port`."""
    places = {port.index: place for place, port in enumerate(settings.ptp_config.port)}
    return [(places[port.index], port) for port in settings.ptp_config.active_ports()]


def field_path(where: str, name: str) -> str:
    """Return the path of an option in the mapping at `where`, as the Config Store writes it.

    `options.ptp4l.priority1`, but `options.ptp4l["G.8275.defaultDS.localPriority"]`.
    """
    step = place_text((name,))
    return where + (step if step.startswith("[") else f".{step}")


def passed_through(catalogue: Catalogue, options: Options, where: str) -> dict[str, Given]:
    """Return passthrough options by canonical name; `where` is the path of their mapping."""
    return {
        catalogue.canonical(name): Given(as_text(value), field_path(where, name))
        for name, value in options.items()
    }


def one_clock(devices: Collection[str], clocks: Clocks | None) -> bool:
    """Return whether all these devices are known to share one hardware clock."""
    known = [clocks[device] for device in devices if device in clocks] if clocks else []
    return len(known) == len(devices) and len(set(known)) == 1


def ptp4l_options(
    settings: SystemTime,
    catalogue: Catalogue,
    paths: Paths | None = None,
    clocks: Clocks | None = None,
) -> Ptp4lOptions:
    """Return the options of ptp4l; without `paths` those of sockets are left out.

    The settings need not be right; an impossible value is returned as it was given. What their
    profile adds is added; `clocks` that are not known count as different ones.
    """
    settings = expand(settings, catalogue).settings
    ports = tuple(_port(catalogue, place, port) for place, port in positions(settings))
    whole = passed_through(catalogue, settings.options.ptp4l, "options.ptp4l")
    for name, given in _chosen(settings, catalogue, ports, clocks):
        whole.setdefault(name, given)
    whole |= dict(_owned(settings, catalogue, paths))
    for name in ("delay_mechanism", "time_stamping"):
        if common := _common(name, ports):
            whole[name] = common
    client_only = catalogue.canonical("slaveOnly")
    serves = settings.ptp_config.role is PtpRole.BOUNDARY
    only = "0" if serves else _client_only(catalogue, whole, ports)
    whole.setdefault(client_only, Given(only, "ptp_config.role" if serves else ""))
    return Ptp4lOptions(whole, ports)


def management_sdo_id(settings: SystemTime, catalogue: Catalogue) -> int:
    """Return the majorSdoId that ptp4l expects in management messages on its socket.

    It is transportSpecific of [global]; ptp4l drops what carries another.
    """
    given = ptp4l_options(settings, catalogue).whole.get("transportSpecific")
    return int(given.text, 0) if given else 0


def stamping(port: PortOptions) -> str:
    """Return the time_stamping that holds for a port, in lower case."""
    return port.options["time_stamping"].text.lower()


def needs_phc2sys(settings: SystemTime, catalogue: Catalogue) -> bool:
    """Return whether phc2sys must carry the time of a NIC's clock to the system clock.

    With software time stamps ptp4l steers the system clock itself, and with discipline `monitor`
    no clock is steered at all.
    """
    ports = ptp4l_options(settings, catalogue).ports
    steers = settings.discipline is Discipline.SYSTEM_CLOCK
    return steers and any(stamping(port) in HARDWARE_STAMPING for port in ports)


def may_serve(options: Ptp4lOptions, catalogue: Catalogue) -> bool:
    """Return whether a port may become a master, with a clock that may be nobody's."""
    return not _is(options.whole[catalogue.canonical("slaveOnly")], 1)


def _port(catalogue: Catalogue, place: int, port: PtpPort) -> PortOptions:
    where = f"ptp_config.port[{place}]"
    typed = {
        name: Given(str(getattr(port, name).value), f"{where}.{name}") for name in PORT_SETTINGS
    }
    own = passed_through(catalogue, port.options, f"{where}.options")
    if port.table_id is not None:
        number = Given(str(port.table_id), f"{where}.unicast_master_table")
        typed["unicast_master_table"] = number
    return PortOptions(f"PTP port {port.index} ({port.device})", where, typed | own)


def _chosen(
    settings: SystemTime,
    catalogue: Catalogue,
    ports: tuple[PortOptions, ...],
    clocks: Clocks | None,
) -> Iterator[tuple[str, Given]]:
    """Give our own choices, which a passthrough option may overrule."""
    if settings.calibration_delay_ns:
        delay = str(settings.calibration_delay_ns)
        yield "delayAsymmetry", Given(delay, "calibration_delay_ns")
    hardware = any(stamping(port) in HARDWARE_STAMPING for port in ports)
    devices = [port.device for _, port in positions(settings)]
    if len(ports) > 1 and hardware and not one_clock(devices, clocks):
        yield "boundary_clock_jbod", Given("1", "")
    for name in ("priority1", "priority2"):  # always written: they can be set while ptp4l runs
        yield name, Given(str(catalogue.options[name].default), "")


def _owned(
    settings: SystemTime, catalogue: Catalogue, paths: Paths | None
) -> Iterator[tuple[str, Given]]:
    monitor = settings.discipline is Discipline.MONITOR
    yield "domainNumber", Given(str(settings.ptp_config.domain), "ptp_config.domain")
    yield "free_running", Given(str(int(monitor)), "discipline")
    yield "logging_level", Given(str(settings.log_level), "log_level")
    yield "summary_interval", Given(str(SUMMARY_LOG2_S), "")
    yield "use_syslog", Given("0", "")
    yield "verbose", Given("1", "")
    if paths is not None:
        yield "uds_address", Given(str(paths.socket), "")
        if catalogue.release >= _READ_ONLY_SOCKET_SINCE:
            yield "uds_ro_address", Given(str(paths.read_only_socket), "")


def _common(name: str, ports: tuple[PortOptions, ...]) -> Given | None:
    """Return what all ports say: time_stamping is one for all, and so is a TC's mechanism."""
    texts = {port.options[name].text.lower() for port in ports}
    return ports[0].options[name] if len(texts) == 1 else None


def _client_only(
    catalogue: Catalogue, whole: Mapping[str, Given], ports: tuple[PortOptions, ...]
) -> str:
    server = catalogue.canonical("masterOnly")
    serves = any(
        _is(options.get(server), 1) for options in (whole, *(port.options for port in ports))
    )
    return "0" if serves or _is(whole.get("gmCapable"), 0) else "1"


def _is(given: Given | None, value: int) -> bool:
    try:
        return given is not None and int(given.text, 0) == value
    except ValueError:
        return False
