"""A host with VMs that a visord made right and left, so that faults stay; asked what is wrong.

visord mends most faults within seconds. It is killed here, which costs VMs nothing: what it made
stands, and explanations are taken from the same kernel, files and daemons.
"""

import asyncio
import contextlib
from collections.abc import Iterator
from typing import Any

from chronovisor.errors import Unavailable
from chronovisor.net.dhcp.place import Place
from chronovisor.net.explain import (
    Explanation,
    Question,
    Service,
    Surroundings,
    explain,
    gather,
    resolve,
)
from chronovisor.net.firewall import Firewall
from chronovisor.net.intent import Intent, build
from chronovisor.net.metadata.directory import MetadataDirectory
from chronovisor.net.settings import IpProtocol
from chronovisor.net.wiring.wiring import wire
from chronovisor.worlds import State, World
from dhcp_guests import inside
from visords import until
from vm_hosts import GROUPS, VmHost, vm_host, web
from wired_hosts import NETWORK, Namespace

NAMES = ("vm1", "vm2", "vm3")
TCP_443, UDP_7000, ICMP = (
    Service(IpProtocol.TCP, 443),
    Service(IpProtocol.UDP, 7000),
    Service(IpProtocol.ICMP),
)


class Explained:
    """The host; `values` are what its store holds of networking."""

    def __init__(self, host: VmHost, vms: dict[int, Namespace]) -> None:
        self.host, self.vms = host, vms
        self.namespace = host.namespace
        self.values: dict[str, Any] = {
            "host/net/networks/net": NETWORK,
            **{f"host/net/security_groups/{name}": group for name, group in GROUPS.items()},
        }
        self.worlds: list[World] = []
        self.enabled = True

    @property
    def intent(self) -> Intent:
        return build(self.values)

    @property
    def place(self) -> Place:
        return Place(self.host.visord.var / "dhcp", ("tap*",))

    def leave(self) -> None:
        """End visord as the kernel would; its daemons go on."""
        self.worlds = [
            World(one["name"], State.RUNNING, "", (), "", pid=one["pid"])
            for one in self.host.client.get("/v1/worlds")
        ]
        self.host.visord.stop(9)

    def pid(self, world: str) -> int:
        found = next(one.pid for one in self.worlds if one.name == world)
        assert found is not None
        return found

    def ask(
        self, target: str, source: str = "", service: Service | None = None, wait_s: float = 0.5
    ) -> Explanation:
        question = Question(target, source, service)
        intent = self.intent
        path = resolve(question, intent)
        metadata, problem = self._metadata()
        around = Surroundings(self.place, self.worlds, self.enabled, "", metadata, problem, wait_s)
        seen = inside(self.namespace.name, lambda: gather(path, intent, around))
        return explain(question, intent, seen, self.place)

    def _metadata(self) -> tuple[Any, str]:
        directory = MetadataDirectory(self.host.visord.run / "metadata")
        try:
            return asyncio.run(directory.status(timeout_s=1.0)), ""
        except Unavailable as error:
            return None, error.message

    def run(self, *words: str) -> str:
        return self.namespace.run(*words)

    def sysctl(self, setting: str) -> None:
        self.run("sysctl", "-qw", setting)

    def mend(self) -> None:
        """Do once what visord would do now."""
        intent = self.intent

        def work() -> None:
            assert wire(intent, clean=True) == []
            with Firewall() as firewall:
                firewall.sync(intent)

        inside(self.namespace.name, work)

    def port(self, name: str, **changes: Any) -> None:
        """Set a port in the store alone."""
        key = f"host/net/ports/{name}"
        self.values[key] = {**self.values.get(key, {}), **changes}

    def nft(self, text: str) -> None:
        self.namespace.run("nft", "-f", "-", text=text)


@contextlib.contextmanager
def explained_host() -> Iterator[Explained]:
    """Make a host with three VMs; the third is in group `quiet`, which lets nothing in."""
    with vm_host() as host:
        host.start()
        vms = {number: host.vm(number) for number in (1, 2, 3)}
        made = Explained(host, vms)
        for number in vms:
            group = ["quiet"] if number == 3 else ["web"]
            value = web(number) | {"security_groups": group}
            host.client.call(
                "PUT", "/v1/config/host/net/ports", value, query={"instance": f"vm{number}"}
            )
            made.values[f"host/net/ports/vm{number}"] = value
        host.until_wired(*NAMES)
        until("all daemons run", lambda: len(host.worlds()) == 3)
        until("they serve", lambda: _serves_all(host))
        made.leave()
        yield made


def _serves_all(host: VmHost) -> bool:
    """Return whether metadata are served on every tap."""
    found = [
        host.client.get("/v1/net/explain", **{"to": "169.254.169.254", "from": name})
        for name in NAMES
    ]
    return all(one["findings"][-1]["condition"] == "ok" for one in found)


def shown(found: Explanation) -> str:
    """Return an explanation as lines, for a failing test."""
    return "\n".join(
        f"{one.condition.value:8} {one.link:15} {one.end:10} {one.evidence} -> {one.way_out}"
        for one in found.findings
    )
