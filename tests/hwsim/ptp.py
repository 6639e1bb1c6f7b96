"""Plain linuxptp in the guest: grandmasters, and clocks that follow them."""

from collections.abc import Sequence
from pathlib import Path

from hwsim.devices import Namespace, Port

RATES = ("--logAnnounceInterval=-1", "--logSyncInterval=-3", "--logMinDelayReqInterval=-3")
"""Fast enough to lock within seconds, slow enough for the guest."""

PEER_RATES = (*RATES, "--logMinPdelayReqInterval=-2")
UDP_E2E = ("-4", "-E", *RATES)
UDP6_E2E = ("-6", "-E", *RATES)
ETHERNET_P2P = ("-2", "-P", *PEER_RATES)

STAMPS_MAY_TAKE_MS = 100
"""ptp4l gives up on a transmit stamp after this; its default of 1 ms is too short for the guest."""

PATIENT = {"tx_timestamp_timeout": STAMPS_MAY_TAKE_MS, "sanity_freq_limit": 0}
"""Options without which ptp4l takes the guest's slowness for a fault: a packet that it reads 25 ms
late looks to it as if the clock had jumped by as much."""


def ptp4l(
    namespace: Namespace, ports: Sequence[Port], directory: Path, *options: str, name: str
) -> Path:
    """Start ptp4l on ports of a namespace; return the file of what it says."""
    log = directory / f"{name}.log"
    namespace.start(
        *("ptp4l", "-m", "-q", *(word for port in ports for word in ("-i", port.name))),
        *("--uds_address", str(directory / f"{name}.sock")),
        *(f"--{option}={value}" for option, value in PATIENT.items()),
        *options,
        log=log,
    )
    return log


def grandmaster(
    namespace: Namespace, port: Port, directory: Path, *options: str, name: str = "gm"
) -> Path:
    """Start a grandmaster whose time is that of the port's clock."""
    return ptp4l(namespace, [port], directory, "--masterOnly=1", *options, name=name)


def phc2sys(namespace: Namespace, directory: Path, *options: str, of: str) -> Path:
    """Start phc2sys beside the ptp4l of that name; return the file of what it says."""
    log = directory / "phc2sys.log"
    sockets = ("-z", str(directory / f"{of}.sock"))
    namespace.start("phc2sys", "-m", "-q", *sockets, *options, log=log)
    return log
