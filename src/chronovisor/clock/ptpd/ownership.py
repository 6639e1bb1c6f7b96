"""Settings of ptpd that Chronovisor makes itself, and what to do in place of giving them."""

from typing import Final

_OUTPUT = "Chronovisor reads the output and the files of ptpd itself"
_SLAVE = "ptpd is a slave only here; to serve time, set engine to linuxptp"
_ARBITER = "who takes over the system clock is set with fallback"
_ONE_PORT = "ptpd runs on the one port of ptp_config"

_OWNED: Final = {
    "clock:no_adjust": "set discipline to monitor or system_clock instead",
    "ptpengine:backup_interface": _ONE_PORT,
    "ptpengine:clock_class": _SLAVE,
    "ptpengine:delay_mechanism": "set ptp_config.port[].delay_mechanism instead",
    "ptpengine:domain": "set ptp_config.domain instead",
    "ptpengine:inbound_latency": "set calibration_delay_ns instead",
    "ptpengine:interface": _ONE_PORT,
    "ptpengine:ntp_failover": _ARBITER,
    "ptpengine:ntp_failover_timeout": _ARBITER,
    "ptpengine:outbound_latency": "set calibration_delay_ns instead",
    "ptpengine:panic_mode_ntp": _ARBITER,
    "ptpengine:prefer_ntp": _ARBITER,
    "ptpengine:preset": _SLAVE,
    "ptpengine:slave_only": _SLAVE,
    "ptpengine:transport": "set ptp_config.port[].network_transport instead",
}
_GLOBAL = (
    "global:cpuaffinity_cpucore",
    "global:statistics_update_interval",
    "global:timingdomain_election_delay",
)
"""All of [global] that is not about files, output and the process, which are the supervisor's."""


def owner(key: str) -> str:
    """Return what to do in place of setting this key, empty where it may be passed through."""
    if key.startswith("ntpengine:"):
        return _ARBITER
    if key == "global:log_level":
        return "set log_level instead"
    if key.startswith("global:") and key not in _GLOBAL:
        return _OUTPUT
    return _OWNED.get(key, "")
