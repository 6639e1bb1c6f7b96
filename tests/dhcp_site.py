"""A host in a namespace with the DHCP service at work, and what tests ask of it."""

import asyncio
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from ipaddress import IPv4Address
from typing import Any

from chronovisor.net.dhcp.service import DhcpService
from chronovisor.net.intent import Intent, build
from chronovisor.worlds import Supervisor
from dhcp_guests import WAIT_S, Guest, Host, Lease, Lease6, Nobody


@dataclass
class Site:
    """A host, its DHCP service and the values of its store."""

    host: Host
    supervisor: Supervisor
    service: DhcpService
    values: dict[str, Any]
    actions: list[str]

    @property
    def intent(self) -> Intent:
        return build(self.values)

    def network(self, name: str, *subnets: dict[str, Any], **more: Any) -> None:
        self.values[f"host/net/networks/{name}"] = {"subnets": list(subnets), **more}

    def port(self, name: str, number: int, network: str, *addresses: str, **more: Any) -> None:
        self.values[f"host/net/ports/{name}"] = {
            "device": f"tap{number}",
            "mac": mac(number),
            "network": network,
            "addresses": list(addresses),
            **more,
        }

    def tap(self, number: int, *gateways: str) -> "Vm":
        return Vm(self.host.tap(f"tap{number}", mac(number), *gateways))

    def taps(self, numbers: Iterable[int], *gateways: str) -> list["Vm"]:
        macs = {f"tap{number}": mac(number) for number in numbers}
        return [Vm(one) for one in self.host.taps(macs, *gateways)]

    def remove(self, name: str) -> None:
        del self.values[f"host/net/ports/{name}"]

    async def sync(self, *ports: str) -> list[str]:
        """Sync all or some ports; return what was done."""
        self.actions.clear()
        await self.service.sync(self.intent, ports or None)
        assert not self.service.problem
        return list(self.actions)

    async def until(self, what: str, probe: Callable[[], object]) -> None:
        deadline = time.monotonic() + WAIT_S
        while not probe():
            assert time.monotonic() < deadline, f"not within {WAIT_S} s: {what}"
            await asyncio.sleep(0.02)


@dataclass
class Vm:
    """A guest whose questions wait in a thread, because the supervisor works in this one."""

    guest: Guest

    async def lease(self, wait_s: float = WAIT_S) -> Lease:
        return await asyncio.to_thread(self.guest.lease, wait_s)

    async def request(self, address: str) -> int:
        return await asyncio.to_thread(self.guest.request, IPv4Address(address))

    async def is_refused(self, wait_s: float = 1.5) -> bool:
        """Return whether no server offers anything."""
        try:
            await asyncio.to_thread(self.guest.discover, wait_s)
        except Nobody:
            return True
        return False

    async def lease6(self, wait_s: float = WAIT_S) -> Lease6:
        return await asyncio.to_thread(self.guest.lease6, wait_s)

    async def information6(self) -> Lease6:
        return await asyncio.to_thread(self.guest.information6)

    async def advertisement(self, *, solicit: bool = True, wait_s: float = WAIT_S) -> bytes:
        return await asyncio.to_thread(lambda: self.guest.advertisement(wait_s, solicit=solicit))


def mac(number: int) -> str:
    return f"02:00:00:00:{number >> 8:02x}:{number & 255:02x}"
