"""What runs on each node: command lines, ptp4l's configuration, a host's first settings. Pure."""

import hashlib
import json
import sys
from pathlib import Path

from chronovisor.lab.spec import FAST_OPTIONS, LabSpec, Rates
from chronovisor.lab.topology import Kind, Node
from chronovisor.worlds.spec import RestartPolicy, WorldSpec

NETNS_DIRECTORY = Path("/run/netns")
"""Where ip(8) keeps named network namespaces (ip-netns(8))."""

# Nothing in a lab may set a clock, whatever it is told to do. The bounding set cannot be widened
# again, so that holds for all descendants (capabilities(7)).
_WITHOUT_CLOCK = ("setpriv", "--bounding-set", "-sys_time", "--inh-caps", "-sys_time", "--")

_NEVER = 22  # 2^22 s are seven weeks

_BEST_PRIORITY_1 = 127  # one better than ptp4l's default


def enter(network_namespace: str, argv: tuple[str, ...]) -> tuple[str, ...]:
    """Return a command line that runs `argv` in a namespace, unable to set a clock.

    Each program becomes the next by exec, so pid, descriptors and exit status are those of `argv`.
    """
    place = NETNS_DIRECTORY / network_namespace
    return ("nsenter", f"--net={place}", "--", *_WITHOUT_CLOCK, *argv)


def search_path(rest: str) -> str:
    """Return a PATH that finds this installation's own visorctl first."""
    return f"{Path(sys.executable).parent}:{rest}"


def world(spec: LabSpec, node: Node, directory: Path, path: str) -> WorldSpec:
    """Return the process of a node whose files are in `directory`, its programs in PATH `path`.

    It is started again by the next `up`, not by itself: between two commands nobody watches.
    """
    argv = enter(node.namespace, _argv(node, directory))
    digest = hashlib.sha256(json.dumps([argv, spec.to_json()]).encode()).hexdigest()
    return WorldSpec(
        name=node.name,
        argv=argv,
        env={"PATH": search_path(path)},
        restart=RestartPolicy(mode="never"),
        generation=digest[:16],
    )


def _argv(node: Node, directory: Path) -> tuple[str, ...]:
    if node.kind is not Kind.HOST:
        return ("ptp4l", "-m", "-q", "-f", str(directory / "ptp4l.conf"), "-i", node.interface)
    return (
        sys.executable,
        *("-m", "chronovisor.host.main"),
        *("--etc", str(directory / "etc")),
        *("--var", str(directory / "var")),
        *("--run", str(directory / "run")),
        *("--log-file", str(directory / "visord.log")),
    )


def socket(directory: Path) -> Path:
    """Return the socket of the visord of a host whose files are in `directory`."""
    return directory / "run" / "visord.sock"


def ptp4l_conf(spec: LabSpec, node: Node, directory: Path, release: tuple[int, ...]) -> str:
    """Return the configuration of a grandmaster, or of a switch port, for a release of ptp4l.

    Grandmasters speak end to end. Peer delay requests are answered by a switch port, as real
    switches that know PTP do it: a grandmaster with `Auto` would turn to P2P at the first such
    request and never back (ptp4l 3.1.1).
    """
    options: dict[str, int | str] = {
        "free_running": 1,
        "time_stamping": "software",
        "network_transport": spec.transport.value,
        "domainNumber": spec.domain,
        "uds_address": str(directory / "ptp4l"),
    }
    if release >= (4,):
        options["uds_ro_address"] = str(directory / "ptp4lro")
    if spec.rates is Rates.FAST:
        options |= FAST_OPTIONS
    if node.kind is Kind.SWITCH_PORT:
        # It asks nothing itself: most hosts speak E2E, and would warn of every request.
        options |= {
            "slaveOnly": 1,
            "delay_mechanism": "P2P",
            "logMinPdelayReqInterval": _NEVER,
        }
    else:
        options |= {
            "priority1": _BEST_PRIORITY_1 - 7 * (node.number - 1),
            "delay_mechanism": "E2E",
        }
    return "[global]\n" + "".join(f"{name} {value}\n" for name, value in options.items())


def host_settings(spec: LabSpec) -> dict[str, object]:
    """Return the first value of `host/system/system_time` on every host."""
    port: dict[str, object] = {
        "index": 0,
        "device_type": "virtual_nic",
        "device": "eth0",
        "time_stamping": "software",
        "network_transport": spec.transport.value,
        "delay_mechanism": "E2E",
    }
    settings: dict[str, object] = {
        "enabled": True,
        "protocol": "ptp",
        "discipline": "monitor",
        "ptp_config": {"domain": spec.domain, "port": [port]},
    }
    if spec.rates is Rates.FAST:
        settings["options"] = {"ptp4l": dict(FAST_OPTIONS)}
    return settings
