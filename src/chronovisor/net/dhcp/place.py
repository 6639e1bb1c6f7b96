"""Where the plane keeps what DHCP needs, and how its daemons are run."""

import hashlib
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from chronovisor import __version__
from chronovisor.worlds import RestartPolicy, WorldSpec

DNSMASQ, RESPONDER, NAMES = "net-dhcp", "net-ipv6", "net-dns"
DAEMONS = (DNSMASQ, RESPONDER, NAMES)
"""The worlds: DHCPv4 by dnsmasq, DHCPv6 and advertisements by ours, DNS by another dnsmasq."""

MOST_LEASES = 1_000_000  # dnsmasq stops at 1,000 unless told

RESTART = RestartPolicy(
    min_uptime_s=5.0, max_quick_failures=None, backoff_initial_s=0.05, backoff_max_s=10.0
)
"""VMs wait for their lease: back at once, and never given up."""


@dataclass(frozen=True)  # no slots: the paths below are made once
class Place:
    """Directory and manner of DHCP on one host.

    `directory` must survive a restart of the machine (the leases are in it), and all may enter it
    and those above it, for dnsmasq reads as a user without rights. `patterns` are names
    of taps as dnsmasq takes them (`*` at the end only); devices beyond them are added by name,
    which restarts dnsmasq. Never a pattern that an uplink matches: dnsmasq is authoritative. With
    `dns` the host answers VMs' DNS, from `/etc/resolv.conf` and the ports' host names.
    """

    directory: Path
    patterns: tuple[str, ...] = ("tap*", "vnet*")
    dns: bool = False

    @cached_property
    def hosts(self) -> Path:
        """Return the directory of dnsmasq's host files, one a port."""
        return self.directory / "hosts"

    @cached_property
    def options(self) -> Path:
        """Return the directory of dnsmasq's options files, one a port."""
        return self.directory / "options"

    @cached_property
    def ipv6(self) -> Path:
        """Return the directory of the responder's records, one a port."""
        return self.directory / "ipv6"

    @cached_property
    def names(self) -> Path:
        """Return the directory of DNS names, one file a port."""
        return self.directory / "names"

    @property
    def folders(self) -> tuple[Path, ...]:
        """Return every directory of one file a port."""
        return self.options, self.ipv6, self.names, self.hosts

    @property
    def leases(self) -> Path:
        """Return dnsmasq's lease file."""
        return self.directory / "leases"

    @property
    def reload_mark(self) -> Path:
        """Return the file that stands while dnsmasq may hold what is no longer in its files."""
        return self.directory / "reload-needed"


def dnsmasq(place: Place, devices: Iterable[str]) -> WorldSpec:
    """Return the world of DHCPv4. Two halves cover all of IPv4; one range of /0 it does not take.

    `lo` is for `release`. Nobody gets an address that no host file names: ranges are `static`.
    """
    argv = (
        *_common(place, devices),
        "--interface=lo",
        "--port=0",
        "--dhcp-range=0.0.0.0,static,128.0.0.0,1h",
        "--dhcp-range=128.0.0.0,static,128.0.0.0,1h",
        "--dhcp-authoritative",
        "--no-ping",
        # By unicast it would put the VM into the kernel's ARP table itself, over what is there.
        "--dhcp-broadcast",
        f"--dhcp-lease-max={MOST_LEASES}",
        f"--dhcp-hostsdir={place.hosts}",
        f"--dhcp-optsdir={place.options}",
        f"--dhcp-leasefile={place.leases}",
    )
    return _world(DNSMASQ, argv)


def names(place: Place, devices: Iterable[str]) -> WorldSpec:
    """Return the world of DNS: apart from DHCP, so that hostile questions cannot hurt leases."""
    argv = (
        *_common(place, devices),
        "--except-interface=lo",
        "--no-hosts",
        "--domain-needed",
        "--bogus-priv",
        "--stop-dns-rebind",
        f"--hostsdir={place.names}",
    )
    return _world(NAMES, argv)


def responder(place: Place) -> WorldSpec:
    """Return the world of DHCPv6 and router advertisements: another one with each release."""
    argv = (sys.executable, "-m", "chronovisor.net.dhcp.v6.responder", str(place.ipv6))
    return _world(RESPONDER, argv, __version__)


def _common(place: Place, devices: Iterable[str]) -> tuple[str, ...]:
    starts = tuple(one.removesuffix("*") for one in place.patterns if one.endswith("*"))
    beyond = {one for one in devices if not one.startswith(starts)} - {*place.patterns}
    return (
        "dnsmasq",
        "--keep-in-foreground",
        "--log-facility=-",
        "--conf-file=/dev/null",
        "--bind-dynamic",
        *(f"--interface={one}" for one in (*place.patterns, *sorted(beyond))),
    )


def _world(name: str, argv: tuple[str, ...], version: str = "") -> WorldSpec:
    generation = hashlib.sha256("\0".join((*argv, version)).encode()).hexdigest()[:16]
    return WorldSpec(name, argv, restart=RESTART, generation=generation)
