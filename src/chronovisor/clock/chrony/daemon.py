"""What chronyd is given: its file and its command line. The same settings give the same bytes.

chronyd with `-x` measures and touches no clock; without it it steers the system clock. It never
steps: what it finds is slewed, at `MAX_SLEW_PPM` at most. That also bounds what a server can do
that begins to lie, until it is noticed, and the rate that a killed chronyd leaves behind: while it
slews, the kernel has the slewing rate, and only a chronyd that ends in order puts its own back.

It listens on no port: no server (`port 0`), no commands from the network (`cmdport 0`), but on a
Unix socket in a directory of its own.
"""

import contextlib
import hashlib
import json
import os
import shutil
from dataclasses import dataclass
from pathlib import Path

from chronovisor.clock.chrony.client import LONGEST_NAME
from chronovisor.clock.chrony.directives import lines
from chronovisor.clock.ntp_settings import NtpServer
from chronovisor.clock.settings import Containment, Protocol, SystemTime
from chronovisor.errors import InvalidInput, Problem

WORLD = "chronyd"
MEASURES_ONLY, RELOADS = "-x", "-r"
"""Options of chronyd(8)."""

MAX_SLEW_PPM = {Protocol.NTP: 500, Protocol.PTP: 100}
"""By protocol. With `ntp` as fast as the kernel's own adjtime(3) slews; slower as a fallback,
where the clock has just been right and little is to be slewed. chronyd's default is 83,333."""

HANDOVER_SKEW_PPM = 1.0
"""How far the rate that chronyd is handed may be off. Without a word about it chronyd would take
the rate of its first three measurements for the better one, which are seconds apart and
microseconds wrong."""

_SUN_PATH = 107  # bytes of a Unix socket's path, unix(7), without the terminator


@dataclass(frozen=True, slots=True)
class Paths:
    """chronyd's files in the clock plane's `directory`. Raises `InvalidInput` for one too long.

    What chronyd itself writes stands in `own`, which it makes for the user that it becomes.
    """

    directory: Path

    def __post_init__(self) -> None:
        """Refuse a path that no socket can have."""
        longest = str(self.own / LONGEST_NAME)
        if len(longest.encode()) > _SUN_PATH:
            raise InvalidInput(
                f"the socket path {longest} has more than {_SUN_PATH} bytes",
                hint="choose a shorter run directory",
            )

    @property
    def own(self) -> Path:
        """Return chronyd's own directory."""
        return self.directory / "chrony"

    @property
    def config(self) -> Path:
        """Return its configuration file."""
        return self.directory / "chronyd.conf"

    @property
    def socket(self) -> Path:
        """Return the socket on which it answers."""
        return self.own / "chronyd.sock"

    @property
    def drift(self) -> Path:
        """Return the file with the rate that it begins with."""
        return self.own / "chronyd.drift"


def config_text(settings: SystemTime, paths: Paths, *, steers: bool, may_step: bool) -> str:
    """Return chronyd's file. `may_step`: the system clock has not been right since the boot."""
    ntp = settings.ntp_config
    ours = [
        f"bindcmdaddress {paths.socket}",
        "cmdport 0",
        f"pidfile {_pid_file(settings, paths)}",
        f"dumpdir {paths.own}",
        f"ntsdumpdir {paths.own}",
    ]
    if steers:  # with -x it would write the rate of a clock that only it knows
        ours.append(f"driftfile {paths.drift}")
    if ntp.key_file:
        ours.append(f"keyfile {ntp.key_file}")
    if ntp.first_step_s is not None and may_step and steers:
        ours.append(f"makestep {ntp.first_step_s:g} 1")
    given = {name.lower() for name in settings.options.chrony}
    chosen = {"port": 0, "maxslewrate": MAX_SLEW_PPM[settings.protocol]}
    ours += [f"{name} {value}" for name, value in chosen.items() if name not in given]
    servers = [server_line(one) for one in ntp.server]
    return "\n".join([*servers, *ours, *lines(settings.options.chrony)]) + "\n"


def _pid_file(settings: SystemTime, paths: Paths) -> Path:
    """Return a file that ends with chronyd's container, where it has one.

    There it is process 1, and so is the next: with the file of one that was killed it would take
    itself for another chronyd, and not start.
    """
    here = Path("/tmp") if settings.sandbox is Containment.CRX else paths.own
    return here / "chronyd.pid"


def server_line(server: NtpServer) -> str:
    """Return the directive of one server."""
    words = ["server", server.address]
    words += [name for name in ("iburst", "prefer", "nts") if getattr(server, name)]
    numbers = {
        "minpoll": server.min_poll,
        "maxpoll": server.max_poll,
        "port": server.port,
        "key": server.key,
    }
    words += [f"{name} {value}" for name, value in numbers.items() if value is not None]
    return " ".join(words)


def argv(paths: Paths, *, steers: bool) -> tuple[str, ...]:
    """Return the command line: in the foreground, logging to where the supervisor reads.

    The one that steers begins with what the one before it had measured, which had dumped that when
    it ended, as offsets of the system clock even if it only measured. So it has its servers' time
    at once, and not after three measurements, 2 s apart. One that begins to measure begins anew:
    the clock was another's.
    """
    return (WORLD, "-d", RELOADS if steers else MEASURES_ONLY, "-f", str(paths.config))


def forget_measurements(directory: Path) -> None:
    """Remove what a chronyd dumped that ended long ago; the one that is to be replaced dumps anew.

    `directory` is `Paths.own`. Raises nothing: what stays is no worse than an old measurement.
    """
    with contextlib.suppress(OSError):
        for dumped in directory.glob("*.dat"):
            dumped.unlink(missing_ok=True)


def generation(settings: SystemTime, paths: Paths, *, steers: bool) -> str:
    """Return the digest of all that a running chronyd was given.

    Whether its start might have stepped is left out: that the clock is right by now is no reason
    to restart it.
    """
    text = config_text(settings, paths, steers=steers, may_step=False)
    facts = json.dumps([argv(paths, steers=steers), text, settings.ntp_config.first_step_s])
    return hashlib.sha256(facts.encode()).hexdigest()[:16]


def drift_text(frequency_ppb: float) -> str:
    """Return the drift file that hands over the rate which the kernel has now.

    chronyd counts the other way: it writes by how much the clock would be fast without correction.
    """
    return f"{-frequency_ppb / 1e3:.6f} {HANDOVER_SKEW_PPM:.6f}\n"


def check(settings: SystemTime) -> list[Problem]:
    """Return what keeps this machine from running chronyd, where the settings need it."""
    if not settings.needs_ntp or shutil.which(WORLD):
        return []
    text = "chronyd is not installed on this host; install chrony (its service stays disabled)"
    return [Problem("ntp_config.server", text)]


def environment() -> dict[str, str]:
    """Return the environment: the program that was looked for is the one to run."""
    return {"PATH": os.environ.get("PATH", os.defpath)}
