"""The configuration of ptpd from typed settings and passthrough options; pure.

The same settings give the same bytes. Sources: ptpd2 -H and ptpd2.conf(5) of 2.3.1.
"""

from collections.abc import Mapping

from chronovisor.clock.catalogue.text import as_text
from chronovisor.clock.ptpd import utc
from chronovisor.clock.ptpd.paths import Paths
from chronovisor.clock.settings import PtpPort, SystemTime, Transport

STATISTICS_KIB = 512
"""Size at which ptpd begins its statistics file anew, keeping the one before: some minutes at the
highest rates, and both are in memory where the run directory is."""

TRANSPORTS = {Transport.UDP_IPV4: "ipv4", Transport.ETHERNET: "ethernet"}
"""What ptpd 2.3 can carry PTP over; it knows no IPv6."""

MOST_DOMAIN = 127

_CHOSEN = {
    # IEEE 1588-2019 table I.1: three intervals; ptpd's own default of six notices a loss late
    "ptpengine:announce_receipt_timeout": "3",
    "ptpengine:management_enable": "N",  # nobody asks it over the network
    # Who may have the clock is decided here, so ptpd needs no election between sources of its own
    "global:timingdomain_election_delay": "0",
    # But for the start, an offset of a second or more moves nothing for a minute: meanwhile a
    # master that has come to another timescale is found out, and ptpd started anew
    "clock:step_startup": "Y",
    "ptpengine:panic_mode": "Y",
    "ptpengine:panic_mode_duration": "1",  # minutes, the least there is
}
_HEADER = "# Written by Chronovisor from host/system/system_time; changes here are lost.\n\n"
_LOG_LEVELS = ("ERR", "ERR", "ERR", "ERR", "WARNING", "NOTICE", "INFO", "ALL")


def config(settings: SystemTime, paths: Paths, *, steers: bool, takes_off: bool) -> dict[str, str]:
    """Return every key that ptpd is given with its value.

    `steers`: it may set the clock. `takes_off`: its master is ahead of UTC by the announced offset.
    """
    ports = settings.ptp_config.active_ports()
    given = {key: as_text(value) for key, value in settings.options.ptpd.items()}
    owned = _port(ports[0]) if ports else {}
    owned |= {utc.OPTION: utc.word(takes_off=takes_off)}
    return _CHOSEN | given | owned | _whole(settings, steers=steers) | _files(paths)


def config_text(keys: Mapping[str, str]) -> str:
    """Return the file, keys in the order of their names."""
    return _HEADER + "".join(f"{key} = {keys[key]}\n" for key in sorted(keys))


def _port(port: PtpPort) -> dict[str, str]:
    return {
        "ptpengine:interface": port.device,
        "ptpengine:transport": TRANSPORTS.get(port.network_transport, "ipv4"),
        "ptpengine:delay_mechanism": port.delay_mechanism.value,
    }


def _whole(settings: SystemTime, *, steers: bool) -> dict[str, str]:
    # A path that is slower towards us by d makes messages look d late when they arrive, and ours
    # d early when they leave: what ptp4l calls delayAsymmetry.
    asymmetry_ns = settings.calibration_delay_ns
    return {
        "ptpengine:preset": "slaveonly",
        "ptpengine:domain": str(settings.ptp_config.domain),
        "ptpengine:inbound_latency": str(asymmetry_ns),
        "ptpengine:outbound_latency": str(-asymmetry_ns),
        "clock:no_adjust": "N" if steers else "Y",
        "global:log_level": f"LOG_{_LOG_LEVELS[settings.log_level]}",
    }


def _files(paths: Paths) -> dict[str, str]:
    return {
        "global:foreground": "Y",
        "global:lock_file": str(paths.lock),
        "global:log_status": "Y",
        "global:status_file": str(paths.status),
        "global:status_update_interval": "1",  # s, the least there is
        "global:log_statistics": "Y",
        "global:statistics_file": str(paths.statistics),
        "global:statistics_file_max_files": "1",
        "global:statistics_file_max_size": str(STATISTICS_KIB),
        "global:statistics_log_interval": "0",  # every packet
        "global:statistics_timestamp_format": "unix",  # whatever the time zone
        "global:use_syslog": "N",
    }
