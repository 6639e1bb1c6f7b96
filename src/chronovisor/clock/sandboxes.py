"""Which sandbox each daemon of the clock runs in; pure.

A daemon gets what its settings need and nothing else: the directories with its files and sockets,
the nodes of the NICs' clocks, a network, and capabilities, each for a reason that stands beside it.

A `pci_passthru_nic` belongs to the daemon that speaks PTP: it moves into that container's network.
phc2sys then sees no network device, so it is told a clock's node in place of a NIC; where only
ptp4l knows which NIC has the time it joins ptp4l's network, for it has to look up all of them.
"""

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

from chronovisor.clock.catalogue import Catalogue
from chronovisor.clock.chrony import daemon as chronyd
from chronovisor.clock.linuxptp.options import HARDWARE_STAMPING, ptp4l_options, stamping
from chronovisor.clock.plan import SANDBOXED, Wanted, WantedDaemon
from chronovisor.clock.settings import Containment, PtpPort, SystemTime, Transport
from chronovisor.worlds import Nic, OwnNetwork, Sandbox, WorldSpec

SPEAKERS = ("ptp4l", "ptpd")
"""The daemons that speak PTP, and so need its NICs."""

SOCKETS_INSIDE = "/var/run"
"""Where phc2sys has its socket, whatever it is told; ptp4l answers there, so both see the same."""

_UNPRIVILEGED_PRIORITY = 6  # socket(7), SO_PRIORITY
_PRIVILEGED_PORTS = 1024  # ip(7), ip_unprivileged_port_start


@dataclass(frozen=True, slots=True)
class Host:
    """What a sandbox depends on of this host.

    `directory` is the clock plane's, `phcs` the number of the clock behind each device. `programs`
    are the paths of programs outside of what every container sees, by name; `chrony_user` is whom
    chronyd runs as, None for root.
    """

    directory: Path
    phcs: Mapping[str, int] = field(default_factory=dict)
    programs: Mapping[str, str] = field(default_factory=dict)
    chrony_user: str | None = None

    @property
    def sockets(self) -> Path:
        """Return the directory that phc2sys and ptp4l see as `SOCKETS_INSIDE`."""
        return self.directory / "phc2sys"


def contained(goal: Wanted, settings: SystemTime, catalogue: Catalogue, host: Host) -> Wanted:
    """Return what should run, each daemon in its sandbox where the settings ask for one.

    A container is given the addresses of its NICs, so nobody else assigns them then.
    """
    if settings.sandbox is Containment.NONE:
        return goal
    daemons = tuple(_contained(daemon, settings, catalogue, host) for daemon in goal.daemons)
    return replace(goal, daemons=daemons, addresses=() if settings.own_network else goal.addresses)


def _contained(
    daemon: WantedDaemon, settings: SystemTime, catalogue: Catalogue, host: Host
) -> WantedDaemon:
    spec = daemon.spec
    if spec.name == "ptp4l":
        sandbox = _ptp4l(daemon, settings, catalogue, host)
    elif spec.name == "phc2sys":
        spec = replace(spec, argv=_by_clock(spec.argv, host))
        sandbox = _phc2sys(daemon, settings, host)
    elif spec.name == "ptpd":
        sandbox = _ptpd(daemon, settings, host)
    else:
        if host.chrony_user is not None:  # it need not be root, and its start asks whether it is
            argv = (spec.argv[0], "-U", "-u", host.chrony_user, *spec.argv[1:])
            spec = replace(spec, argv=argv, user=host.chrony_user)
        sandbox = _chronyd(daemon, settings, host)
    program = host.programs.get(Path(spec.argv[0]).name)
    if program is not None:
        sandbox = replace(sandbox, read_only=(*sandbox.read_only, program))
    return replace(daemon, spec=_digested(replace(spec, sandbox=sandbox)))


def _digested(spec: WorldSpec) -> WorldSpec:
    """Return a spec whose generation covers its sandbox, and tells that there is one."""
    facts = json.dumps([spec.argv, spec.user, asdict(spec.sandbox or Sandbox())])
    digest = hashlib.sha256(facts.encode()).hexdigest()[:8]
    return replace(spec, generation=f"{spec.generation}{SANDBOXED}{digest}")


def _ptp4l(daemon: WantedDaemon, settings: SystemTime, catalogue: Catalogue, host: Host) -> Sandbox:
    options = ptp4l_options(settings, catalogue)
    hardware = any(stamping(port) in HARDWARE_STAMPING for port in options.ports)
    priority = options.whole.get("socket_priority")
    eager = priority is not None and int(priority.text, 0) > _UNPRIVILEGED_PRIORITY
    ports = settings.ptp_config.active_ports()
    return Sandbox(
        writable=(str(host.directory),),
        mapped=((str(host.sockets), SOCKETS_INSIDE),),
        devices=_nodes(settings, host) if hardware else (),
        capabilities=(
            *_transport_rights(ports),
            # SIOCSHWTSTAMP sets what a NIC stamps; socket(7), SO_PRIORITY above 6
            *(("CAP_NET_ADMIN",) if hardware or eager else ()),
            *_clock_rights(daemon),
        ),
        network=_network(settings),
    )


def _transport_rights(ports: tuple[PtpPort, ...]) -> Iterator[str]:
    carried = {port.network_transport for port in ports}
    if carried - {Transport.ETHERNET}:
        yield "CAP_NET_BIND_SERVICE"  # bind(2) to PTP's ports 319 and 320
    if Transport.ETHERNET in carried:
        yield "CAP_NET_RAW"  # packet(7)


def _clock_rights(daemon: WantedDaemon) -> tuple[str, ...]:
    # clock_adjtime(2) on CLOCK_REALTIME. A NIC's clock takes no more than a writable node.
    return ("CAP_SYS_TIME",) if daemon.steers else ()


def _phc2sys(daemon: WantedDaemon, settings: SystemTime, host: Host) -> Sandbox:
    joins = "-a" in daemon.spec.argv  # it looks up the clock of each of ptp4l's NICs
    own = settings.own_network
    return Sandbox(
        read_only=(str(host.directory),),  # its file, and ptp4l's socket
        mapped=((str(host.sockets), SOCKETS_INSIDE),),
        devices=_nodes(settings, host),
        capabilities=_clock_rights(daemon),
        network=None if joins else OwnNetwork(),
        network_of="ptp4l" if joins and own else None,
    )


def _ptpd(daemon: WantedDaemon, settings: SystemTime, host: Host) -> Sandbox:
    return Sandbox(
        writable=(str(host.directory),),
        capabilities=(
            *_transport_rights(settings.ptp_config.active_ports()),
            *_clock_rights(daemon),
        ),
        network=_network(settings),
    )


def _chronyd(daemon: WantedDaemon, settings: SystemTime, host: Host) -> Sandbox:
    paths = chronyd.Paths(host.directory)
    keys = settings.ntp_config.key_file
    options = {name.lower(): str(value) for name, value in settings.options.chrony.items()}
    words = [word for value in options.values() for word in value.replace(",", " ").split()]
    return Sandbox(
        writable=(str(paths.own),),
        read_only=(str(paths.config), *((str(keys),) if keys else ())),
        # a reference clock: `refclock PHC /dev/ptp0`, `refclock PPS /dev/pps0`
        devices=tuple(sorted({w.partition(":")[0] for w in words if w.startswith("/dev/")})),
        capabilities=(
            *(("CAP_NET_BIND_SERVICE",) if _serves_low(options) else ()),  # bind(2) to port 123
            *(("CAP_NET_ADMIN",) if "hwtimestamp" in options else ()),  # SIOCSHWTSTAMP
            *_clock_rights(daemon),
        ),
    )


def _serves_low(options: Mapping[str, str]) -> bool:
    numbers = [options[name] for name in ("port", "acquisitionport", "ptpport") if name in options]
    return any(text.isdigit() and 0 < int(text) < _PRIVILEGED_PORTS for text in numbers)


def _nodes(settings: SystemTime, host: Host) -> tuple[str, ...]:
    """Return the device nodes of the ports' clocks."""
    names = (port.device for port in settings.ptp_config.active_ports())
    return tuple(sorted({f"/dev/ptp{host.phcs[name]}" for name in names if name in host.phcs}))


def _network(settings: SystemTime) -> OwnNetwork | None:
    if not settings.own_network:
        return None
    return OwnNetwork(tuple(_nic(port) for port in settings.ptp_config.active_ports()))


def _nic(port: PtpPort) -> Nic:
    """Return a port's NIC, with the addresses that it has on the host or those of its settings."""
    config = port.ip_config
    return Nic(port.device, None if config.dhcp else tuple(map(str, config.interfaces())))


def _by_clock(argv: tuple[str, ...], host: Host) -> tuple[str, ...]:
    """Return phc2sys's command line with the node of its source in the place of the NIC."""
    if "-s" not in argv:
        return argv
    at = argv.index("-s") + 1
    number = host.phcs.get(argv[at])
    return argv if number is None else (*argv[:at], f"/dev/ptp{number}", *argv[at + 1 :])
