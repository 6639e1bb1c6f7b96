"""The lab's network carries PTP: plain ptp4l on the hosts measures a grandmaster, in every way."""

import re
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from chronovisor.lab import namespaces, programs, tools, topology
from chronovisor.lab.spec import LabSpec, Transport
from chronovisor.lab.topology import Kind, Node, nodes
from labs import DEADLINE_S, unique_name

CONFIGURATION = """\
[global]
free_running 1
slaveOnly 1
time_stamping software
network_transport {transport}
delay_mechanism {mechanism}
domainNumber 7
logSyncInterval -3
logMinDelayReqInterval -3
logMinPdelayReqInterval -3
logAnnounceInterval -2
summary_interval -4
uds_address {directory}/{host}
"""

# ptp4l's own words; the path delay is 0 until it was measured
MEASURED = re.compile(r"master offset +-?\d+ s\d freq .* path delay +-?[1-9]")


@dataclass(frozen=True)
class Network:
    spec: LabSpec
    directory: Path

    def start(self, node: Node, conf: str) -> "subprocess.Popen[str]":
        file = self.directory / f"{node.name}.conf"
        file.write_text(conf)
        ptp4l = ("ptp4l", "-m", "-q", "-f", str(file), "-i", node.interface)
        argv = programs.enter(node.namespace, ptp4l)
        return subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


@pytest.fixture(params=list(Transport), scope="module")
def network(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Network]:
    spec = LabSpec(unique_name(), hosts=2, grandmasters=1, transport=request.param, domain=7)
    network = Network(spec, tmp_path_factory.mktemp("ptp"))
    running = []
    try:
        namespaces.build(spec)
        for node in nodes(spec):
            if node.kind is not Kind.HOST:
                home = network.directory / f"uds-{node.name}"
                home.mkdir()
                conf = programs.ptp4l_conf(spec, node, home, tools.ptp4l_release())
                running.append(network.start(node, conf))
        yield network
    finally:
        for process in running:
            process.terminate()
            process.communicate()
        namespaces.remove(topology.namespaces(spec))


# The last one after the others: requests seen before must not spoil the grandmaster for E2E.
@pytest.mark.parametrize("mechanisms", [("P2P", "P2P"), ("E2E", "P2P")])
def test_hosts_measure_a_grandmaster_each_in_its_way(
    network: Network, mechanisms: tuple[str, str]
) -> None:
    hosts = [node for node in nodes(network.spec) if node.kind is Kind.HOST]
    running = []
    try:
        for host, mechanism in zip(hosts, mechanisms, strict=True):
            conf = CONFIGURATION.format(
                transport=network.spec.transport.value,
                mechanism=mechanism,
                directory=network.directory,
                host=host.name,
            )
            running.append(network.start(host, conf))
        for process in running:
            assert _measures(process), f"{mechanisms}: not within {DEADLINE_S:g} s"
    finally:
        for process in running:
            process.terminate()
            process.communicate()


def _measures(process: "subprocess.Popen[str]") -> bool:
    """Return whether ptp4l prints three measurements before it is too late."""
    assert process.stdout is not None
    killer = subprocess.Popen(["sh", "-c", f"sleep {DEADLINE_S:g}; kill {process.pid}"])
    try:
        found = 0
        for line in process.stdout:
            assert "FAULT" not in line
            found += bool(MEASURED.search(line))
            if found == 3:
                return True
        return False
    finally:
        killer.kill()
        killer.wait()
