"""What is really there of a lab, read from the kernel and from the records of its processes."""

from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from chronovisor.lab import namespaces
from chronovisor.lab.programs import socket
from chronovisor.lab.record import LabDirectory, Record
from chronovisor.lab.topology import Kind, Node, nodes
from chronovisor.worlds.launcher import boot_id
from chronovisor.worlds.records import WorldDirectory


class NodeState(StrEnum):
    """What a node's process does; `failed` means that it should run and does not."""

    RUNNING = "running"
    STOPPED = "stopped"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class NodeSeen:
    """A node as it is now: its process (`pid` of visord or ptp4l) and its cable."""

    node: Node
    state: NodeState
    pid: int | None
    link_up: bool
    directory: Path

    def to_json(self) -> dict[str, object]:
        """Return it as JSON material."""
        node = self.node
        return {
            "name": node.name,
            "kind": node.kind.value,
            "state": self.state.value,
            "pid": self.pid,
            "link": "up" if self.link_up else "down",
            "namespace": node.namespace,
            "interface": node.interface,
            "mac": node.mac,
            "ipv4": str(node.ipv4.ip),
            "ipv6": str(node.ipv6.ip),
            "directory": str(self.directory),
            "socket": str(socket(self.directory)) if node.kind is Kind.HOST else None,
        }


def is_meant_to_run(record: Record, node: Node) -> bool:
    """Return whether a node's process should run."""
    return node.kind is not Kind.GRANDMASTER or node.name in record.running


def look(directory: LabDirectory, record: Record) -> list[NodeSeen]:
    """Return every node as it is now."""
    plugged = namespaces.links(record.spec.name)
    return [_look_at(directory, record, node, plugged) for node in nodes(record.spec)]


def _look_at(
    directory: LabDirectory, record: Record, node: Node, plugged: dict[str, bool]
) -> NodeSeen:
    started = WorldDirectory(directory.worlds / node.name).read_started()
    alive = started is not None and started.identity.is_alive()
    pid = started.identity.pid if started and alive else None
    wanted = is_meant_to_run(record, node)
    dead = NodeState.FAILED if wanted else NodeState.STOPPED
    state = NodeState.RUNNING if alive else dead
    link_up = plugged.get(node.port, False)
    return NodeSeen(node, state, pid, link_up, directory.node(node.name))


def is_whole(record: Record) -> bool:
    """Return whether the lab was built, in this boot, and all of its namespaces are there."""
    lab = record.spec.name
    wanted = {node.namespace for node in nodes(record.spec)}
    return (
        record.complete
        and record.boot_id == boot_id()
        and wanted <= set(namespaces.of_lab(lab))
        and {node.port for node in nodes(record.spec)} <= set(namespaces.links(lab))
    )
