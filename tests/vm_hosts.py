"""A host with a real visord that connects VMs, told and asked through visorctl and the API alone.

The host and each VM are network namespaces of the test's own; a tap is a veth named `tap…`.
"""

import contextlib
import json
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import wired_hosts
from dhcp_guests import Guest, inside
from visords import DEADLINE_S, Visord, short_directory, until
from wired_hosts import NETWORK, Namespace, mac, ping, port

GROUPS: dict[str, dict[str, Any]] = {
    "web": {
        "rules": [
            {"direction": "egress"},
            {"direction": "egress", "family": "ipv6"},
            {"direction": "ingress", "protocol": "icmp"},
            {"direction": "ingress", "family": "ipv6", "protocol": "icmp"},
            {"direction": "ingress", "protocol": "udp", "port_min": 7000, "port_max": 7999},
        ]
    },
    "quiet": {"rules": [{"direction": "egress"}, {"direction": "egress", "family": "ipv6"}]},
}
CONFIG = "/v1/config/host/net"
EVERY_S = 0.002
_SO_RCVBUFFORCE = 33  # socket(7); the socket module has no name for it

SHOUT = """
import socket, sys
mine, theirs, their_mac = sys.argv[1:]
for family, target in (
    (socket.AF_INET, "255.255.255.255"),
    (socket.AF_INET, "10.5.255.255"),
    (socket.AF_INET, "224.0.0.251"),
    (socket.AF_INET6, "ff02::1%eth0"),
):
    with socket.socket(family, socket.SOCK_DGRAM) as one:
        one.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
        one.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, b"eth0")
        one.sendto(b"to all", socket.getaddrinfo(target, 7000, family)[0][4])
with socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as raw:
    raw.bind(("eth0", 0))
    me = raw.getsockname()[4]
    for target in (mine, theirs):  # the first one is gratuitous
        body = me + socket.inet_aton(mine) + bytes(6) + socket.inet_aton(target)
        raw.send(b"\\xff" * 6 + me + bytes.fromhex("08060001080006040001") + body)
    raw.send(bytes.fromhex(their_mac.replace(":", "")) + me + b"\\x88\\xb5straight to its MAC")
"""
"""What a VM sends to all and to another's MAC: `SHOUT OWN_ADDRESS OTHERS_ADDRESS OTHERS_MAC`."""


def web(number: int) -> dict[str, Any]:
    """Return the value of a port in group web: tapN with its addresses."""
    return port(number) | {"security_groups": ["web"]}


class VmHost:
    """One host: its visord, its taps and their VMs."""

    def __init__(self, base: Path) -> None:
        self.site = wired_hosts.Host()
        self.namespace = self.site.namespace
        self.visord = Visord(base)
        self.visord.place = self.namespace.argv()
        self.client = self.visord.client

    def start(self) -> "VmHost":
        """Start visord with VM networking enabled, a network and two security groups."""
        self.visord.start()
        self.load({"host/net/vm_networking": {"enabled": True}})
        return self

    def load(self, values: dict[str, Any]) -> None:
        """Import a network, the security groups and more values by key path, in one change."""
        values = {
            "host/net/networks/net": NETWORK,
            **{f"host/net/security_groups/{name}": group for name, group in GROUPS.items()},
            **values,
        }
        file = self.visord.log.with_name("document")
        file.write_text(json.dumps({"chronovisor_config": 1, "settings": values}))
        self.do("config", "import", str(file))

    def do(self, *words: str) -> str:
        """Run `visorctl WORDS`, which has to succeed; return its output."""
        return self.visord.do(*words)

    def refused(self, *words: str, code: int = 3) -> str:
        """Run `visorctl WORDS`, which has to be refused; return what it says."""
        found, output, errors = self.visord.ctl(*words)
        assert (found, output) == (code, ""), (found, output, errors)
        return errors

    def set(self, key: str, name: str, value: dict[str, Any]) -> None:
        """Set a network or security group."""
        self.client.call("PUT", f"{CONFIG}/{key}", value, query={"instance": name})

    def add(self, name: str, number: int, **changes: object) -> None:
        """Add a port: tapN with its addresses."""
        value = web(number) | changes
        self.client.call("PUT", f"{CONFIG}/ports", value, query={"instance": name})

    def change(self, name: str, **fields: object) -> None:
        """Change fields of a port."""
        self.client.call("PATCH", f"{CONFIG}/ports", fields, query={"instance": name})

    def vm(self, number: int) -> Namespace:
        """Return a VM behind tapN that has set its addresses by itself."""
        return self.site.vm(number)

    def guest(self, number: int) -> Guest:
        """Return a VM behind tapN that asks for its addresses."""
        vm = self.site.vm(number)
        for family in ("-4", "-6"):
            vm.run("ip", family, "address", "flush", "dev", "eth0", "scope", "global")
        return Guest(vm.name, "eth0", mac(number))

    def port(self, name: str) -> dict[str, Any]:
        """Return how a port is."""
        found: dict[str, Any] = self.client.get(f"/v1/net/ports/{name}")
        return found

    def until_wired(self, *names: str) -> None:
        """Wait until ports are wired and nothing differs any more."""
        until(f"{names} are wired", lambda: all(self.port(name)["wired"] for name in names))
        self.until_same()

    def until_problem(self, name: str, *words: str) -> str:
        """Wait until a port has a problem that says these words, and is not wired."""

        def probe() -> str:
            now = self.port(name)
            said: str = now["problem"]
            return said if not now["wired"] and all(word in said for word in words) else ""

        return until(f"{name}: {words}", probe)

    def until_same(self) -> None:
        """Wait until nothing differs from what is wanted."""
        until("nothing differs", lambda: not self.drift())

    def drift(self) -> list[dict[str, str]]:
        """Return what differs from what is wanted."""
        found: list[dict[str, str]] = self.client.get("/v1/net/plan")
        return found

    def health(self) -> str:
        """Return what health says of the net plane; empty while all is well."""
        parts = self.client.get("/v1/health")["parts"]
        reason: str = next(part["reason"] for part in parts if part["name"] == "net")
        return reason

    def worlds(self) -> dict[str, int]:
        """Return the process ids of the running worlds by name."""
        found = self.client.get("/v1/worlds")
        return {one["name"]: one["pid"] for one in found if one["state"] == "running"}

    def remove(self) -> None:
        """End everything."""
        self.visord.clear()
        self.site.remove()


@contextlib.contextmanager
def vm_host() -> Iterator[VmHost]:
    """Make a host whose visord is not yet started."""
    with short_directory() as base:
        made = VmHost(base)
        try:
            yield made
        finally:
            made.remove()


def reaches(source: Namespace, target: str) -> bool:
    """Return whether an echo request is answered at last."""
    until(f"{source.name} reaches {target}", lambda: not ping(source, target, 1))
    return True


class Datagrams:
    """Numbered UDP datagrams every 2 ms from one VM to another, until `stop`."""

    def __init__(self, source: Namespace, target: Namespace, address: str, udp_port: int) -> None:
        self._sender = inside(source.name, _udp)
        self._receiver = inside(target.name, _udp)
        # All that comes waits there until `stop`: room for a minute.
        self._receiver.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, 1 << 26)
        self._receiver.bind((address, udp_port))
        self._receiver.settimeout(DEADLINE_S)
        self._to = (address, udp_port)
        self._ending = threading.Event()
        self._sent = 0
        self._thread = threading.Thread(target=self._send)
        self._thread.start()

    def _send(self) -> None:
        while not self._ending.wait(EVERY_S):
            self._sender.sendto(self._sent.to_bytes(4, "big"), self._to)
            self._sent += 1
        self._sender.sendto(b"end", self._to)

    def stop(self) -> tuple[int, list[int]]:
        """Return how many were sent, and the numbers of those that did not arrive."""
        self._ending.set()
        self._thread.join()
        came = set(iter(lambda: self._receiver.recv(64), b"end"))
        self._sender.close()
        self._receiver.close()
        missing = set(range(self._sent)) - {int.from_bytes(one, "big") for one in came}
        return self._sent, sorted(missing)


def _udp() -> socket.socket:
    return socket.socket(socket.AF_INET, socket.SOCK_DGRAM)


def curl(source: Namespace, *words: str) -> str:
    """Return what curl gets in a VM, empty where nobody answers within a second."""
    return source.run("curl", "-sf", "--globoff", "--max-time", "1", *words, check=False)
