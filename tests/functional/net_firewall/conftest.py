"""A host of the test's own with two VMs, and a firewall that lets nothing through yet."""

from collections.abc import Iterator
from typing import Any

import pytest

from chronovisor.net.firewall import Firewall
from chronovisor.net.intent import Intent, build
from firewalled_hosts import NETWORK, Host, Vm, firewalled_host

OPEN = [
    {"direction": direction, "family": family}
    for direction in ("ingress", "egress")
    for family in ("ipv4", "ipv6")
]
EGRESS = [one for one in OPEN if one["direction"] == "egress"]


class Site:
    """A host, its VMs `a` and `b`, its firewall, and the settings that it follows."""

    def __init__(self, host: Host) -> None:
        self.host = host
        self.client = ""
        self.a = host.add_vm(1)
        self.b = host.add_vm(2)
        self.firewall = Firewall()
        self.values: dict[str, Any] = {"host/net/networks/lan": NETWORK}
        self.group("open", OPEN)
        self.group("quiet", EGRESS)
        self.port(self.a, "open")
        self.port(self.b, "open")

    def group(self, name: str, rules: list[dict[str, Any]], **more: Any) -> None:
        """Set a security group."""
        self.values[f"host/net/security_groups/{name}"] = {"rules": rules, **more}

    def port(self, vm: Vm, *groups: str, **more: Any) -> None:
        """Set a VM's port."""
        key = f"host/net/ports/vm{vm.number}"
        self.values[key] = vm.port(security_groups=list(groups), **more)

    @property
    def intent(self) -> Intent:
        """Return the intent of the settings, all of which hold."""
        intent = build(self.values)
        assert not intent.refused, intent.refused
        return intent

    def sync(self) -> None:
        """Make the whole ruleset so; it is read back and agrees."""
        self.firewall.sync(self.intent)
        assert self.firewall.plan(self.intent) == []

    def change(self) -> None:
        """Make only the change so; the whole agrees afterwards."""
        self.firewall.change(self.intent)
        assert self.firewall.plan(self.intent) == []


@pytest.fixture
def site() -> Iterator[Site]:
    """Return a site whose firewall is not loaded yet."""
    with firewalled_host() as host:
        made = Site(host)
        with made.firewall:
            yield made
