"""Settings of the clock plane: the Config Store key `host/system/system_time`.

Names follow vSphere's HostDateTimeConfig and HostPtpConfig where those have one (`protocol`,
`enabled`, `ptp_config`, `domain`, `port`, `index`, `device_type`, `device`, `ip_config`), in snake
case. What a program knows and this model does not is set through `options` (whole program) and
`port[].options` (one port of ptp4l); both are judged by the installed release. Options of an engine
that is not chosen are kept, so that there is a way back.
"""

from enum import StrEnum
from ipaddress import IPv4Address, IPv4Interface, IPv6Interface
from typing import Annotated, Literal

from pydantic import Field, model_validator

from chronovisor.clock.ntp_settings import Fallback, NtpConfig
from chronovisor.clock.ptp_settings import ProfileName, PtpRole, UnicastMasterTable
from chronovisor.config.settings import Settings

OptionValue = bool | int | float | str
"""Value of a passthrough option; a boolean is written as 0 or 1."""

Options = dict[str, OptionValue]


class Protocol(StrEnum):
    """What keeps this host's time (vSphere HostDateTimeConfig.protocol)."""

    PTP = "ptp"
    NTP = "ntp"


class EngineName(StrEnum):
    """Which program speaks PTP."""

    LINUXPTP = "linuxptp"
    PTPD = "ptpd"


class DeviceType(StrEnum):
    """What a PTP port runs on (vSphere HostPtpConfigDeviceType)."""

    VIRTUAL_NIC = "virtual_nic"
    PCI_PASSTHRU_NIC = "pci_passthru_nic"
    NONE = "none"


class DeviceRisk(StrEnum):
    """What the check of devices refuses for a pci_passthru_nic unless the port accepts it."""

    OTHER_FUNCTION = "other_function"
    MANAGEMENT_NIC = "management_nic"


class TimeStamping(StrEnum):
    """Where packets get their time stamps (ptp4l `time_stamping`)."""

    HARDWARE = "hardware"
    SOFTWARE = "software"


class Transport(StrEnum):
    """What carries PTP messages (IEEE 1588-2019 annexes C, D and E)."""

    UDP_IPV4 = "UDPv4"
    UDP_IPV6 = "UDPv6"
    ETHERNET = "L2"


class DelayMechanism(StrEnum):
    """How the path delay is measured (IEEE 1588-2019 clause 11)."""

    E2E = "E2E"
    P2P = "P2P"


class Discipline(StrEnum):
    """Whose clock is set.

    `system_clock` steers CLOCK_REALTIME to the grandmaster; `monitor` measures against it and
    touches no clock.
    """

    SYSTEM_CLOCK = "system_clock"
    MONITOR = "monitor"


class Containment(StrEnum):
    """What the daemons of the clock run in."""

    CRX = "crx"
    NONE = "none"


class IpConfig(Settings):
    """Addresses of a port's device (vSphere HostIpConfig).

    With `dhcp` true (the default) the host's own network configuration provides them and
    Chronovisor leaves them alone. Otherwise each address given here is added where it is missing;
    addresses of others are never removed. As on ESXi, only a `pci_passthru_nic` can be given
    addresses: those of a `virtual_nic` are the host's own affair.
    """

    dhcp: Annotated[
        bool, Field(description="Leave addresses to the host; false: add those given here")
    ] = True
    ip_address: Annotated[IPv4Address | None, Field(description="Needs subnet_mask")] = None
    subnet_mask: Annotated[IPv4Address | None, Field(description="Needs ip_address")] = None
    ip_v6_addresses: Annotated[
        tuple[IPv6Interface, ...], Field(description="Each with its prefix length: fd00::2/64")
    ] = ()

    @model_validator(mode="after")
    def _static_or_dhcp(self) -> "IpConfig":
        if self.dhcp and (self.ip_address or self.subnet_mask or self.ip_v6_addresses):
            raise ValueError("addresses need dhcp to be false")
        if (self.ip_address is None) != (self.subnet_mask is None):
            raise ValueError("ip_address and subnet_mask go together")
        self.interfaces()  # a mask with holes is refused here
        return self

    def interfaces(self) -> tuple[IPv4Interface | IPv6Interface, ...]:
        """Return the addresses with their prefix lengths."""
        if self.ip_address is None:
            return self.ip_v6_addresses
        return (IPv4Interface(f"{self.ip_address}/{self.subnet_mask}"), *self.ip_v6_addresses)


class PtpPort(Settings):
    """One PTP port (vSphere HostPtpConfigPtpPort); `device_type: none` keeps a slot unused."""

    index: Annotated[
        int, Field(ge=0, le=63, description="Number of the port, `port<index>` in trx.conf; unique")
    ]
    device_type: Annotated[
        DeviceType, Field(description="What the port runs on; none keeps the slot unused")
    ] = DeviceType.VIRTUAL_NIC
    device: Annotated[
        str,
        Field(
            max_length=15,  # IFNAMSIZ - 1
            pattern=r"^[^\s/:\[\]#\x00-\x1f\x7f]*$",
            description="Network device, no two ports the same; empty only with device_type none",
        ),
    ] = ""
    ip_config: Annotated[
        IpConfig, Field(description="Addresses that Chronovisor adds; only for a pci_passthru_nic")
    ] = IpConfig()
    time_stamping: Annotated[
        TimeStamping, Field(description="Where packets get their time stamps: in the NIC or kernel")
    ] = TimeStamping.SOFTWARE
    network_transport: Annotated[
        Transport, Field(description="What carries PTP messages; must be that of the network")
    ] = Transport.UDP_IPV4
    delay_mechanism: Annotated[
        DelayMechanism, Field(description="End to end, or with the next PTP device (peer to peer)")
    ] = DelayMechanism.E2E
    unicast_master_table: Annotated[
        UnicastMasterTable | None, Field(description="Masters that the port asks by unicast")
    ] = None
    accept: Annotated[
        tuple[DeviceRisk, ...],
        Field(
            description="What is no obstacle for a pci_passthru_nic here: a PCI function that does "
            "not own the NIC's clock, a NIC that the host's own management uses"
        ),
    ] = ()
    options: Annotated[Options, Field(description="ptp4l options of this port alone")] = {}

    @property
    def table_id(self) -> int | None:
        """Return the number of the port's unicast master table, None where it has none."""
        table = self.unicast_master_table
        return None if table is None else table.table_id or self.index + 1

    @model_validator(mode="after")
    def _device_fits_type(self) -> "PtpPort":
        if self.device_type is DeviceType.NONE and self.device:
            raise ValueError(f"device_type none has no device, but {self.device!r} is given")
        if self.device_type is not DeviceType.NONE and not self.device:
            raise ValueError(f"device_type {self.device_type.value} needs a device")
        if self.device_type is not DeviceType.PCI_PASSTHRU_NIC and not self.ip_config.dhcp:
            raise ValueError(
                "only a pci_passthru_nic is given addresses here; "
                "those of a virtual_nic come from the host's network configuration"
            )
        return self


class PtpConfig(Settings):
    """PTP of this host (vSphere HostPtpConfig)."""

    domain: Annotated[
        int, Field(ge=0, le=255, description="PTP domain number; linuxptp before 4.0 ends at 127")
    ] = 0
    profile: Annotated[
        ProfileName | None,
        Field(description="Preset that fills in what is not set; see `clock profile show`"),
    ] = None
    role: Annotated[
        PtpRole,
        Field(description="client only follows; boundary hands the time on through other ports"),
    ] = PtpRole.CLIENT
    port: Annotated[tuple[PtpPort, ...], Field(description="The PTP ports")] = ()

    @model_validator(mode="after")
    def _ports_are_distinct(self) -> "PtpConfig":
        for what, seen in (
            ("index", [str(p.index) for p in self.port]),
            ("device", [p.device for p in self.port if p.device]),
        ):
            twice = sorted({value for value in seen if seen.count(value) > 1})
            if twice:
                raise ValueError(f"port {what} {', '.join(twice)} is used by more than one port")
        tables = [p.table_id for p in self.port if p.table_id is not None]
        shared = sorted({str(number) for number in tables if tables.count(number) > 1})
        if shared:
            raise ValueError(f"unicast table_id {', '.join(shared)} is used by more than one port")
        return self

    def active_ports(self) -> tuple[PtpPort, ...]:
        """Return the ports that have a device, by index."""
        return tuple(
            sorted(
                (p for p in self.port if p.device_type is not DeviceType.NONE),
                key=lambda p: p.index,
            )
        )


class PassthroughOptions(Settings):
    """Options that go to one program as they are, by namespace (as in trx.conf)."""

    ptp4l: Annotated[Options, Field(description="Options of ptp4l as a whole")] = {}
    phc2sys: Annotated[Options, Field(description="Options of phc2sys")] = {}
    chrony: Annotated[Options, Field(description="Directives of chronyd")] = {}
    ptpd: Annotated[Options, Field(description="Settings of ptpd, by `section:key`")] = {}


class StatisticsLogSettings(Settings):
    """The file `ptpd.stats` in the run directory, with what either engine measures."""

    enabled: Annotated[
        bool, Field(description="Write each offset to ptpd.stats, in the columns of ptpd")
    ] = False
    max_size_kib: Annotated[
        int, Field(ge=16, le=1024 * 1024, description="Size of a file; the one before is kept")
    ] = 4096


class SystemTime(Settings):
    """How this host keeps time: the Config Store key `host/system/system_time`."""

    enabled: Annotated[
        bool, Field(description="Keep time here; needs a port with a device, or an NTP server")
    ] = False
    protocol: Annotated[Protocol, Field(description="What keeps the time")] = Protocol.PTP
    engine: Annotated[
        EngineName,
        Field(description="What speaks PTP; ptpd follows on one port, stamping in software"),
    ] = EngineName.LINUXPTP
    discipline: Annotated[
        Discipline,
        Field(description="system_clock steers CLOCK_REALTIME; monitor measures, touches no clock"),
    ] = Discipline.SYSTEM_CLOCK
    sandbox: Annotated[
        Containment,
        Field(
            description="crx runs each daemon in a container with the least rights, and moves a "
            "pci_passthru_nic into it; none runs them as plain processes with all rights"
        ),
    ] = Containment.CRX
    ptp_config: Annotated[PtpConfig, Field(description="PTP of this host")] = PtpConfig()
    ntp_config: Annotated[NtpConfig, Field(description="NTP of this host")] = NtpConfig()
    fallback: Annotated[Fallback, Field(description="With protocol ptp: NTP while PTP is lost")] = (
        Fallback()
    )
    statistics_log: Annotated[
        StatisticsLogSettings, Field(description="Measurements as a file for ptpd's tooling")
    ] = StatisticsLogSettings()
    calibration_delay_ns: Annotated[
        int,
        Field(
            ge=-1_000_000_000,
            le=1_000_000_000,
            description="Known asymmetry of the path (ptp4l delayAsymmetry)",
        ),
    ] = 0
    log_level: Annotated[
        int, Field(ge=0, le=7, description="How much the daemons log, as in syslog(3)")
    ] = 6  # ptp4l's own default
    options: Annotated[
        PassthroughOptions, Field(description="Options that have no setting of their own")
    ] = PassthroughOptions()

    @model_validator(mode="after")
    def _has_a_source(self) -> "SystemTime":
        ptp = self.protocol is Protocol.PTP
        if self.enabled and ptp and not self.ptp_config.active_ports():
            raise ValueError("enabled needs at least one port with a device")
        if self.enabled and not ptp and not self.ntp_config.server:
            raise ValueError("protocol ntp needs at least one ntp_config.server")
        if self.fallback.enabled and not self.ntp_config.server:
            raise ValueError("fallback needs at least one ntp_config.server")
        return self

    @property
    def own_network(self) -> bool:
        """Return whether the daemon that speaks PTP has a network of its own, with its NICs in it.

        One process has one network: beside a virtual_nic, which stays with the host, all ports do.
        """
        passed = [
            port.device_type is DeviceType.PCI_PASSTHRU_NIC
            for port in self.ptp_config.active_ports()
        ]
        return self.sandbox is Containment.CRX and bool(passed) and all(passed)

    @property
    def falls_back(self) -> bool:
        """Return whether NTP takes over while PTP is lost."""
        return self.enabled and self.protocol is Protocol.PTP and self.fallback.enabled

    @property
    def needs_ntp(self) -> bool:
        """Return whether NTP is measured here, to follow it now or when PTP is lost."""
        return self.falls_back or (self.enabled and self.protocol is Protocol.NTP)


PATH: Literal["host/system/system_time"] = "host/system/system_time"
