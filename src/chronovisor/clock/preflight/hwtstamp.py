"""A NIC's stamping turned on for a while, and put back as it was found.

The configuration belongs to the NIC and not to a socket, so whoever dies leaves it changed. What
was found is kept in a file, under a lock that ends with its process, from before the change until
it is put back; `put_back` mends what a killed preflight left. Sources: linux/net_tstamp.h (struct
hwtstamp_config), Documentation/networking/timestamping.rst section 3.
"""

import array
import contextlib
import fcntl
import json
import socket
import struct
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import NamedTuple

from chronovisor.clock.devices.stamping import RX_FILTERS, TX_TYPES
from chronovisor.errors import Conflict, ToolFailed

_SIOCSHWTSTAMP, _SIOCGHWTSTAMP = 0x89B0, 0x89B1
_IFREQ_POINTER = struct.Struct("16sP16x")
_CONFIG = struct.Struct("=3i")
# What ptp4l would ask for is tried first, what stamps all packets last
_FILTERS = ("ptpv2-event", "ptpv2-l2-event", "ptpv2-l4-event", "all", "some")


class Config(NamedTuple):
    """struct hwtstamp_config: numbers of HWTSTAMP_TX_* and HWTSTAMP_FILTER_*."""

    flags: int = 0
    tx_type: int = 0
    rx_filter: int = 0

    @property
    def on(self) -> bool:
        """Whether somebody has turned stamping on."""
        return bool(self.tx_type or self.rx_filter)

    def __str__(self) -> str:
        """Return the configuration in ethtool's names."""
        return f"tx {_named(TX_TYPES, self.tx_type)}, rx {_named(RX_FILTERS, self.rx_filter)}"


def _named(names: tuple[str, ...], number: int) -> str:
    return names[number] if 0 <= number < len(names) else str(number)


def wanted(rx_filters: Collection[str]) -> Config:
    """Return what to turn on for a NIC that has these receive filters."""
    found = next((name for name in _FILTERS if name in rx_filters), "none")
    return Config(0, TX_TYPES.index("on"), RX_FILTERS.index(found))


def read(device: str) -> Config | None:
    """Return the configuration in force, None where the driver does not tell."""
    try:
        return _exchange(device, _SIOCGHWTSTAMP, Config())
    except OSError:
        return None


def write(device: str, config: Config) -> Config:
    """Put a configuration in force; return what the driver made of it. Raises `ToolFailed`."""
    try:
        return _exchange(device, _SIOCSHWTSTAMP, config)
    except OSError as error:
        text = f"{device}: the driver refuses hardware time stamps ({config}): {error.strerror}"
        raise ToolFailed(text) from error


def _exchange(device: str, request: int, config: Config) -> Config:
    content = array.array("B", _CONFIG.pack(*config))
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as channel:
        pointer = _IFREQ_POINTER.pack(device.encode(), content.buffer_info()[0])
        fcntl.ioctl(channel, request, pointer)
    return Config(*_CONFIG.unpack(content))


@contextlib.contextmanager
def turned_on(device: str, config: Config, records: Path, *, force: bool) -> Iterator[Config]:
    """Turn stamping on for a while; yield what the driver made of it.

    Raises `Conflict` for a NIC whose stamping is on already, unless forced, and `ToolFailed`.
    """
    put_back(records, only=device)
    before = read(device)
    user = _user(device)
    # ptp4l leaves stamping on when it ends: only with a listener it is in use
    if before is not None and before.on and user and not force:
        raise Conflict(
            f"{device}: its time stamping is in use ({before}): {user}",
            hint="stop the ptp4l that runs on it, or use --force and disturb it",
        )
    with _recorded(device, before or Config(), records) as record:
        try:
            yield write(device, config)
        finally:
            write(device, before or Config())
            record.unlink(missing_ok=True)


def listens(packet: str, udp: str, index: int) -> str:
    """Return who speaks PTP, out of the texts of /proc/net/packet and udp; empty for nobody.

    A packet socket belongs to a device, a UDP one may belong to any.
    """
    for line in packet.splitlines()[1:]:
        words = line.split()
        if len(words) > 4 and words[3] == "88f7" and words[4] == str(index):
            return "a program listens for PTP on it"
    ports = (line.split()[1].rpartition(":")[2] for line in udp.splitlines() if ": " in line)
    return "a program has the port of PTP, UDP 319" if f"{319:04X}" in ports else ""


def _user(device: str) -> str:
    try:
        index = socket.if_nametoindex(device)
    except OSError:  # has just gone; the next call on it says so
        return ""
    packet, *udp = (_text(name) for name in ("packet", "udp", "udp6"))
    return listens(packet, "\n".join(udp), index)


def _text(name: str) -> str:
    try:
        return Path("/proc/thread-self/net", name).read_text(encoding="ascii")
    except OSError:  # a kernel without it
        return ""


@contextlib.contextmanager
def _recorded(device: str, found: Config, records: Path) -> Iterator[Path]:
    records.mkdir(parents=True, exist_ok=True)
    path = records / f"{device}.json"
    with path.open("a+") as file:
        if not _locked(file.fileno()):
            raise Conflict(f"{device}: another preflight is at work on it")
        file.truncate(0)
        file.write(json.dumps(found))
        file.flush()
        yield path


def _locked(number: int) -> bool:
    try:
        fcntl.flock(number, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


def put_back(records: Path, only: str | None = None, busy: Collection[str] = ()) -> list[str]:
    """Put back what killed preflights left; return the devices. `busy` ones are left alone.

    A device that ptp4l uses by now has the configuration that ptp4l wants.
    """
    done = []
    for path in sorted(records.glob("*.json")):
        device = path.stem
        if only not in (None, device):
            continue
        with contextlib.suppress(FileNotFoundError), path.open("r+") as file:
            if not _locked(file.fileno()):
                continue
            config = _recorded_config(file.read())
            if config is not None and device not in busy:
                with contextlib.suppress(ToolFailed):  # the device has gone
                    write(device, config)
                    done.append(device)
            path.unlink()
    return done


def _recorded_config(text: str) -> Config | None:
    """Return what a record says; None for one that was cut off, when nothing was changed yet."""
    try:
        values = json.loads(text)
        return Config(*map(int, values)) if len(values) == len(Config._fields) else None
    except (ValueError, TypeError):
        return None
