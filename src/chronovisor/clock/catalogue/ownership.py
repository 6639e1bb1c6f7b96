"""Options that Chronovisor sets itself, and which setting to use in their place.

Passing them through would take the daemon away from its supervisor: another socket, log lines
elsewhere, a clock set that should only be watched.
"""

from chronovisor.clock.catalogue.option import Scope

_OUTPUT = "Chronovisor collects the output of the daemon itself"
_SOCKET = "Chronovisor asks the daemon over a socket of its own"
_EVERYWHERE = {
    "domainNumber": "set ptp_config.domain instead",
    "free_running": "set discipline to monitor or system_clock instead",
    "logging_level": "set log_level instead",
    "message_tag": _OUTPUT,
    "ntpshm_segment": "handing time to another program is not supported",
    "refclock_sock_address": "handing time to another program is not supported",
    "summary_interval": "Chronovisor reads data sets, and sets how often the daemon logs",
    "uds_address": _SOCKET,
    "uds_file_mode": _SOCKET,
    "uds_ro_address": _SOCKET,
    "uds_ro_file_mode": _SOCKET,
    "unicast_master_table": "set ptp_config.port[].unicast_master_table instead",
    "use_syslog": _OUTPUT,
    "user": "Chronovisor starts the daemon as the user it needs",
    "verbose": _OUTPUT,
}
_PHC2SYS = {
    "transportSpecific": "phc2sys gets the value that ptp4l has in [global]",
    "time_stamping": "phc2sys runs where ports have hardware time stamps",
    "twoStepFlag": "it means nothing to phc2sys, which only asks ptp4l",
}
PORT_SETTINGS = ("delay_mechanism", "network_transport", "time_stamping")
"""Options that are settings of a port; the same name among a port's options overrides them."""

SERVOS = ("pi", "linreg")
"""Servos that discipline a clock; the others hand time to another program or do nothing."""


def owner(program: str, scope: Scope, name: str) -> str:
    """Return what to do in place of setting this option, empty where it may be passed through."""
    if name in _EVERYWHERE:
        return _EVERYWHERE[name]
    if program == "phc2sys":
        return _PHC2SYS.get(name, "")
    if scope is Scope.GLOBAL and name in PORT_SETTINGS:
        return f"set ptp_config.port[].{name}, or the option of the port, instead"
    return ""
